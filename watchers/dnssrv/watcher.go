// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/kpng/watchers"
)

// maxRetryDelay bounds the delay after failed queries.
const maxRetryDelay = time.Minute

// A Watcher writes Services whose endpoints are DNS records.
type Watcher struct {
	cfg     Config
	querier querier
}

var _ watchers.Watcher = (*Watcher)(nil)

// New returns a watcher. Without Config.Servers, it reads /etc/resolv.conf.
func New(cfg Config) (*Watcher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("watchers/dnssrv: %w", err)
	}
	servers := cfg.Servers
	if len(servers) == 0 {
		if servers, err = systemServers(resolvConf); err != nil {
			return nil, fmt.Errorf("watchers/dnssrv: Config.Servers: %w", err)
		}
	}
	return &Watcher{cfg: cfg, querier: newClient(&cfg, servers)}, nil
}

// Run implements [watchers.Watcher]. It never returns an error: a name that fails keeps its
// endpoints in the store, and Run tries again.
func (w *Watcher) Run(ctx context.Context, store *watchers.Store) error {
	p := newPublisher(&w.cfg, store)
	var running sync.WaitGroup
	for i := range w.cfg.Services {
		for j := range w.cfg.Services[i].Ports {
			running.Go(func() { w.follow(ctx, p, i, j) })
		}
	}
	running.Go(func() {
		if sleep(ctx, w.cfg.SyncTimeout) {
			p.sync()
		}
	})
	running.Wait()
	return nil
}

// follow reads the records of a port until ctx is done.
func (w *Watcher) follow(ctx context.Context, p *publisher, service, port int) {
	s := &w.cfg.Services[service]
	l := &lookup{querier: w.querier, port: &s.Ports[port], families: s.families()}
	failed := 0
	for {
		o := l.resolve(ctx)
		if ctx.Err() != nil {
			return
		}
		w.log(s, o, failed)
		failed++
		if len(o.failures) == 0 {
			failed = 0
		}
		p.publish(service, port, o)
		if !sleep(ctx, jittered(w.delay(o.ttl, failed))) {
			return
		}
	}
}

// log writes a line when a port begins to fail, and when it does no more.
func (w *Watcher) log(s *Service, o outcome, failedBefore int) {
	switch {
	case len(o.failures) > 0 && failedBefore == 0:
		w.cfg.Logger.Warn("DNS query failed, keeping endpoints", "service", s.name(), "err", o.failures[0], "failures", len(o.failures))
	case len(o.failures) == 0 && failedBefore > 0:
		w.cfg.Logger.Info("DNS queries succeed again", "service", s.name())
	}
}

// delay returns the delay after an answer with a TTL, or after a number of failures in a row.
func (w *Watcher) delay(ttl time.Duration, failed int) time.Duration {
	delay := min(max(ttl, w.cfg.MinTTL), w.cfg.MaxTTL)
	if failed == 0 {
		return delay
	}
	retry := w.cfg.MinTTL
	for ; failed > 1 && retry < maxRetryDelay; failed-- {
		retry *= 2
	}
	return min(delay, max(w.cfg.MinTTL, min(retry, maxRetryDelay)))
}

// jittered returns d, lengthened by up to a tenth at random. It is not shortened, so that a cache
// between the watcher and the server does not answer with the old records.
func jittered(d time.Duration) time.Duration { return d + rand.N(d/10+1) }

// sleep returns after d, or false when ctx is done.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// A publisher writes what lookups have read into a store.
type publisher struct {
	cfg   *Config
	store *watchers.Store

	mu         sync.Mutex
	problems   map[[2]int][]watchers.Problem // by the indexes of a Service and of its port
	unanswered map[[2]int]bool               // ports without an answer yet
}

// newPublisher writes the Services into the store, and deletes what the configuration no longer
// has. Endpoints that the store has from an earlier Run remain until there is an answer.
func newPublisher(cfg *Config, store *watchers.Store) *publisher {
	p := &publisher{cfg: cfg, store: store, problems: map[[2]int][]watchers.Problem{}, unanswered: map[[2]int]bool{}}
	prefixes := map[watchers.ServiceName][]string{}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		for j := range s.Ports {
			p.unanswered[[2]int{i, j}] = true
			prefixes[s.name()] = append(prefixes[s.name()], s.slicePrefix(j))
		}
	}
	store.Update(func(tx *watchers.Tx) {
		tx.RetainAll(func(k watchers.Key) bool {
			ports, configured := prefixes[k.Service()]
			return configured && (k.Kind == watchers.KindService ||
				slices.ContainsFunc(ports, func(prefix string) bool { return strings.HasPrefix(k.Slice, prefix) }))
		})
		for i := range cfg.Services {
			tx.SetService(cfg.Services[i].object(nil))
		}
	})
	return p
}

// sync marks the store as synced.
func (p *publisher) sync() { p.store.Update(func(tx *watchers.Tx) { tx.SetSynced() }) }

// publish writes an outcome of a port into the store, in one transaction.
func (p *publisher) publish(service, port int, o outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, index := &p.cfg.Services[service], [2]int{service, port}
	p.problems[index] = s.problems(port, o)
	var problems []watchers.Problem
	for i := range s.Ports {
		problems = append(problems, p.problems[[2]int{service, i}]...)
	}
	endpointSlices := s.endpointSlices(port, o.endpoints)
	stale := p.stale(s, port, o.unknown, endpointSlices)
	p.store.Update(func(tx *watchers.Tx) {
		tx.SetService(s.object(problems))
		if !o.answered {
			return
		}
		for _, e := range endpointSlices {
			tx.SetEndpointSlice(e)
		}
		for _, k := range stale {
			tx.Delete(k)
		}
		if len(o.unknown) == 0 || len(o.endpoints) > 0 { // a family without endpoints does not stand for the other
			delete(p.unanswered, index)
		}
		if len(p.unanswered) == 0 {
			tx.SetSynced()
		}
	})
}

// stale returns the keys of slices of a port that are not in the list, except those of families
// whose endpoints are unknown.
func (p *publisher) stale(s *Service, port int, unknown []watchers.IPFamily, current []*watchers.EndpointSlice) (keys []watchers.Key) {
	for old := range p.store.Snapshot().EndpointSlices(s.name()) {
		isCurrent := slices.ContainsFunc(current, func(e *watchers.EndpointSlice) bool { return e.Name == old.Name })
		if strings.HasPrefix(old.Name, s.slicePrefix(port)) && !isCurrent && !slices.Contains(unknown, old.Family) {
			keys = append(keys, watchers.Key{Kind: watchers.KindEndpointSlice, Namespace: s.Namespace, Name: s.Name, Slice: old.Name, Origin: Origin})
		}
	}
	return keys
}

// problems returns the Problems of a port of s.
func (s *Service) problems(port int, o outcome) (out []watchers.Problem) {
	for _, text := range slices.Concat(o.failures, o.invalid) {
		out = append(out, watchers.Problem{
			Object: fmt.Sprintf("%s %s/%s", Origin, s.Namespace, s.Name), Field: fmt.Sprintf("ports[%d].records", port), Message: text,
		})
	}
	return out
}
