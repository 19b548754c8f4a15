// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"time"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// Config is how to read files.
type Config struct {
	// Filter says which Services and EndpointSlices are wanted.
	Filter kubeapi.Filter
	// OnErrors is told all that is wrong with the files, in the order of files and
	// lines, each time that this changes; an empty list says that all is well
	// again. It is called by Run's goroutine, and need not be there.
	OnErrors func([]*Error)
	// Poll is how often to look for changes that nobody notified of; 0 is every 10
	// seconds.
	Poll time.Duration
	// Logger tells what is wrong, and which kinds of objects are passed over. nil is
	// silent.
	Logger *slog.Logger
}

const (
	standardPoll = 10 * time.Second
	// A change is read when there was none for quiet, as they come in bursts, but
	// not later than patience after the first.
	quiet    = 50 * time.Millisecond
	patience = 500 * time.Millisecond
)

// A Watcher brings facts from files.
type Watcher struct {
	path     string
	config   Config
	logger   *slog.Logger
	pollOnly bool // for tests of file systems that do not notify
}

var _ watchers.Watcher = (*Watcher)(nil)

// New returns a watcher of a file, or of the files in a directory whose names end in
// .yaml, .yml or .json and do not begin with a dot. Directories within are not read.
func New(path string, config Config) *Watcher {
	if config.Poll <= 0 {
		config.Poll = standardPoll
	}
	logger := config.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Watcher{path: path, config: config, logger: logger}
}

// Run keeps store in line with the files until ctx is done, and then returns nil. The
// store is synced after the first reading, also when there are errors in the files or
// no files in the directory. The only error of Run is that there is nothing to read
// at the path when it begins; when the path vanishes later, what is known stays until
// it is back.
func (w *Watcher) Run(ctx context.Context, store *watchers.Store) error {
	n := newNotifier(w.path, w.pollOnly, w.logger) // before reading: nothing is missed between
	defer n.close()
	f := follower{
		tree: tree{path: w.path, seed: maphash.MakeSeed(), decoder: &decoder{
			filter: w.config.Filter, logger: w.logger, ignored: map[string]bool{}}},
		store: store, onErrors: w.config.OnErrors, logger: w.logger,
	}
	if err := f.tree.scan(true); err != nil {
		return fmt.Errorf("watchers/file: %w", err)
	}
	f.publish()

	poll := time.NewTicker(w.config.Poll)
	defer poll.Stop()
	var burst time.Time // when the present burst of changes began
	settled := time.NewTimer(0)
	settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.changed():
			now := time.Now()
			if burst.IsZero() {
				burst = now
			}
			settled.Reset(min(quiet, burst.Add(patience).Sub(now)))
		case <-settled.C:
			burst = time.Time{}
			f.follow(true)
		case <-poll.C:
			f.follow(n.renew())
		}
	}
}

// A follower carries what a tree holds into a store.
type follower struct {
	tree     tree
	store    *watchers.Store
	onErrors func([]*Error)
	logger   *slog.Logger
	reported []string // the errors of last time
}

func (f *follower) follow(everything bool) {
	files, failed := f.tree.files, f.tree.err != nil
	err := f.tree.scan(everything)
	if maps.Equal(files, f.tree.files) && failed == (err != nil) {
		return
	}
	f.publish()
}

// publish makes what is wanted all that the store holds, and tells of new errors.
func (f *follower) publish() {
	facts, errs := f.tree.wanted()
	f.store.Update(func(tx *watchers.Tx) {
		keep := make(map[watchers.Key]struct{}, len(facts))
		for _, fact := range facts {
			keep[tx.Set(fact)] = struct{}{}
		}
		tx.RetainAll(func(k watchers.Key) bool {
			_, ok := keep[k]
			return ok
		})
		tx.SetSynced()
	})
	f.report(errs)
}

func (f *follower) report(errs []*Error) {
	var now []string
	for _, e := range errs {
		text := e.Error()
		now = append(now, text)
		if !slices.Contains(f.reported, text) {
			f.logger.Warn("cannot use part of the manifests", "err", e)
		}
	}
	if slices.Equal(now, f.reported) {
		return
	}
	f.reported = now
	if len(now) == 0 {
		f.logger.Info("all manifests can be used again", "path", f.tree.path)
	}
	if f.onErrors != nil {
		f.onErrors(errs)
	}
}
