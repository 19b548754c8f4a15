package nodelocal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

const (
	// minBackoff is the least time between two attempts when a Sync has failed, and
	// between two repairs.
	minBackoff = 100 * time.Millisecond
	// maxHaste is how long changed facts wait at most when a Sync has failed.
	maxHaste = time.Second
)

// Run watches a cluster and keeps sink in line with what it means for the node of
// cfg, until ctx is done; then it returns nil. It returns an error when cfg is bad
// or the watcher cannot go on; a sink that fails is tried again for ever.
//
// The sink hears nothing before the facts are complete: what an earlier process
// left in place keeps working until then. All goroutines have ended when Run
// returns. Whoever wants to see the facts as well uses [Follow] with a store.
func Run(ctx context.Context, w watchers.Watcher, sink localsink.Sink, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	store := watchers.NewStore()
	watched := make(chan error, 1)
	go func() {
		err := w.Run(ctx, store)
		switch {
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			err = nil
		case err == nil && ctx.Err() == nil && !store.Snapshot().Synced():
			err = errors.New("ended before the facts were complete")
		}
		if err != nil {
			cancel()
		}
		watched <- err
	}()
	err := Follow(ctx, store, sink, cfg)
	cancel()
	if watchErr := <-watched; watchErr != nil {
		err = errors.Join(err, fmt.Errorf("nodelocal: watcher: %w", watchErr))
	}
	return err
}

// Follow is [Run] for facts that somebody else brings into store: several nodes, or
// several sinks, may follow one store.
func Follow(ctx context.Context, store *watchers.Store, sink localsink.Sink, cfg Config) error {
	if sink == nil {
		return errors.New("nodelocal: no sink")
	}
	for s := range localsink.Walk(sink) {
		if l, ok := s.(localsink.Limited); ok {
			cfg.Lacks |= l.Lacks()
		}
	}
	t, err := NewTable(store, cfg)
	if err != nil {
		return err
	}
	defer t.Close()
	f := &follower{store: store, table: t, sink: sink, damaged: make(chan struct{}, 1)}
	defer f.listen(ctx)()
	for f.wait(ctx) {
		f.sync(ctx)
	}
	return nil
}

// A follower is the loop between a table and a sink.
type follower struct {
	store   *watchers.Store
	table   *Table
	sink    localsink.Sink
	damaged chan struct{} // any Repairer within sink
	repair  bool          // the sink asked for a Sync that has not succeeded yet

	facts   watchers.Snapshot // what the table stands for
	noticed time.Time         // the first change that the sink has not accepted, or zero
	ended   time.Time         // of the last Sync
	failed  string            // the error of the last Sync, empty after success
	backoff time.Duration     // zero after success
	retryAt time.Time         // when backoff is over
	hasteAt time.Time         // when it is for facts that have changed
}

// listen joins the Damaged channels of all Repairers within the sink. The result
// ends that, and returns when it has ended.
func (f *follower) listen(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended, n := make(chan struct{}), 0
	for s := range localsink.Walk(f.sink) {
		r, ok := s.(localsink.Repairer)
		if !ok {
			continue
		}
		n++
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				select {
				case <-ctx.Done():
					return
				case <-r.Damaged():
					select {
					case f.damaged <- struct{}{}:
					default: // one notice is enough
					}
				}
			}
		}()
	}
	return func() {
		cancel()
		for range n {
			<-ended
		}
	}
}

// wait returns true when there is something to do, and false when ctx is done.
func (f *follower) wait(ctx context.Context) bool {
	if f.ended.IsZero() {
		return f.waitSynced(ctx)
	}
	var retry <-chan time.Time
	if f.backoff > 0 {
		timer := time.NewTimer(time.Until(f.retryAt))
		defer timer.Stop()
		retry = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-f.facts.Newer():
	case <-f.damaged:
		f.repair = true
	case <-retry:
	}
	return f.pace(ctx)
}

// waitSynced waits until the facts are complete for the first time.
func (f *follower) waitSynced(ctx context.Context) bool {
	for f.facts = f.store.Snapshot(); !f.facts.Synced(); f.facts = f.store.Snapshot() {
		select {
		case <-ctx.Done():
			return false
		case <-f.facts.Newer():
		}
	}
	return ctx.Err() == nil
}

// pace keeps the distance from the last Sync: the configured one, and more after a
// failure or when the sink asks for repairs, however much changes.
func (f *follower) pace(ctx context.Context) bool {
	at := f.ended.Add(f.table.cfg.MinInterval)
	if f.backoff > 0 && f.hasteAt.After(at) {
		at = f.hasteAt
	}
	if least := f.ended.Add(minBackoff); f.repair && least.After(at) {
		at = least
	}
	rest := time.Until(at)
	if rest <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// sync brings the sink in line with the present facts, or arranges for another
// attempt.
func (f *follower) sync(ctx context.Context) {
	if at, ok := f.facts.Replaced(); ok && f.noticed.IsZero() {
		f.noticed = at
	}
	f.facts = f.table.Refresh()
	u := f.table.Pending()
	if u == nil {
		f.noticed = time.Time{} // it means nothing to this node
		if !f.repair && f.backoff == 0 {
			return
		}
		u = f.table.Current()
	}
	u.Noticed = f.noticed
	err := f.sink.Sync(ctx, u)
	f.ended = time.Now()
	switch {
	case err == nil:
		f.table.Accept(u)
		f.backoff, f.repair, f.failed, f.noticed = 0, false, "", time.Time{}
	case ctx.Err() == nil:
		f.backOff(ctx, u, err)
	}
}

// backOff arranges for another attempt. The pause grows with attempts that waited for
// their turn; one that came early, because facts had changed, leaves it as it is. What
// is known already is not logged by early attempts.
func (f *follower) backOff(ctx context.Context, u *localsink.Update, err error) {
	inTurn := !f.ended.Before(f.retryAt)
	if inTurn {
		f.backoff = min(max(2*f.backoff, minBackoff), f.table.cfg.MaxBackoff)
		f.retryAt = f.ended.Add(f.backoff/2 + rand.N(f.backoff/2+1))
	}
	f.hasteAt = f.ended.Add(min(f.backoff, maxHaste))
	if text := err.Error(); inTurn || text != f.failed {
		f.failed = text
		f.table.cfg.Logger.ErrorContext(ctx, "Sink failed, will try again", "err", err,
			"in", time.Until(f.retryAt).Round(time.Millisecond), "changed", len(u.Changed), "removed", len(u.Removed))
	}
}
