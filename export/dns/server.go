// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sigs.k8s.io/kpng/watchers"
)

// A Server answers queries from a store.
type Server struct {
	cfg   Config
	store *watchers.Store
	ttl   uint32
	// domain and serviceDomain are DOMAIN and svc.DOMAIN in the format of messages.
	domain, serviceDomain []byte

	reverse  *reverseIndex
	ready    chan struct{}
	once     sync.Once
	counters counters
}

// New returns a server for the cluster in store, which must be closed. An error names the invalid field
// of cfg.
func New(store *watchers.Store, cfg Config) (*Server, error) {
	if store == nil {
		return nil, errors.New("dns: store: required")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, store: store, ttl: uint32(cfg.TTL / time.Second), ready: make(chan struct{}), reverse: newReverseIndex(store)}
	s.domain = appendName(nil, cfg.Domain, []byte{0})
	s.serviceDomain = appendName(nil, "svc", s.domain)
	return s, nil
}

// Close releases the store. It must not be called before Run has returned.
func (s *Server) Close() error {
	s.reverse.reader.Close()
	return nil
}

// Ready returns a channel that is closed when the store is synced. Before that, queries are answered
// with SERVFAIL, so that clients use another server.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run answers the queries of listeners, which it closes, until ctx is done; then it returns nil. It may
// be called again with other listeners. Calls must not overlap.
func (s *Server) Run(ctx context.Context, listeners ...*Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { s.follow(ctx) })
	errs := make([]error, len(listeners))
	for i, l := range listeners {
		running.Go(func() {
			if errs[i] = l.serve(ctx, s); errs[i] != nil {
				cancel()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// follow keeps the index of addresses up to date until ctx is done.
func (s *Server) follow(ctx context.Context) {
	for {
		newer := s.reverse.update()
		if s.store.Snapshot().Synced() {
			s.once.Do(func() { close(s.ready) })
		}
		select {
		case <-ctx.Done():
			return
		case <-newer:
		}
	}
}

// Stats counts the queries since the server was created.
type Stats struct {
	// Answered, NoData, NameErrors, Refused and Failed are the responses by kind: with records,
	// NODATA, NXDOMAIN, REFUSED, and any other error.
	Answered, NoData, NameErrors, Refused, Failed uint64
	// Truncated is the number of responses that the client must repeat over TCP.
	Truncated uint64
	// Dropped is the number of packets without a response: they are not queries.
	Dropped uint64
}

// Stats returns the current statistics. It may be called concurrently.
func (s *Server) Stats() Stats {
	c := &s.counters
	return Stats{
		Answered: c.answered.Load(), NoData: c.noData.Load(), NameErrors: c.nameErrors.Load(), Refused: c.refused.Load(),
		Failed: c.failed.Load(), Truncated: c.truncated.Load(), Dropped: c.dropped.Load(),
	}
}

type counters struct{ answered, noData, nameErrors, refused, failed, truncated, dropped atomic.Uint64 }

func (c *counters) count(a *answer) {
	if a.writer.truncated {
		c.truncated.Add(1)
	}
	switch {
	case a.code == dnsmessage.RCodeNameError:
		c.nameErrors.Add(1)
	case a.code == dnsmessage.RCodeRefused:
		c.refused.Add(1)
	case a.code != dnsmessage.RCodeSuccess:
		c.failed.Add(1)
	case a.writer.counts[sectionAnswer] > 0 || a.writer.truncated:
		c.answered.Add(1)
	default:
		c.noData.Add(1)
	}
}
