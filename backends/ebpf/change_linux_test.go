// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestRestart: established connections, affinity and new connections are unaffected while the
// process is not running, and when the next one replaces the programs.
func TestRestart(t *testing.T) {
	b := newBed(t, Config{})
	endpoints := []string{"10.1.0.1:8080", "10.1.0.2:8080"}
	serve(t, b.node, localsink.ProtocolTCP, endpoints...)
	svc := web(localsink.ProtocolTCP, func(p *localsink.Port) { p.Affinity = time.Hour }, endpoints...)
	b.sync(svc)
	first := ask(t, b.pod, "tcp", "10.96.0.1:80")
	c, err := dial(b.pod, "tcp", "10.96.0.1:80")
	require.NoError(t, err)
	defer c.Close()
	check := func() {
		require.Equal(t, first, exchange(t, c))
		require.Equal(t, "10.96.0.1:80", c.RemoteAddr().String())
		for range 10 {
			require.Equal(t, first, ask(t, b.pod, "tcp", "10.96.0.1:80"))
		}
	}
	check()
	require.NoError(t, b.backend.Close())
	check()
	b.start()
	check()
	b.sync(svc)
	check()
	intact, err := b.backend.check(t.Context())
	require.NoError(t, err)
	require.False(t, intact)
}

// TestCleanup: nothing is left of a backend.
func TestCleanup(t *testing.T) {
	b := newBed(t, Config{})
	serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080")
	b.sync(web(localsink.ProtocolTCP, nil, "10.1.0.1:8080"))
	ask(t, b.pod, "tcp", "10.96.0.1:80")
	require.NoError(t, Cleanup(b.cfg))
	_, err := dial(b.node, "tcp", "10.96.0.1:80")
	require.Error(t, err)
	require.NoDirExists(t, b.cfg.PinDirectory)
}

// TestGrowth: the state moves to larger maps while clients connect, and no connection fails.
func TestGrowth(t *testing.T) {
	b := newBed(t, Config{})
	serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080")
	one := web(localsink.ProtocolTCP, nil, "10.1.0.1:8080")
	b.sync(one)
	failures := underLoad(t, b, func() {
		for n := 1; n <= 20000; n *= 10 {
			b.sync(append(many(n, 2), one)...)
		}
	})
	require.Empty(t, failures)
	require.Greater(t, b.backend.state.sizes.frontends, uint32(20000))
}

// underLoad connects from the pod while f runs, and returns the errors.
func underLoad(t *testing.T, b *bed, f func()) []error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan []error)
	go func() {
		var errs []error
		n := 0
		for ctx.Err() == nil || n == 0 {
			n++
			c, err := dial(b.pod, "tcp", "10.96.0.1:80")
			if err != nil {
				errs = append(errs, err)
				continue
			}
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
		result <- errs
	}()
	f()
	cancel()
	return <-result
}

// many returns Services at 10.97.0.0/16 and above, without servers.
func many(n, endpoints int) []*localsink.Service {
	all := make([]*localsink.Service, n)
	for i := range all {
		p := localsink.Port{Name: "p", Protocol: localsink.ProtocolTCP, Pools: []localsink.Pool{{}}}
		for e := range endpoints {
			addr := netip.AddrFrom4([4]byte{10, 128 + byte(i>>14), byte(i >> 6), byte(i<<2 + e>>6)})
			p.Pools[0].Endpoints = append(p.Pools[0].Endpoints, localsink.Endpoint{Addr: netip.AddrPortFrom(addr, uint16(8000+e)), Weight: 1})
		}
		vip := netip.AddrFrom4([4]byte{10, 97 + byte(i>>16), byte(i >> 8), byte(i)})
		p.Frontends = []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(vip, 80), Routes: []localsink.Route{{}}}}
		all[i] = &localsink.Service{Name: localsink.ServiceName{Namespace: "a", Name: fmt.Sprintf("s%06d", i)}, Ports: []localsink.Port{p}}
	}
	return all
}

// TestChangesAreAtomic: while the endpoints change, each connection reaches an endpoint of the
// present set or of the one before.
func TestChangesAreAtomic(t *testing.T) {
	b := newBed(t, Config{})
	serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080") // only this one answers
	present := web(localsink.ProtocolTCP, nil, "10.1.0.1:8080")
	b.sync(present)
	failures := underLoad(t, b, func() {
		for i := range 500 {
			// The elements of a replaced pool are reused by that of the other Service, whose
			// endpoints refuse connections.
			other := many(1, 1+i%3)
			other[0].Ports[0].Pools[0].Endpoints[0].Addr = netip.AddrPortFrom(netip.MustParseAddr("10.1.0.9"), uint16(1+i))
			changed := web(localsink.ProtocolTCP, func(p *localsink.Port) { p.RefusedPerMille = uint16(i % 2); p.Affinity = time.Duration(i % 3) }, "10.1.0.1:8080")
			changed.Ports[0].Pools[0].Endpoints[0].Weight = uint32(1 + i%2)
			changed.Ports[0].RefusedPerMille = 0
			b.sync(other[0], changed)
		}
	})
	require.Empty(t, failures)
}

// TestRemovedEndpoint: after Sync has returned, no connection reaches a removed endpoint.
func TestRemovedEndpoint(t *testing.T) {
	b := newBed(t, Config{})
	endpoints := []string{"10.1.0.1:8080", "10.1.0.2:8080"}
	serve(t, b.node, localsink.ProtocolTCP, endpoints...)
	for i := range 50 {
		b.sync(web(localsink.ProtocolTCP, nil, endpoints...))
		remaining := endpoints[i%2]
		b.sync(web(localsink.ProtocolTCP, nil, remaining))
		for range 4 {
			require.Equal(t, remaining, ask(t, b.pod, "tcp", "10.96.0.1:80"))
		}
	}
}

// TestSocketsOfRemovedEndpoints: connected UDP sockets of a removed endpoint are closed soon,
// others are not, with an iterator and with netlink.
func TestSocketsOfRemovedEndpoints(t *testing.T) {
	t.Run("iterator", func(t *testing.T) {
		if _, err := newIteratorDestroyer(); err != nil {
			t.Skipf("needs Linux 6.5 with BTF: %v", err)
		}
		testRemovedSockets(t, newBed(t, Config{}))
	})
	t.Run("netlink", func(t *testing.T) {
		b := newBed(t, Config{})
		require.NoError(t, b.backend.Close())
		b.node.Do(func() error {
			k, err := newLinuxKernel(b.backend.cfg)
			if err == nil {
				err = k.destroyer.close()
				k.destroyer = netlinkDestroyer{}
				b.backend = newBackend(b.backend.cfg, k)
			}
			return err
		})
		b.driver.Sink = b.backend
		testRemovedSockets(t, b)
	})
}

func testRemovedSockets(t *testing.T, b *bed) {
	t.Helper()
	eachFamily(t, func(t *testing.T, vip string, endpoints []string) {
		serve(t, b.node, localsink.ProtocolUDP, endpoints...)
		b.sync(web(localsink.ProtocolUDP, nil, endpoints[0]))
		stale, err := dial(b.pod, "udp", vip)
		require.NoError(t, err)
		ofNode, err := dial(b.node, "udp", vip)
		require.NoError(t, err)
		direct, err := dial(b.pod, "udp", endpoints[0])
		require.NoError(t, err)
		unconnected := listenUDP(t, b.pod, "")
		to, err := net.ResolveUDPAddr("udp", vip)
		require.NoError(t, err)
		require.Equal(t, endpoints[0], exchangeFrom(t, unconnected, to))
		for _, c := range []net.Conn{stale, ofNode} {
			require.Equal(t, endpoints[0], exchange(t, c))
		}
		b.sync(web(localsink.ProtocolUDP, nil, endpoints[1]))
		start := time.Now()
		for _, c := range []net.Conn{stale, ofNode} {
			requireClosed(t, c)
		}
		t.Logf("closed after %v", time.Since(start))
		require.Less(t, time.Since(start), 2*time.Second) // 50 ms on an idle machine
		require.Equal(t, endpoints[0], exchange(t, direct))
		require.Equal(t, endpoints[1], exchangeFrom(t, unconnected, to))
	})
}

// TestSocketsOfNodePorts: sockets to a node port are closed too.
func TestSocketsOfNodePorts(t *testing.T) {
	b := newBed(t, Config{})
	serve(t, b.node, localsink.ProtocolUDP, "10.1.0.1:8080", "10.1.0.2:8080")
	nodePort := func(p *localsink.Port) {
		p.Frontends[0].Kind, p.Frontends[0].Addr = localsink.KindNodePort, netip.MustParseAddrPort("0.0.0.0:30080")
	}
	b.sync(web(localsink.ProtocolUDP, nodePort, "10.1.0.1:8080"))
	c, err := dial(b.pod, "udp", "10.2.0.1:30080")
	require.NoError(t, err)
	require.Equal(t, "10.1.0.1:8080", exchange(t, c))
	b.sync(web(localsink.ProtocolUDP, nodePort, "10.1.0.2:8080"))
	requireClosed(t, c)
}

// requireClosed waits until the kernel has closed a socket.
func requireClosed(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetDeadline(time.Now().Add(3*time.Second)))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNABORTED)
	_, err = c.Write([]byte("x"))
	require.ErrorIs(t, err, syscall.EDESTADDRREQ)
	require.NoError(t, c.Close())
}

// TestDrainingSocketsRemainOpen: sockets of a draining endpoint are not closed.
func TestDrainingSocketsRemainOpen(t *testing.T) {
	b := newBed(t, Config{})
	serve(t, b.node, localsink.ProtocolUDP, "10.1.0.1:8080", "10.1.0.2:8080")
	b.sync(web(localsink.ProtocolUDP, nil, "10.1.0.1:8080"))
	connected, err := dial(b.pod, "udp", "10.96.0.1:80")
	require.NoError(t, err)
	unconnected := listenUDP(t, b.pod, "")
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.96.0.1:80"))
	require.Equal(t, "10.1.0.1:8080", exchangeFrom(t, unconnected, to))
	b.sync(web(localsink.ProtocolUDP, func(p *localsink.Port) { p.Draining = []netip.AddrPort{netip.MustParseAddrPort("10.1.0.1:8080")} }, "10.1.0.2:8080"))
	require.Equal(t, "10.1.0.1:8080", exchange(t, connected))
	require.Equal(t, "10.1.0.1:8080", exchangeFrom(t, unconnected, to))
	require.Equal(t, "10.1.0.2:8080", ask(t, b.pod, "udp", "10.96.0.1:80"))
	b.sync(web(localsink.ProtocolUDP, nil, "10.1.0.2:8080"))
	requireClosed(t, connected)
	require.Equal(t, "10.1.0.2:8080", exchangeFrom(t, unconnected, to))
}

// exchangeFrom sends a packet and returns the answer.
func exchangeFrom(t *testing.T, c net.PacketConn, to net.Addr) string {
	t.Helper()
	require.NoError(t, c.SetDeadline(time.Now().Add(3*time.Second)))
	_, err := c.WriteTo([]byte("x"), to)
	require.NoError(t, err)
	var buf [100]byte
	n, from, err := c.ReadFrom(buf[:])
	require.NoError(t, err)
	require.Equal(t, to.String(), from.String())
	return string(buf[:n])
}

// TestDrift: detached programs are detected and attached again.
func TestDrift(t *testing.T) {
	b := newBed(t, Config{CheckInterval: 10 * time.Millisecond})
	serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080")
	svc := web(localsink.ProtocolTCP, nil, "10.1.0.1:8080")
	b.sync(svc)
	k := b.backend.kernel.(*linuxKernel)
	for name, change := range map[string]func() error{
		"detached": func() error { return k.links["connect4"].Detach() },
		"deleted": func() error {
			return b.backend.state.maps.deleteFrontends([]frontendKey{newFrontendKey(netip.MustParseAddrPort("10.96.0.1:80"), localsink.ProtocolTCP)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, change())
			select {
			case <-b.backend.ResyncRequested():
			case <-time.After(3 * time.Second):
				t.Fatal("no resync is requested")
			}
			require.False(t, b.backend.DriftedSince().IsZero())
			b.sync(svc)
			require.Equal(t, "10.1.0.1:8080", ask(t, b.pod, "tcp", "10.96.0.1:80"))
			require.True(t, b.backend.DriftedSince().IsZero())
		})
	}
}

// TestExcludedNamespace: sockets of a namespace are left alone.
func TestExcludedNamespace(t *testing.T) {
	b := newBed(t, Config{})
	serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080")
	b.sync(web(localsink.ProtocolTCP, nil, "10.1.0.1:8080"))
	ask(t, b.pod, "tcp", "10.96.0.1:80")
	require.NoError(t, b.backend.ExcludeNamespace(b.path(b.pod)))
	b.node.Sysctl("net/ipv4/ip_forward", "1")
	_, err := b.node.Command("ip", "route", "add", "unreachable", "10.96.0.0/16")
	require.NoError(t, err)
	_, err = dial(b.pod, "tcp", "10.96.0.1:80")
	require.ErrorIs(t, err, syscall.EHOSTUNREACH)
	ask(t, b.node, "tcp", "10.96.0.1:80")
	require.NoError(t, b.backend.IncludeNamespace(b.path(b.pod)))
	ask(t, b.pod, "tcp", "10.96.0.1:80")
	require.NoError(t, b.backend.IncludeNamespace(b.path(b.pod)), "it is included already")
}

// TestIncludeNamespaceRevertsExclusion: a namespace that is not listed in OnlyNamespaces is not served
// because it is included again.
func TestIncludeNamespaceRevertsExclusion(t *testing.T) {
	const own = "/proc/self/ns/net"
	b := newBed(t, Config{OnlyNamespaces: []string{own}})
	k, ok := b.backend.kernel.(*linuxKernel)
	require.True(t, ok)
	listed := k.shared[bytecode.ServicesMapNamespaces]
	cookie, err := namespaceCookie(b.path(b.pod))
	require.NoError(t, err)
	var value uint8
	require.NoError(t, b.backend.ExcludeNamespace(b.path(b.pod)))
	require.NoError(t, listed.Lookup(&cookie, &value))
	require.Equal(t, namespaceExcluded, value)
	require.NoError(t, b.backend.IncludeNamespace(b.path(b.pod)))
	require.ErrorIs(t, listed.Lookup(&cookie, &value), ebpf.ErrKeyNotExist)
	require.NoError(t, b.backend.ExcludeNamespace(own))
	require.NoError(t, b.backend.IncludeNamespace(own))
	require.NoError(t, listed.Lookup(&k.only[0], &value))
	require.Equal(t, namespaceIncluded, value)
}

// TestEndedNamespacesAreForgotten: entries of namespaces that have ended do not fill the map.
func TestEndedNamespacesAreForgotten(t *testing.T) {
	b := newBed(t, Config{})
	k, ok := b.backend.kernel.(*linuxKernel)
	require.True(t, ok)
	listed := k.shared[bytecode.ServicesMapNamespaces]
	require.NoError(t, b.backend.ExcludeNamespace(b.path(b.node)))
	var value uint8
	full := false
	for cookie := uint64(1 << 60); !full; cookie++ { // of no namespace
		err := listed.Put(&cookie, &value)
		if full = errors.Is(err, unix.E2BIG); !full {
			require.NoError(t, err)
		}
	}
	require.NoError(t, b.backend.ExcludeNamespace(b.path(b.pod)))
	var all []uint64
	var cookie uint64
	for entries := listed.Iterate(); entries.Next(&cookie, &value); {
		all = append(all, cookie)
	}
	var want []uint64
	for _, path := range []string{b.path(b.node), b.path(b.pod)} {
		cookie, err := namespaceCookie(path)
		require.NoError(t, err)
		want = append(want, cookie)
	}
	require.ElementsMatch(t, want, all)
}

// A failingKernel fails to load or to attach while an error is set.
type failingKernel struct {
	kernel
	loadErr, attachErr error
}

func (k *failingKernel) load(s sizes) (maps, error) {
	if k.loadErr != nil {
		return nil, k.loadErr
	}
	return k.kernel.load(s)
}

func (k *failingKernel) attach(m maps) error {
	if k.attachErr != nil {
		return k.attachErr
	}
	return k.kernel.attach(m)
}

// TestFailedGrowth: a change of the node and of Services that needs larger maps, which cannot be loaded or
// attached, is applied as a whole by the next attempt.
func TestFailedGrowth(t *testing.T) {
	for name, fail := range map[string]func(k *failingKernel, err error){
		"load":   func(k *failingKernel, err error) { k.loadErr = err },
		"attach": func(k *failingKernel, err error) { k.attachErr = err },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, Config{})
			serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080", "10.1.0.2:8080")
			b.sync(web(localsink.ProtocolTCP, nil, "10.1.0.1:8080"))
			k := &failingKernel{kernel: b.backend.kernel}
			b.backend.kernel = k
			fail(k, syscall.ENOMEM)
			changed := *b.driver.Node
			changed.NoMasquerade = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
			b.driver.Node = &changed
			state := sinktest.NewState(append(many(5000, 2), web(localsink.ProtocolTCP, nil, "10.1.0.2:8080"))...)
			for range 2 {
				require.ErrorIs(t, b.driver.Sync(t.Context(), state), syscall.ENOMEM)
				require.Nil(t, b.backend.state, "the next attempt begins anew")
			}
			fail(k, nil)
			require.NoError(t, b.driver.Sync(t.Context(), state))
			require.True(t, b.backend.node.Equal(&changed))
			require.Equal(t, "10.1.0.2:8080", ask(t, b.pod, "tcp", "10.96.0.1:80"))
		})
	}
}
