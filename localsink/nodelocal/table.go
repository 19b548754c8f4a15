package nodelocal

import (
	"cmp"
	"errors"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A Config says which node is computed, and how.
type Config struct {
	// NodeName is the name of the node. Required.
	NodeName string
	// NodeIP, when it is a specific address, stands for the node in its family, and
	// its family is the primary one. Otherwise the Node object decides.
	NodeIP netip.Addr
	// LocalPods says how packets of local pods are recognised.
	LocalPods Detection
	// NodePortAddresses are networks and keywords that say which addresses of the
	// node answer on node ports; none means [KeywordPrimary].
	NodePortAddresses []string
	// MasqueradeAll masquerades all clients of cluster IPs.
	MasqueradeAll bool
	// Lacks is what the backend cannot do; Services that need it get a Problem.
	// [Run] fills it in from the sink.
	Lacks localsink.Features

	// MinInterval is the least time between the end of one Sync and the beginning
	// of the next; changes in between are taken together. Zero hurries.
	MinInterval time.Duration
	// MaxBackoff bounds the time between attempts at a Sync that fails, which grows
	// from 100 ms. When facts change meanwhile, an attempt is made after a second at
	// most. Zero means 30 s.
	MaxBackoff time.Duration
	// Logger hears what is of interest to operators; nil is silent.
	Logger *slog.Logger

	nodePorts nodePorts
}

// maxTriggers bounds how many trigger times wait for a sink that fails.
const maxTriggers = 4096

func (cfg *Config) complete() error {
	var err error
	if cfg.NodeName == "" {
		err = errors.New("NodeName: required")
	}
	if cfg.MinInterval < 0 || cfg.MaxBackoff < 0 {
		err = errors.Join(err, errors.New("MinInterval, MaxBackoff: must not be negative"))
	}
	cfg.MaxBackoff = cmp.Or(cfg.MaxBackoff, 30*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	np, npErr := parseNodePorts(cfg.NodePortAddresses)
	cfg.nodePorts = np
	if err := errors.Join(err, npErr, cfg.LocalPods.validate()); err != nil {
		return errors.Join(errors.New("nodelocal: bad Config"), err)
	}
	return nil
}

// A Table is what one node must do, kept in line with a store of facts. One
// goroutine may use a table at a time.
type Table struct {
	cfg    Config
	facts  *diffstore.Reader[watchers.Key, watchers.Fact]
	claims *claims
	view   *view
	born   time.Time

	state     *diffstore.Store[localsink.ServiceName, *localsink.Service]
	accepted  *diffstore.Reader[localsink.ServiceName, *localsink.Service]
	triggered []time.Time
	toldNode  *localsink.Node // the node that the sink has accepted, nil at first

	// What Pending has returned since the last Accept, by the last value: sinks may
	// hold it without having accepted it.
	offered     map[localsink.ServiceName]*localsink.Service
	offeredNode bool
}

// NewTable returns a table of facts in store. The error names the field of cfg that
// is wrong. The table must be closed.
func NewTable(store *watchers.Store, cfg Config) (*Table, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	t := &Table{
		cfg:     cfg,
		facts:   store.Reader(),
		claims:  newClaims(),
		view:    cfg.view(watchers.NewStore().Snapshot()),
		born:    time.Now(),
		state:   diffstore.New(localsink.ServiceName.Compare, hashService),
		offered: map[localsink.ServiceName]*localsink.Service{},
	}
	t.accepted = t.state.Reader()
	return t, nil
}

// Close lets go of the store.
func (t *Table) Close() {
	t.facts.Close()
	t.accepted.Close()
}

// Refresh takes in what has changed in the facts since the last call. It returns
// the facts that the table now stands for.
func (t *Table) Refresh() watchers.Snapshot {
	now, changes := t.facts.Pending()
	facts := watchers.Snapshot{Snapshot: now}
	affected := map[localsink.ServiceName]struct{}{}
	everything := false
	for c := range changes {
		t.hear(facts, c.Value)
		switch c.Key.Kind {
		case watchers.KindService:
			affected[c.Key.Service()] = struct{}{}
		case watchers.KindEndpointSlice:
			affected[c.Key.Service()] = struct{}{}
			t.trigger(c.Value)
		case watchers.KindNode, watchers.KindServiceCIDR:
			everything = t.seeNode(facts) || everything
		}
	}
	if everything {
		for svc := range facts.Services() {
			affected[svc.Name] = struct{}{}
		}
	}
	if len(affected) > 0 {
		t.recompute(facts, affected)
	}
	t.facts.Accept(now)
	return facts
}

// trigger remembers when a change of a slice was asked for; what was there before
// the table says nothing about its speed.
func (t *Table) trigger(f watchers.Fact) {
	slice, ok := f.(*watchers.EndpointSlice)
	if ok && slice.Triggered.After(t.born) && len(t.triggered) < maxTriggers {
		t.triggered = append(t.triggered, slice.Triggered)
	}
}

// seeNode reports whether the own node has changed in a way that matters.
func (t *Table) seeNode(facts watchers.Snapshot) bool {
	v := t.cfg.view(facts)
	if v.equal(t.view) {
		return false
	}
	if sameNode(v.node, t.view.node) {
		v.node = t.view.node
	}
	t.view = v
	return true
}

// recompute brings the named Services up to date, and with them the Services that
// win or lose an address by it. Whom an address belongs to depends only on who asks
// for it, so addresses are settled when all have asked.
func (t *Table) recompute(facts watchers.Snapshot, names map[localsink.ServiceName]struct{}) {
	wanted := make(map[localsink.ServiceName]*localsink.Service, len(names))
	for name := range names {
		for todo := []localsink.ServiceName{name}; len(todo) > 0; {
			next := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if _, done := wanted[next]; !done {
				todo = append(todo, t.ask(facts, next, wanted)...)
			}
		}
	}
	t.state.Update(func(tx *diffstore.Tx[localsink.ServiceName, *localsink.Service]) {
		for name, want := range wanted {
			if want == nil {
				tx.Delete(name)
				continue
			}
			t.claims.settle(want)
			if len(want.Ports) == 0 {
				want.HealthCheck = nil // load balancers must not be told of what is not served
			}
			t.reportLacking(want)
			if len(want.Ports) == 0 && len(want.Problems) == 0 {
				tx.Delete(name) // nothing to serve, nothing to say
				continue
			}
			tx.Set(name, want)
		}
	})
}

// ask computes one Service as if it got all it asks for, and returns the others
// that win or lose an address by what it asks for now.
func (t *Table) ask(facts watchers.Snapshot, name localsink.ServiceName, wanted map[localsink.ServiceName]*localsink.Service) []localsink.ServiceName {
	svc := facts.Service(name)
	if svc == nil {
		wanted[name] = nil
		return t.claims.set(name, time.Time{}, nil)
	}
	want := t.view.compute(svc, slices.Collect(facts.EndpointSlices(name)))
	wanted[name] = want
	return t.claims.set(name, svc.Created, want)
}

// reportLacking says what the backend cannot do for a Service.
func (t *Table) reportLacking(svc *localsink.Service) {
	if lacks := svc.Needs() & t.cfg.Lacks; lacks != 0 {
		svc.Problems = append(svc.Problems, localsink.Problem{
			Object:  "Service " + svc.Name.String(),
			Field:   "spec",
			Message: "the backend of this node does not support " + lacks.String(),
		})
	}
}

// Pending returns the update that a sink must see, or nil when it has accepted all
// there is. The first update is never nil. Until an update is accepted, all that was
// in it comes again together with whatever is newer.
func (t *Table) Pending() *localsink.Update {
	now, changes := t.accepted.Pending()
	u := &localsink.Update{
		Node:        t.view.node,
		NodeChanged: t.toldNode != t.view.node || t.offeredNode,
		All:         state{now},
		Triggered:   slices.Clone(t.triggered),
	}
	for c := range changes {
		t.list(u, c.Key)
		delete(t.offered, c.Key)
	}
	for name := range t.offered {
		t.list(u, name)
	}
	if !u.NodeChanged && len(u.Changed) == 0 && len(u.Removed) == 0 {
		t.triggered = nil // what was asked for means nothing to this node
		return nil
	}
	t.offeredNode = u.NodeChanged
	for _, list := range [][]*localsink.Service{u.Changed, u.Removed} {
		slices.SortFunc(list, func(a, b *localsink.Service) int { return a.Name.Compare(b.Name) })
		for _, svc := range list {
			t.offered[svc.Name] = svc
		}
	}
	return u
}

// list adds a Service to what u says is different.
func (t *Table) list(u *localsink.Update, name localsink.ServiceName) {
	if svc := u.All.Get(name); svc != nil {
		u.Changed = append(u.Changed, svc)
	} else if old, ok := t.accepted.Accepted().Get(name); ok {
		u.Removed = append(u.Removed, old)
	} else if old := t.offered[name]; old != nil {
		u.Removed = append(u.Removed, old)
	}
}

// Accept declares that the sink is in line with u, the update that Pending returned
// last.
func (t *Table) Accept(u *localsink.Update) {
	if s, ok := u.All.(state); ok {
		t.accepted.Accept(s.Snapshot)
	}
	t.toldNode, t.offeredNode = u.Node, false
	t.triggered = t.triggered[len(u.Triggered):]
	clear(t.offered)
}

// Current returns the whole state without any distance: an update for a sink that
// has accepted everything and must look again.
func (t *Table) Current() *localsink.Update {
	return &localsink.Update{Node: t.view.node, All: state{t.state.Snapshot()}}
}

// state is a localsink.State.
type state struct {
	*diffstore.Snapshot[localsink.ServiceName, *localsink.Service]
}

func (s state) Get(name localsink.ServiceName) *localsink.Service {
	svc, _ := s.Snapshot.Get(name)
	return svc
}

func (s state) All() iter.Seq[*localsink.Service] {
	return func(yield func(*localsink.Service) bool) {
		for _, svc := range s.Snapshot.All() {
			if !yield(svc) {
				return
			}
		}
	}
}
