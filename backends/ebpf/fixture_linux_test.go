// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/bpftest"
	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m)) }

// A bed is a node and a pod in network namespaces, and a backend for processes of the test.
type bed struct {
	t         testing.TB
	node, pod *netnstest.Namespace
	cfg       Config
	backend   *Backend
	driver    *sinktest.Driver
}

// newBed returns a bed whose node has the addresses 10.1.0.0/16 and fd00:1::/64.
func newBed(t testing.TB, cfg Config) *bed {
	t.Helper()
	b := &bed{t: t, node: netnstest.New(t), pod: netnstest.New(t)}
	b.node.LocalNetwork("10.1.0.0/16")
	b.node.LocalNetwork("fd00:1::/64")
	b.node.Sysctl("net/ipv6/ip_nonlocal_bind", "1")
	netnstest.Link(b.node, "pod0", b.pod, "eth0")
	b.node.Address("pod0", "10.2.0.1/24", "fd00:2::1/64")
	b.pod.Address("eth0", "10.2.0.2/24", "fd00:2::2/64")
	b.pod.Route("0.0.0.0/0", "10.2.0.1")
	b.pod.Route("::/0", "fd00:2::1")
	cfg.Cgroup = bpftest.JoinCgroup(t)
	cfg.PinDirectory = bpftest.MountBPF(t) + "/kpng"
	cfg.FindNamespaces = func() ([]string, error) { return []string{b.path(b.node), b.path(b.pod)}, nil }
	cfg.InterfaceAddrs = func() ([]net.Addr, error) {
		var addrs []net.Addr // without the link-local ones, which are random
		for _, s := range []string{"10.1.0.1/32", "10.2.0.1/24", "fd00:2::1/64", "192.0.2.1/24", "2001:db8::1/64"} {
			p := netip.MustParsePrefix(s)
			addrs = append(addrs, &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
		}
		return addrs, nil
	}
	b.cfg = cfg
	node := &localsink.Node{Name: "node", LocalPods: localsink.PodSources{Networks: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24")}}}
	for _, p := range []string{"10.2.0.1/32", "fd00:2::1/128"} {
		node.NodePortAddresses = append(node.NodePortAddresses, netip.MustParsePrefix(p))
	}
	b.driver = &sinktest.Driver{Node: node}
	b.start()
	t.Cleanup(func() {
		require.NoError(t, b.backend.Close())
		require.NoError(t, Cleanup(b.cfg))
	})
	return b
}

// start starts a new process, in effect.
func (b *bed) start() {
	b.t.Helper()
	b.node.Do(func() (err error) {
		b.backend, err = New(b.cfg)
		return err
	})
	b.driver = &sinktest.Driver{Sink: b.backend, Node: b.driver.Node}
}

// path returns a path of a namespace that remains valid until the end of the test.
func (b *bed) path(ns *netnstest.Namespace) string {
	b.t.Helper()
	path := ""
	b.pathOf(ns, &path)
	return path
}

func (b *bed) pathOf(ns *netnstest.Namespace, path *string) {
	ns.Do(func() error {
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		*path = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
		b.t.Cleanup(func() { _ = f.Close() }) // after the last use, because callers may be goroutines of the backend
		return nil
	})
}

func (b *bed) sync(services ...*localsink.Service) {
	b.t.Helper()
	require.NoError(b.t, b.driver.Sync(b.t.Context(), sinktest.NewState(services...)))
}

// dial connects in a namespace.
func dial(ns *netnstest.Namespace, network, address string) (c net.Conn, err error) {
	err = ns.Run(func() error {
		d := net.Dialer{Timeout: 3 * time.Second}
		c, err = d.DialContext(context.Background(), network, address)
		return err
	})
	return c, err
}

// ask connects and returns which endpoint answers.
func ask(t testing.TB, ns *netnstest.Namespace, network, address string) string {
	t.Helper()
	c, err := dial(ns, network, address)
	require.NoError(t, err)
	defer c.Close()
	return exchange(t, c)
}

// exchange sends a byte and returns the answer.
func exchange(t testing.TB, c net.Conn) string {
	t.Helper()
	require.NoError(t, c.SetDeadline(time.Now().Add(3*time.Second)))
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	var buf [100]byte
	n, err := c.Read(buf[:])
	require.NoError(t, err)
	return string(buf[:n])
}

// serve starts servers that answer each message with their own address.
func serve(t testing.TB, ns *netnstest.Namespace, protocol localsink.Protocol, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		if protocol == localsink.ProtocolUDP {
			serveUDP(t, ns, a, func(net.Addr) string { return a })
		} else {
			serveTCP(t, ns, a, func(net.Conn) string { return a })
		}
	}
}

func serveTCP(t testing.TB, ns *netnstest.Namespace, addr string, answer func(net.Conn) string) {
	t.Helper()
	var l net.Listener
	ns.Do(func() (err error) {
		l, err = new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
		return err
	})
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var buf [1]byte
				for {
					if _, err := c.Read(buf[:]); err != nil {
						return
					}
					if _, err := c.Write([]byte(answer(c))); err != nil {
						return
					}
				}
			}()
		}
	}()
}

// serveUDP answers each datagram with the result of answer for its sender.
func serveUDP(t testing.TB, ns *netnstest.Namespace, addr string, answer func(from net.Addr) string) {
	t.Helper()
	c := listenUDP(t, ns, addr)
	go func() {
		var buf [100]byte
		for {
			_, from, err := c.ReadFrom(buf[:])
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(answer(from)), from)
		}
	}()
}

func listenUDP(t testing.TB, ns *netnstest.Namespace, addr string) (c net.PacketConn) {
	t.Helper()
	ns.Do(func() (err error) {
		c, err = new(net.ListenConfig).ListenPacket(context.Background(), "udp", addr)
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// web returns a Service with one port at 10.96.0.1:80 or [fd00:96::1]:80.
func web(protocol localsink.Protocol, change func(p *localsink.Port), endpoints ...string) *localsink.Service {
	p := localsink.Port{Name: "p", Protocol: protocol, Pools: []localsink.Pool{{}}}
	vip := "10.96.0.1:80"
	for _, e := range endpoints {
		a := netip.MustParseAddrPort(e)
		if a.Addr().Is6() {
			vip = "[fd00:96::1]:80"
		}
		p.Pools[0].Endpoints = append(p.Pools[0].Endpoints, localsink.Endpoint{Addr: a, Weight: 1})
	}
	p.Frontends = []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort(vip), Routes: []localsink.Route{{}}}}
	if change != nil {
		change(&p)
	}
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: "web"}, Ports: []localsink.Port{p}}
}

// eachFamily runs a test with two endpoints of each family.
func eachFamily(t *testing.T, f func(t *testing.T, vip string, endpoints []string)) {
	t.Helper()
	for family, test := range map[string]struct {
		vip       string
		endpoints []string
	}{
		"IPv4": {"10.96.0.1:80", []string{"10.1.0.1:8080", "10.1.0.2:8080"}},
		"IPv6": {"[fd00:96::1]:80", []string{"[fd00:1::1]:8080", "[fd00:1::2]:8080"}},
	} {
		t.Run(family, func(t *testing.T) { f(t, test.vip, test.endpoints) })
	}
}
