// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// addressInterval is the time between two looks at the addresses of the node.
const addressInterval = 10 * time.Second

// A Backend is a localsink.Sink that forwards connections in this process. Create it with New.
type Backend struct {
	cfg          Config
	resync       chan struct{}
	retryTimer   *time.Timer // requests a resync
	addressTimer *time.Timer // compares the addresses of the node

	// Shared with the goroutines of listeners, connections and sessions, which end when ctx
	// does.
	ctx         context.Context
	cancel      context.CancelFunc
	running     sync.WaitGroup
	slots       slots
	connections connectionSet
	held        heldConns
	buffers     bufferPool

	sessions                                atomic.Int64
	refused, dropped, atLimit, dialFailures atomic.Uint64
	openFailures                            [2]atomic.Uint64 // by family

	// Only Sync and Close write the fields below, while they hold mu.
	mu        sync.Mutex
	closed    bool
	node      *localsink.Node // of the last Sync; nil before
	nodeAddrs []netip.Addr    // at the last Sync
	services  map[localsink.ServiceName]*service
	listeners map[address]*listener
	unopened  map[*listener]struct{} // not open, although they must be
	contested map[*listener]struct{} // with several claims
	open      [2]int                 // number of open listeners by family
}

// A service is a Service with at least one claim.
type service struct {
	name   localsink.ServiceName
	slots  slots
	ports  map[portID]*port
	counts map[frontendID]*atomic.Uint64 // new connections
	claims []*claim
}

// A portID identifies a port of a Service: the index distinguishes ports of equal names.
type portID struct {
	name     string
	protocol localsink.Protocol
	index    int
}

var (
	_ localsink.Sink              = (*Backend)(nil)
	_ localsink.FeatureReporter   = (*Backend)(nil)
	_ localsink.FailureReporter   = (*Backend)(nil)
	_ localsink.ResyncRequester   = (*Backend)(nil)
	_ localsink.ConnectionCounter = (*Backend)(nil)
)

// New returns a Backend that serves nothing. The caller must call Close.
func New(cfg Config) (*Backend, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	b := &Backend{
		cfg:       cfg.withDefaults(),
		resync:    make(chan struct{}, 1),
		slots:     newSlots(cfg.MaxConnections),
		services:  map[localsink.ServiceName]*service{},
		listeners: map[address]*listener{},
		unopened:  map[*listener]struct{}{},
		contested: map[*listener]struct{}{},
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.retryTimer = time.AfterFunc(time.Hour, b.requestResync)
	b.retryTimer.Stop()
	b.addressTimer = time.AfterFunc(time.Hour, b.compareAddresses)
	b.addressTimer.Stop()
	return b, nil
}

// Cleanup returns nil: a Backend leaves nothing behind when its process has ended.
func Cleanup(Config) error { return nil }

// Unsupported implements localsink.FeatureReporter.
func (b *Backend) Unsupported() localsink.Features {
	return ^(localsink.FeatureIPv4 | localsink.FeatureIPv6 | localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureAffinity |
		localsink.FeatureSourceRanges | localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP |
		localsink.FeatureLoadBalancer | localsink.FeatureWeights | localsink.FeatureSelectionClient | localsink.FeatureSelectionFlow |
		localsink.FeatureSelectionLeastConnections | localsink.FeatureRefusedShare)
}

// ResyncRequested implements localsink.ResyncRequester. The channel receives when it is time to
// retry failed addresses, and when the addresses of the node have changed.
func (b *Backend) ResyncRequested() <-chan struct{} { return b.resync }

func (b *Backend) requestResync() {
	select {
	case b.resync <- struct{}{}:
	default:
	}
}

// NotProgrammed implements localsink.FailureReporter: it returns the Services with addresses
// that could not be opened, or that another Service uses.
func (b *Backend) NotProgrammed() map[localsink.ServiceName]error {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[localsink.ServiceName]error{}
	add := func(name localsink.ServiceName, err error) { all[name] = errors.Join(all[name], err) }
	for l := range b.unopened {
		if l.err != nil {
			add(l.claims[0].id.service, l.err)
		}
	}
	for l := range b.contested {
		first := l.claims[0].id
		for _, c := range l.claims[1:] {
			if c.id.kind == localsink.KindNodePort && first.kind != localsink.KindNodePort {
				continue // an exact address precedes a node port
			}
			add(c.id.service, fmt.Errorf("userspace: Service %s: %s %s: Service %s is served at %s %s",
				c.id.service, c.id.kind, c.id.addr, first.service, l.protocol, l.local))
		}
	}
	return all
}

// Close closes all listeners and UDP sessions, waits for TCP connections to end, at most for
// Config.Grace, resets the remaining ones, and waits until all goroutines have ended. It returns
// nil. Sync must not run during or after Close.
func (b *Backend) Close() error {
	b.retryTimer.Stop()
	b.addressTimer.Stop()
	b.mu.Lock()
	b.closed = true
	for _, l := range b.listeners {
		l.claims = nil
		b.closeListener(l)
	}
	clear(b.listeners)
	clear(b.services)
	clear(b.unopened)
	clear(b.contested)
	b.mu.Unlock()
	b.held.close()
	if drained := b.connections.drain(); b.cfg.Grace > 0 {
		timer := time.NewTimer(b.cfg.Grace)
		select {
		case <-drained:
		case <-timer.C:
		}
		timer.Stop()
	}
	b.cancel()
	b.connections.resetAll()
	b.running.Wait()
	return nil
}

// compareAddresses requests a resync if the addresses of the node have changed since the last
// Sync.
func (b *Backend) compareAddresses() {
	addrs, err := b.listAddresses()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	if err == nil && !slices.Equal(addrs, b.nodeAddrs) {
		b.requestResync()
		return // Sync restarts the timer
	}
	b.addressTimer.Reset(addressInterval)
}

// listAddresses returns the sorted addresses of the node, without link-local IPv6 addresses: without
// an interface, the kernel does not bind them.
func (b *Backend) listAddresses() ([]netip.Addr, error) {
	addrs, err := b.cfg.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("userspace: list addresses of the node: %w", err)
	}
	var all []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !(p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()) {
			all = append(all, p.Addr().Unmap())
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}
