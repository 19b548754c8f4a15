// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/watchers"
)

// A Config says which node is computed, and how.
type Config struct {
	// NodeName is the name of the node. Required.
	NodeName string
	// NodeIP, when it is a specific address, stands for the node in its family, and
	// its family is the primary one. Otherwise the Node object decides.
	NodeIP netip.Addr
	// ProxyName is the value of the label service.kubernetes.io/service-proxy-name of the
	// Services that are served; "" serves those without the label. Whatever else is in the
	// facts is somebody else's.
	ProxyName string
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

// complete fills in what is not set. The error names the field that is wrong.
func (cfg *Config) complete() error {
	var err error
	if cfg.NodeName == "" {
		err = errors.New("NodeName: required")
	}
	return cfg.completeAll(err)
}

// completeFleet is complete for a config that is not about one node.
func (cfg *Config) completeFleet() error {
	var err error
	if cfg.NodeName != "" || cfg.NodeIP.IsValid() || cfg.Lacks != 0 {
		err = errors.New("NodeName, NodeIP, Lacks: a fleet has many nodes")
	}
	return cfg.completeAll(err)
}

func (cfg *Config) completeAll(err error) error {
	pace := cfg.pace()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	np, npErr := parseNodePorts(cfg.NodePortAddresses)
	cfg.nodePorts = np
	if err := errors.Join(err, pace.Validate(), npErr, cfg.LocalPods.validate()); err != nil {
		return errors.Join(errors.New("nodelocal: bad Config"), err)
	}
	return nil
}

// A Table is what one node must do, kept in line with a store of facts. One
// goroutine may use a table at a time.
type Table struct {
	cfg      Config
	meanings *meanings
	view     *view
	born     time.Time
	feed     *reconciler.Feed
}

// NewTable returns a table of facts in store. The error names the field of cfg that
// is wrong. The table must be closed.
func NewTable(store *watchers.Store, cfg Config) (*Table, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	v := cfg.view(watchers.NewStore().Snapshot())
	return &Table{
		cfg:      cfg,
		meanings: newMeanings(store, &cfg),
		view:     v,
		born:     time.Now(),
		feed:     reconciler.New(v.node),
	}, nil
}

// Close lets go of the store.
func (t *Table) Close() { t.meanings.close() }

// Refresh takes in what has changed in the facts since the last call. It returns
// the facts that the table now stands for.
func (t *Table) Refresh() watchers.Snapshot {
	c := t.meanings.look()
	for _, fact := range c.set {
		report(t.cfg.Logger, c.facts, fact, func(node string) bool { return node == t.cfg.NodeName })
		// What was there before the table says nothing about its speed.
		if slice, ok := fact.(*watchers.EndpointSlice); ok && slice.Triggered.After(t.born) {
			t.feed.Trigger(slice.Triggered)
		}
	}
	if (len(c.nodes) > 0 || c.networks) && t.seeNode(c.facts) {
		for svc := range c.facts.Services() {
			c.affected[svc.Name] = struct{}{}
		}
	}
	if len(c.affected) > 0 {
		t.recompute(c.facts, c.affected)
	}
	t.meanings.accept(c.facts)
	return c.facts
}

// seeNode reports whether the own node has changed in a way that matters.
func (t *Table) seeNode(facts watchers.Snapshot) bool {
	v := t.cfg.view(facts)
	if v.equal(t.view) {
		return false
	}
	if v.node.Equal(t.view.node) {
		v.node = t.view.node
	}
	t.view = v
	t.feed.SetNode(v.node)
	return true
}

// recompute brings the named Services up to date.
func (t *Table) recompute(facts watchers.Snapshot, names map[localsink.ServiceName]struct{}) {
	wanted := t.meanings.mean(facts, names)
	t.feed.Update(func(tx *reconciler.Tx) {
		for name, m := range wanted {
			if m == nil {
				tx.Delete(name)
				continue
			}
			svc := t.view.assemble(m)
			svc.ReportLacking(t.cfg.Lacks)
			tx.Set(svc)
		}
	})
}

// Pending returns the update that a sink must see, or nil when it has accepted all
// there is. The first update is never nil. Until an update is accepted, all that was
// in it comes again together with whatever is newer.
func (t *Table) Pending() *localsink.Update { return t.feed.Pending() }

// Accept declares that the sink is in line with u, the update that Pending returned
// last.
func (t *Table) Accept(u *localsink.Update) { t.feed.Accept(u) }

// Current returns the whole state without any distance: an update for a sink that
// has accepted everything and must look again.
func (t *Table) Current() *localsink.Update { return t.feed.Current() }
