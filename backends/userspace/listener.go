// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

const (
	// retryInterval is the time after which the sink requests a resync because an address
	// could not be opened.
	retryInterval = 5 * time.Second
	// acceptRetryInterval is the pause after a failed accept. The usual cause is the limit on
	// file descriptors, and other connections free some soon.
	acceptRetryInterval = 200 * time.Millisecond
)

// An address is the key of a listener.
type address struct {
	protocol localsink.Protocol
	local    netip.AddrPort
	// owner is the frontend if the port of local is 0, so that each has a port of its own.
	owner frontendID
}

// A frontendID identifies a frontend.
type frontendID struct {
	service localsink.ServiceName
	port    portID
	kind    localsink.FrontendKind
	addr    netip.AddrPort
}

// A claim is the request of a frontend for an address.
type claim struct {
	address
	id     frontendID
	target *target
}

// compareClaims orders claims of one address: the first is served. A frontend with the exact
// address precedes a node port.
func compareClaims(a, b *claim) int {
	nodePort := func(c *claim) int {
		if c.id.kind == localsink.KindNodePort {
			return 1
		}
		return 0
	}
	return cmp.Or(nodePort(a)-nodePort(b), a.id.service.Compare(b.id.service), strings.Compare(a.id.port.name, b.id.port.name),
		cmp.Compare(a.id.port.index, b.id.port.index), cmp.Compare(a.id.kind, b.id.kind), a.id.addr.Compare(b.id.addr))
}

// A listener is one local address. See the package comment for its states.
type listener struct {
	address
	target   atomic.Pointer[target] // of the first claim
	draining atomic.Bool            // state draining

	// Written by Sync and Close while they hold Backend.mu.
	claims []*claim // ordered; empty only if the listener is being removed
	open   *openSocket
	bound  netip.AddrPort // the address of the socket that was opened last
	err    error          // why it could not be opened
}

// An openSocket is the socket of an open listener.
type openSocket struct {
	close context.CancelFunc // closes the socket, and ends waiting for a limit
	udp   *relayUDP          // nil for TCP
}

func (l *listener) network(tcp, udp string) string {
	network := tcp
	if l.protocol == localsink.ProtocolUDP {
		network = udp
	}
	if l.local.Addr().Is4() {
		return network + "4"
	}
	return network + "6"
}

// mustListen reports whether the listener must be open. An address with a port that the system
// selects stays open: its number must not change.
func (l *listener) mustListen() bool {
	return len(l.claims) > 0 && (l.local.Port() == 0 || !l.claims[0].target.rejectsAll())
}

// openAll tries to open all listeners that must be open and are not.
func (b *Backend) openAll(ctx context.Context) {
	for _, l := range b.unopenedListeners() {
		if ctx.Err() != nil {
			return
		}
		b.openOne(ctx, l)
	}
	if len(b.unopened) > 0 { // no lock: only Sync and Close write
		b.retryTimer.Reset(retryInterval)
	}
}

// unopenedListeners returns them in a fixed order, so that the same ones fail when file
// descriptors are exhausted.
func (b *Backend) unopenedListeners() []*listener {
	all := make([]*listener, 0, len(b.unopened))
	for l := range b.unopened {
		all = append(all, l)
	}
	slices.SortFunc(all, func(x, y *listener) int { return compareClaims(x.claims[0], y.claims[0]) })
	return all
}

// openOne opens a listener. A failure is recorded; it is logged when its text changes.
func (b *Backend) openOne(ctx context.Context, l *listener) {
	opened, bound, err := b.listen(ctx, l)
	if err != nil {
		id := l.claims[0].id
		err = fmt.Errorf("userspace: Service %s: %s %s: %w", id.service, id.kind, id.addr, err)
		b.openFailures[family(l.local)].Add(1)
		if l.err == nil || l.err.Error() != err.Error() {
			b.cfg.Logger.Error("Cannot listen", "service", id.service, "err", err, "retryAfter", retryInterval)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l.err = err
	if err == nil {
		delete(b.unopened, l)
		l.open, l.bound = opened, bound
		b.open[family(l.local)]++
	}
}

// listen opens the socket of a listener and starts to serve it.
func (b *Backend) listen(ctx context.Context, l *listener) (*openSocket, netip.AddrPort, error) { //nolint:contextcheck // sockets outlive Sync
	network := l.network("tcp", "udp")
	if l.protocol == localsink.ProtocolUDP {
		socket, err := b.cfg.ListenPacket(ctx, network, l.local.String())
		if err != nil {
			return nil, netip.AddrPort{}, err
		}
		udp := newRelayUDP(b, l, socket)
		b.running.Go(udp.run)
		return &openSocket{close: udp.close, udp: udp}, udp.local, nil
	}
	ln, err := b.cfg.Listen(ctx, network, l.local.String())
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	open, cancel := context.WithCancel(b.ctx)
	b.running.Go(func() { b.accept(open, l, ln) })
	return &openSocket{close: func() { _ = ln.Close(); cancel() }}, addrPort(ln.Addr()), nil
}

// accept serves all connections of a listener until it is closed. At a limit, it accepts no
// further connection until another one has ended.
func (b *Backend) accept(open context.Context, l *listener, ln net.Listener) {
	for {
		client, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			b.cfg.Logger.Warn("Cannot accept connection", "address", l.local, "err", err)
			sleep(open, acceptRetryInterval)
			continue
		}
		t := l.target.Load()
		if !b.acquire(open, t.service, !b.cfg.ResetAtLimit) {
			b.cfg.Logger.Warn("Connection reset, too many connections", "address", l.local, "limit", b.cfg.MaxConnections,
				"limitPerService", b.cfg.MaxConnectionsPerService)
			reset(client)
			continue
		}
		b.running.Go(func() { //nolint:contextcheck // connections outlive their listener
			b.serve(l.target.Load(), client, func() { b.release(t.service) })
		})
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// family returns the index of an address's family in counters.
func family(a netip.AddrPort) int {
	if a.Addr().Is4() {
		return 0
	}
	return 1
}
