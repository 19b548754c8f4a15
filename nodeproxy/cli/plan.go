// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/nodeagent"
	"sigs.k8s.io/kpng/nodeproxy/nodeips"
	"sigs.k8s.io/kpng/nodeproxy/tuning"
	"sigs.k8s.io/kpng/watchers"
)

// A plan is what a kpng run connects: sources of cluster state that fill a store, or one source of
// the state of a node; and the sinks.
type plan struct {
	watcher  watchers.Watcher           // nil with node
	node     func() (NodeSource, error) // returns a stream of its own for each group; nil with watcher
	store    *watchers.Store
	clusters []ClusterSink
	groups   []group
	many     bool   // a sink serves many clients
	applied  func() // is called by each group when it has applied its first state; see afterAll

	fromServers bool // servers have read all objects that the sources have
}

// A group is the sinks of one --to that are for a node.
type group struct {
	source   NodeSource
	sinks    []localsink.Sink
	flows    []localsink.Sink
	NodeSink // what the sinks have in common; Sink and Flows are unset
}

// plan creates the sources and sinks of the flags.
func (r Registry) plan(ctx context.Context, env *Env, f *runFlags) (*plan, error) {
	p := &plan{store: watchers.NewStore(), applied: func() {}}
	if len(f.from) == 0 || len(f.to) == 0 {
		return nil, usagef("--from and --to: required")
	}
	if err := env.server.Validate(); err != nil {
		return nil, err
	}
	var lists [][]reference[Sink]
	endpoints := false // of Services with cluster IPs are needed
	for _, text := range f.to {
		sinks, err := r.sinks(text)
		if err != nil {
			return nil, err
		}
		for _, s := range sinks {
			env.allNodes = env.allNodes || s.what.Cluster != nil
			env.require(s.what.Requires)
			endpoints = endpoints || !s.what.Requires.NoClusterIPEndpoints
			p.many = p.many || s.what.ManyClients
		}
		lists = append(lists, sinks)
	}
	env.Filter.NoClusterIPEndpoints = !endpoints
	if err := p.addSources(ctx, r, env, f.from); err != nil {
		return nil, err
	}
	for _, sinks := range lists {
		if err := p.addSinks(ctx, env, sinks); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(p.validate(env, f), f.readiness.validate(p, env)); err != nil || f.set == nil {
		return p, err
	}
	return p, p.unused(env, f.set)
}

// addSources sets watcher or node.
func (p *plan) addSources(ctx context.Context, r Registry, env *Env, from []string) error {
	if err := r.checkIncluded(from); err != nil {
		return err
	}
	var joined []watchers.Source
	for i, text := range from {
		s, err := r.source(text)
		if err != nil {
			return err
		}
		if s.what.Node != nil {
			if len(from) > 1 {
				return usagef("--from %s: must be the only source, since it has the state of one node", text)
			}
			p.node = func() (NodeSource, error) {
				source, err := s.what.Node(ctx, env, s.argument)
				return source, command.Prefix("--from "+text, err)
			}
			return nil
		}
		w, err := s.what.Watcher(ctx, env, s.argument)
		if err != nil {
			return usageOf("--from "+text, err)
		}
		joined = append(joined, watchers.Source{Name: sourceName(i, text), Watcher: w})
	}
	p.fromServers = len(env.upstreams) == len(joined)
	if len(joined) == 1 {
		p.watcher = joined[0].Watcher
		return nil
	}
	var err error
	if p.watcher, err = watchers.Join(watchers.JoinConfig{Logger: env.Logger}, joined...); err != nil {
		return usageOf("--from", err)
	}
	return nil
}

// checkIncluded returns an error if a source includes another: each object would be in conflict with
// itself.
func (r Registry) checkIncluded(from []string) error {
	for _, text := range from {
		s, err := r.source(text)
		if err != nil {
			return err
		}
		if included := s.what.Includes; included != "" && slices.Contains(from, included) {
			return usagef("--from %s: leave it out, because %s has the same objects", included, text)
		}
	}
	return nil
}

// sourceName returns the name of a source in Problems and logs.
func sourceName(i int, text string) string {
	const limit = 100
	name := fmt.Sprintf("%d %s", i+1, strings.ReplaceAll(text, "/", "_"))
	return strings.ToValidUTF8(name[:min(len(name), limit)], "")
}

// addSinks adds the sinks of one --to.
func (p *plan) addSinks(ctx context.Context, env *Env, sinks []reference[Sink]) error {
	var g group
	for _, s := range sinks {
		if s.what.Cluster != nil {
			if p.node != nil {
				return usagef("--to %s: %w", s.text, errNoNode)
			}
			c, err := s.what.Cluster(ctx, env, s.argument)
			if err != nil {
				return usageOf("--to "+s.text, err)
			}
			p.clusters = append(p.clusters, c)
			continue
		}
		if env.NodeName == "" {
			return usagef("--to %s: --node: required", s.text)
		}
		n, err := s.what.Node(ctx, env, s.argument)
		if err != nil {
			return usageOf("--to "+s.text, err)
		}
		g.add(n, s.what.Name, env.progress)
		env.repairs.add(n)
	}
	if len(g.sinks)+len(g.flows) == 0 && !g.HealthChecks {
		return nil
	}
	if p.node != nil && len(p.groups) > 0 {
		return usagef("--to %s: with a source of the state of one node, all sinks must be in one --to, separated by commas: "+
			"the server would take what one list has applied for what the node has", sinks[0].text)
	}
	var err error
	if p.node == nil {
		g.source = follower{p.store, env.resolver(ctx)}
	} else if g.source, err = p.node(); err != nil {
		return err
	}
	p.groups = append(p.groups, g)
	return nil
}

// resolver returns the configuration of a resolver for the node. If that is this machine, its addresses
// are known while its Node object is absent.
func (e *Env) resolver(ctx context.Context) nodelocal.Config {
	cfg := e.Node
	if host, _ := os.Hostname(); strings.EqualFold(host, e.NodeName) {
		cfg.KnownNode = &nodelocal.KnownNode{}
		cfg.KnownNode.Remember(&watchers.Node{Name: e.NodeName, IPs: nodeips.OfHost(ctx, e.NodeName, slog.New(slog.DiscardHandler))})
	}
	return cfg
}

// add adds a sink of the given name.
func (g *group) add(n NodeSink, name string, p *progress) {
	if n.Sink != nil {
		g.sinks = append(g.sinks, p.show(name, n.Sink)...)
	}
	if n.Flows != nil {
		g.flows = append(g.flows, p.show(name, n.Flows)...)
	}
	if n.Takeover != nil {
		g.Takeover = n.Takeover
	}
	g.HealthChecks = g.HealthChecks || n.HealthChecks
	g.NoLoopbackListeners = g.NoLoopbackListeners || n.NoLoopbackListeners
	if n.InterfaceAddrs != nil {
		g.InterfaceAddrs = n.InterfaceAddrs
	}
	g.Collectors = append(g.Collectors, n.Collectors...)
}

// validate returns an error for flags without effect.
func (p *plan) validate(env *Env, f *runFlags) error {
	checked := 0
	for _, g := range p.groups {
		if g.HealthChecks {
			checked++
		}
	}
	return command.Conflicts(map[string]bool{
		"--to: healthcheck occurs several times":                                   checked > 1,
		"--health requires the sink healthcheck":                                   f.health != "" && checked == 0,
		"--count-connections requires the sink healthcheck and --metrics":          f.connections != "" && (checked == 0 || f.metricsOf(env) == ""),
		"--recent-rewrites requires the sinks ebpf and healthcheck, and --metrics": f.rewrites != 0 && (!env.usesEBPF || checked == 0 || f.metricsOf(env) == ""),
		"--ebpf-devices requires the sink ebpf":                                    len(f.devices) > 0 && !env.usesEBPF,
		"--metrics requires the sink healthcheck, or one that serves":              f.server.Metrics() != "" && checked == 0 && len(env.servers) == 0,
	})
}

// parts returns what runs concurrently.
func (p *plan) parts(env *Env, f *runFlags) []func(ctx context.Context) error {
	var all []func(ctx context.Context) error
	if p.watcher != nil {
		all = append(all, func(ctx context.Context) error { return fill(ctx, p.watcher, p.store) })
	}
	for _, c := range p.clusters {
		all = append(all, func(ctx context.Context) error { return c(ctx, p.store) })
	}
	if len(p.clusters) > 0 && !p.many {
		all = append(all, p.returnMemory)
	}
	for _, g := range p.groups {
		all = append(all, func(ctx context.Context) error { return g.run(ctx, p, env, f) })
	}
	return all
}

// settleTime is how long after the first state its sources and sinks may still use its memory.
const settleTime = 5 * time.Second

// returnMemory returns the memory that only the first state needed, once it is complete.
func (p *plan) returnMemory(ctx context.Context) error {
	for snapshot := p.store.Snapshot(); !snapshot.Synced(); snapshot = p.store.Snapshot() {
		select {
		case <-ctx.Done():
			return nil
		case <-snapshot.Newer():
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(settleTime):
		tuning.ReturnMemory()
	}
	return nil
}

// fill runs a watcher, whose end before the first complete state is an error.
func fill(ctx context.Context, w watchers.Watcher, store *watchers.Store) error {
	err := w.Run(ctx, store)
	if err == nil && ctx.Err() == nil && !store.Snapshot().Synced() {
		return errors.New("the source ended before the initial sync was complete")
	}
	return err
}

// A follower is the state of one node, resolved from a store.
type follower struct {
	store *watchers.Store
	cfg   nodelocal.Config
}

// Run implements NodeSource.
func (s follower) Run(ctx context.Context, sink localsink.Sink) error {
	return nodelocal.Follow(ctx, s.store, sink, s.cfg)
}

// sink returns the sinks of g in order.
func (g *group) sink() localsink.Sink {
	all := append(append([]localsink.Sink{}, g.sinks...), g.flows...)
	if len(all) == 1 {
		return all[0]
	}
	return localsink.Chain(all...)
}

// afterFirstSync returns a sink that calls f once.
func afterFirstSync(f func()) localsink.Sink {
	var once sync.Once
	return localsink.Func(func(context.Context, *localsink.Update) error {
		once.Do(f)
		return nil
	})
}

// afterAll returns a function that calls f when it is called for the nth time.
func afterAll(n int, f func()) func() {
	missing := atomic.Int64{}
	missing.Store(int64(n))
	return func() {
		if missing.Add(-1) == 0 {
			f()
		}
	}
}

// run delivers the state of the node to the sinks of g until ctx is done.
func (g *group) run(ctx context.Context, p *plan, env *Env, f *runFlags) error {
	if !g.HealthChecks {
		return g.source.Run(ctx, localsink.Chain(g.sink(), afterFirstSync(p.applied)))
	}
	cfg := nodeagent.Config{
		Client: g.source, Rules: localsink.Chain(g.sinks...), NoLoopbackListeners: g.NoLoopbackListeners, InterfaceAddrs: g.InterfaceAddrs,
		Collectors: append(env.collectors(), g.Collectors...), HealthAddress: f.health, OperatorAddress: f.metricsOf(env),
		CountConnections: f.connections, Takeover: g.Takeover, AfterFirstSync: p.applied,
		Logger: env.Logger,
	}
	if len(g.flows) > 0 {
		cfg.Flows = localsink.Chain(g.flows...)
	}
	return command.ReplaceInError(nodeagent.Run(ctx, cfg),
		"HealthAddress:", "--health:", "OperatorAddress:", "--metrics:", "pipeline: CountConnections:", "--count-connections:")
}
