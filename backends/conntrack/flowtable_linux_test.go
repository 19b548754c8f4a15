// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m)) }

// newBackend returns a backend for a namespace.
func newBackend(t testing.TB, ns *netnstest.Namespace) *Backend {
	var b *Backend
	ns.Do(func() (err error) {
		b, err = New(Config{})
		return err
	})
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// An entry is one entry of the kernel's flow table.
type entry struct {
	protocol                 uint8
	client                   netip.AddrPort
	destination, replySource netip.AddrPort
}

func (e entry) String() string {
	return fmt.Sprintf("protocol %d, %s to %s, replies from %s", e.protocol, e.client, e.destination, e.replySource)
}

func familyOfAddr(a netip.Addr) netlink.InetFamily { return netlink.InetFamily(familyOf(a.Is4())) }

// create adds entries to the kernel's flow table.
func create(t testing.TB, ns *netnstest.Namespace, entries ...entry) {
	t.Helper()
	ns.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer h.Close()
		for _, e := range entries {
			flow := &netlink.ConntrackFlow{
				FamilyType: uint8(familyOfAddr(e.destination.Addr())), TimeOut: 600,
				Forward: netlink.IPTuple{Protocol: e.protocol,
					SrcIP: e.client.Addr().AsSlice(), SrcPort: e.client.Port(), DstIP: e.destination.Addr().AsSlice(), DstPort: e.destination.Port()},
				Reverse: netlink.IPTuple{Protocol: e.protocol,
					SrcIP: e.replySource.Addr().AsSlice(), SrcPort: e.replySource.Port(), DstIP: e.client.Addr().AsSlice(), DstPort: e.client.Port()},
			}
			if e.protocol == unix.IPPROTO_TCP {
				flow.ProtoInfo = &netlink.ProtoInfoTCP{State: 3}
			}
			if err := h.ConntrackCreate(netlink.ConntrackTable, familyOfAddr(e.destination.Addr()), flow); err != nil {
				return fmt.Errorf("%s: %w", e, err)
			}
		}
		return nil
	})
}

// list returns the sorted entries of the kernel's flow table.
func list(t testing.TB, ns *netnstest.Namespace) []string {
	t.Helper()
	all := []string{}
	ns.Do(func() error {
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
			if err != nil {
				return err
			}
			for _, f := range flows {
				at := func(ip net.IP, port uint16) netip.AddrPort {
					a, _ := netip.AddrFromSlice(ip)
					return netip.AddrPortFrom(a.Unmap(), port)
				}
				all = append(all, entry{f.Forward.Protocol, at(f.Forward.SrcIP, f.Forward.SrcPort),
					at(f.Forward.DstIP, f.Forward.DstPort), at(f.Reverse.SrcIP, f.Reverse.SrcPort)}.String())
			}
		}
		return nil
	})
	slices.Sort(all)
	return all
}

func sortedStrings(entries []entry) []string {
	all := []string{}
	for _, e := range entries {
		all = append(all, e.String())
	}
	slices.Sort(all)
	return all
}

// A family holds the addresses of one address family.
type family struct {
	client, vip, local, foreign netip.Addr
	one, two, removed           netip.AddrPort
	unspecified                 netip.Addr
}

func families() []family {
	a, ap := netip.MustParseAddr, netip.MustParseAddrPort
	return []family{
		{a("192.0.2.2"), a("10.96.0.1"), a("192.0.2.1"), a("198.51.100.1"), ap("10.0.0.1:5353"), ap("10.0.0.2:5353"), ap("10.0.0.9:5353"), netip.IPv4Unspecified()},
		{a("2001:db8::2"), a("fd00:96::1"), a("2001:db8::1"), a("2001:db8:5::1"), ap("[fd00::1]:5353"), ap("[fd00::2]:5353"), ap("[fd00::9]:5353"), netip.IPv6Unspecified()},
	}
}

const servicePort, nodePortNumber = 53, 30053

// dns returns a Service with a cluster IP and a node port in both families, for UDP and TCP.
func dns(endpoints func(f family) []netip.AddrPort) *localsink.Service {
	svc := &localsink.Service{Name: localsink.ServiceName{Namespace: "test", Name: "dns"}}
	for _, protocol := range []localsink.Protocol{localsink.ProtocolUDP, localsink.ProtocolTCP} {
		for _, f := range families() {
			var pool localsink.Pool
			for _, e := range endpoints(f) {
				pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: e, Weight: 1})
			}
			svc.Ports = append(svc.Ports, localsink.Port{
				Name: fmt.Sprint(protocol, f.vip), Protocol: protocol, Pools: []localsink.Pool{pool},
				Frontends: []localsink.Frontend{
					{Kind: localsink.KindClusterIP, Addr: netip.AddrPortFrom(f.vip, servicePort), Routes: []localsink.Route{{}}},
					{Kind: localsink.KindNodePort, Addr: netip.AddrPortFrom(f.unspecified, nodePortNumber), Routes: []localsink.Route{{Masquerade: true}}},
				},
			})
		}
	}
	return svc
}

func bothEndpoints(f family) []netip.AddrPort { return []netip.AddrPort{f.one, f.two} }
func oneEndpoint(f family) []netip.AddrPort   { return []netip.AddrPort{f.one} }

func kernelNode() *localsink.Node {
	return &localsink.Node{Name: "node", NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
}

// newNode returns a namespace with the addresses of the node.
func newNode(t testing.TB) *netnstest.Namespace {
	ns := netnstest.New(t)
	for _, f := range families() {
		ns.Address("lo", netip.PrefixFrom(f.local, f.local.BitLen()).String())
	}
	return ns
}

// sampleEntries returns entries that are valid and entries that are stale after endpoint
// two was removed.
func sampleEntries() (valid, stale []entry) {
	for _, f := range families() {
		n := uint16(40000)
		add := func(list *[]entry, protocol uint8, destination netip.Addr, port uint16, replySource netip.AddrPort) {
			n++
			*list = append(*list, entry{protocol, netip.AddrPortFrom(f.client, n), netip.AddrPortFrom(destination, port), replySource})
		}
		const udp, tcp = unix.IPPROTO_UDP, unix.IPPROTO_TCP
		add(&valid, udp, f.vip, servicePort, f.one)
		add(&stale, udp, f.vip, servicePort, f.two)
		add(&stale, udp, f.vip, servicePort, f.removed)
		add(&stale, udp, f.vip, servicePort, netip.AddrPortFrom(f.vip, servicePort)) // began before the rules
		add(&valid, udp, f.local, nodePortNumber, f.one)
		add(&stale, udp, f.local, nodePortNumber, f.two)
		add(&valid, udp, f.foreign, nodePortNumber, f.two) // the same port number on a foreign address
		add(&valid, udp, f.foreign, nodePortNumber, netip.AddrPortFrom(f.foreign, nodePortNumber))
		add(&valid, udp, f.vip, 54, f.two) // another port
		add(&valid, udp, f.foreign, servicePort, f.two)
		add(&valid, udp, f.two.Addr(), f.two.Port(), f.two) // directly to the endpoint
		add(&valid, tcp, f.vip, servicePort, f.one)
		add(&valid, tcp, f.vip, servicePort, f.two)
		add(&valid, tcp, f.local, nodePortNumber, f.two)
	}
	return valid, stale
}

// TestCT03CT05RemovesStaleEntriesOnly uses the flow table of the kernel.
func TestCT03CT05RemovesStaleEntriesOnly(t *testing.T) {
	ns := newNode(t)
	b := newBackend(t, ns)
	d := &sinktest.Driver{Sink: b, Node: kernelNode()}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(dns(bothEndpoints))))
	valid, stale := sampleEntries()
	create(t, ns, append(slices.Clone(valid), stale...)...)
	require.Equal(t, sortedStrings(append(slices.Clone(valid), stale...)), list(t, ns))

	before := b.Stats()
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(dns(oneEndpoint))))
	require.Equal(t, sortedStrings(valid), list(t, ns))
	require.Equal(t, Stats{Dumps: before.Dumps + 2, Removed: uint64(len(stale))}, b.Stats(), "one dump for each family")

	// A restarted backend removes nothing more. Removing the Service removes its UDP flows.
	restarted := newBackend(t, ns)
	d = &sinktest.Driver{Sink: restarted, Node: kernelNode()}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(dns(oneEndpoint))))
	require.Equal(t, sortedStrings(valid), list(t, ns), "CT-09")
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState()))
	left := slices.DeleteFunc(valid, func(e entry) bool {
		return e.protocol == unix.IPPROTO_UDP && slices.ContainsFunc(families(), func(f family) bool {
			return e.destination == netip.AddrPortFrom(f.vip, servicePort) || e.destination == netip.AddrPortFrom(f.local, nodePortNumber)
		})
	})
	require.Equal(t, sortedStrings(left), list(t, ns), "CT-08")
}

// TestCT09RestartRemovesStaleEntries: flows may become stale while no proxy runs.
func TestCT09RestartRemovesStaleEntries(t *testing.T) {
	ns := newNode(t)
	valid, stale := sampleEntries()
	create(t, ns, append(slices.Clone(valid), stale...)...)
	b := newBackend(t, ns)
	require.NoError(t, b.Sync(t.Context(), sinktest.NewUpdate(kernelNode(), nil, sinktest.NewState(dns(oneEndpoint)))))
	require.Equal(t, sortedStrings(valid), list(t, ns))
}

// TestCT04NodePortAddresses: only flows to addresses in Node.NodePortAddresses become stale.
func TestCT04NodePortAddresses(t *testing.T) {
	ns := newNode(t)
	b := newBackend(t, ns)
	valid, stale := sampleEntries()
	create(t, ns, append(slices.Clone(valid), stale...)...)
	n := kernelNode()
	n.NodePortAddresses = n.NodePortAddresses[1:] // IPv6 only
	require.NoError(t, b.Sync(t.Context(), sinktest.NewUpdate(n, nil, sinktest.NewState(dns(oneEndpoint)))))
	for _, e := range stale {
		if e.destination == netip.AddrPortFrom(families()[0].local, nodePortNumber) {
			valid = append(valid, e)
		}
	}
	require.Equal(t, sortedStrings(valid), list(t, ns))
}

// manyEntries returns n valid entries.
func manyEntries(f family, n int) []entry {
	all := make([]entry, 0, n)
	for i := range n {
		client := netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)})
		all = append(all, entry{unix.IPPROTO_UDP, netip.AddrPortFrom(client, uint16(1024+i)), netip.AddrPortFrom(f.vip, servicePort), f.one})
	}
	return all
}

// TestCT06OneDump: one stale entry among 20,000 is removed with one dump.
func TestCT06OneDump(t *testing.T) {
	ns := newNode(t)
	b := newBackend(t, ns)
	f := families()[0]
	state := func(endpoints ...netip.AddrPort) localsink.State {
		svc := dns(func(family) []netip.AddrPort { return endpoints })
		svc.Ports = svc.Ports[:1]
		return sinktest.NewState(svc)
	}
	d := &sinktest.Driver{Sink: b, Node: kernelNode()}
	require.NoError(t, d.Sync(t.Context(), state(f.one, f.two)))
	const n = 20000
	create(t, ns, manyEntries(f, n)...)
	create(t, ns, entry{unix.IPPROTO_UDP, netip.AddrPortFrom(f.client, 40000), netip.AddrPortFrom(f.vip, servicePort), f.two})
	before, began := b.Stats(), time.Now()
	require.NoError(t, d.Sync(t.Context(), state(f.one)))
	took := time.Since(began)
	require.Equal(t, Stats{Dumps: before.Dumps + 1, Removed: before.Removed + 1}, b.Stats())
	require.Len(t, list(t, ns), n)
	t.Logf("removed one stale entry among %d in %v", n, took)
}

// A cluster is a node with its pods and clients, each in a network namespace. The
// backends program the node.
type cluster struct {
	node, pods, clients *netnstest.Namespace
	driver              *sinktest.Driver
	rules               *nftables.Backend
	backend             *Backend
}

func newCluster(t *testing.T) *cluster {
	s := &cluster{node: netnstest.New(t), pods: netnstest.New(t), clients: netnstest.New(t)}
	netnstest.Link(s.node, "pods", s.pods, "eth0")
	netnstest.Link(s.node, "clients", s.clients, "eth0")
	s.node.Sysctl("net/ipv4/ip_forward", "1")
	s.node.Sysctl("net/ipv6/conf/all/forwarding", "1")
	s.node.Address("clients", "192.0.2.1/24", "2001:db8::1/64")
	s.clients.Address("eth0", "192.0.2.2/24", "2001:db8::2/64")
	s.node.Address("pods", "10.0.0.254/24", "fd00::fe/64")
	s.pods.Address("eth0", "10.0.0.1/24", "10.0.0.2/24", "fd00::1/64", "fd00::2/64")
	s.clients.Route("0.0.0.0/0", "192.0.2.1")
	s.clients.Route("::/0", "2001:db8::1")
	s.node.Route("0.0.0.0/0", "192.0.2.2") // as on real nodes, packets to unknown addresses leave the node
	s.node.Route("::/0", "2001:db8::2")
	s.pods.Route("0.0.0.0/0", "10.0.0.254")
	s.pods.Route("::/0", "fd00::fe")
	s.backend = newBackend(t, s.node)
	s.node.Do(func() (err error) {
		s.rules, err = nftables.New(nftables.Config{})
		return err
	})
	t.Cleanup(func() { s.rules.Close() })
	s.driver = &sinktest.Driver{Sink: localsink.Chain(s.rules, s.backend), Node: kernelNode()}
	for _, f := range families() {
		for _, e := range []netip.AddrPort{f.one, f.two} {
			s.serve(t, e)
		}
	}
	return s
}

// serve starts an endpoint that answers each packet with its own address.
func (s *cluster) serve(t *testing.T, addr netip.AddrPort) {
	var p *net.UDPConn
	s.pods.Do(func() (err error) {
		p, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		return err
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 100)
		for {
			_, from, err := p.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = p.WriteToUDPAddrPort([]byte(addr.String()), from)
			}
		}
	}()
	t.Cleanup(func() {
		p.Close()
		<-done
	})
}

// dial opens a UDP socket with a fixed source port.
func (s *cluster) dial(t *testing.T, f family, to netip.AddrPort) *net.UDPConn {
	var c *net.UDPConn
	s.clients.Do(func() (err error) {
		c, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.client, 44444)), net.UDPAddrFromAddrPort(to))
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends one packet and returns the address of the endpoint that answers, or "".
func exchange(c *net.UDPConn) string {
	_ = c.SetDeadline(time.Now().Add(500 * time.Millisecond))
	if _, err := c.Write([]byte("hello")); err != nil {
		return ""
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// TestClientReachesCurrentEndpoint: a client that keeps sending from one port reaches an
// endpoint that the Service has, by cluster IP and by node port.
func TestClientReachesCurrentEndpoint(t *testing.T) {
	for _, f := range families() {
		for _, to := range []netip.AddrPort{netip.AddrPortFrom(f.vip, servicePort), netip.AddrPortFrom(f.local, nodePortNumber)} {
			t.Run(to.String(), func(t *testing.T) {
				s := newCluster(t)
				set := func(endpoints ...func(f family) netip.AddrPort) {
					t.Helper()
					svc := dns(func(f family) (all []netip.AddrPort) {
						for _, e := range endpoints {
							all = append(all, e(f))
						}
						return all
					})
					require.NoError(t, s.driver.Sync(context.Background(), sinktest.NewState(svc)))
				}
				one := func(f family) netip.AddrPort { return f.one }
				two := func(f family) netip.AddrPort { return f.two }
				c := s.dial(t, f, to)
				require.Empty(t, exchange(c), "there is no Service")
				set()
				require.Empty(t, exchange(c), "there is no endpoint")
				set(one)
				require.Equal(t, f.one.String(), exchange(c), "the first endpoint")
				set(one, two)
				for range 5 {
					require.Equal(t, f.one.String(), exchange(c), "a flow stays with its endpoint")
				}
				set(two)
				require.Equal(t, f.two.String(), exchange(c), "endpoint one was removed")
				set(one)
				require.Equal(t, f.one.String(), exchange(c), "endpoint two was removed")
				require.NotZero(t, s.backend.Stats().Removed)
				require.NoError(t, s.driver.Sync(context.Background(), sinktest.NewState()))
				require.Empty(t, exchange(c), "the Service was removed")
			})
		}
	}
}
