// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestSinkContract: the listeners and their targets depend on the last state only. The sinks of
// one test would compete for the same addresses, so the sockets are fakes.
func TestSinkContract(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{New: func(t *testing.T) (localsink.Sink, func() string) {
		b, err := New(Config{
			Listen:       func(context.Context, string, string) (net.Listener, error) { return newFakeSocket(), nil },
			ListenPacket: func(context.Context, string, string) (net.PacketConn, error) { return newFakeSocket(), nil },
			InterfaceAddrs: func() ([]net.Addr, error) {
				return []net.Addr{&net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}, &net.IPNet{IP: net.ParseIP("2001:db8::1"), Mask: net.CIDRMask(64, 128)}}, nil
			},
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b, func() string { return describe(b) }
	}})
}

// describe returns all listeners and what they depend on, as text.
func describe(b *Backend) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []string
	for _, l := range b.listeners {
		line := fmt.Sprintln(l.protocol, l.local, l.open != nil, l.err)
		for _, c := range l.claims {
			t := c.target
			line += fmt.Sprintln(" ", c.id, *t.frontend, t.settings.refused, t.settings.affinity, t.settings.draining, t.sources)
			for _, s := range t.settings.selectors {
				line += fmt.Sprintln("   ", s.selection, s.endpoints)
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "") + fmt.Sprintln(len(b.services), len(b.unopened), len(b.contested))
}

// A fakeSocket is a listener or a UDP socket without clients.
type fakeSocket struct{ closed chan struct{} }

func newFakeSocket() *fakeSocket { return &fakeSocket{make(chan struct{})} }

func (s *fakeSocket) Accept() (net.Conn, error) {
	<-s.closed
	return nil, net.ErrClosed
}

func (s *fakeSocket) ReadFrom([]byte) (int, net.Addr, error) {
	<-s.closed
	return 0, nil, net.ErrClosed
}

func (s *fakeSocket) Close() error {
	close(s.closed)
	return nil
}

func (s *fakeSocket) WriteTo([]byte, net.Addr) (int, error) { return 0, os.ErrClosed }
func (s *fakeSocket) Addr() net.Addr                        { return s.LocalAddr() }
func (s *fakeSocket) SetDeadline(time.Time) error           { return nil }
func (s *fakeSocket) SetReadDeadline(time.Time) error       { return nil }
func (s *fakeSocket) SetWriteDeadline(time.Time) error      { return nil }
func (s *fakeSocket) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1"))
}
