// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// An outsideBed is a bed with a client outside. The node has chains of type nat without rules for
// Services, so that only the program at tc can decide where a connection goes.
type outsideBed struct {
	*bed
	client *netnstest.Namespace
}

// A family has addresses of an outsideBed.
type family struct {
	frontend, nodePort       string
	client, inside, gateway  string // inside is the address of the node towards pods
	endpoints, host, another []string
}

func families() map[string]family {
	return map[string]family{
		"IPv4": {
			"203.0.113.1:80", "192.0.2.1:30080", "192.0.2.2", "10.2.0.1", "192.0.2.1",
			[]string{"10.3.0.1:8080", "10.3.0.2:8080", "10.3.0.3:8080"}, []string{"10.1.0.1:8080"}, []string{"10.3.0.9:8080"},
		},
		"IPv6": {
			"[2001:db8:1::1]:80", "[2001:db8::1]:30080", "2001:db8::2", "fd00:2::1", "2001:db8::1",
			[]string{"[fd00:3::1]:8080", "[fd00:3::2]:8080", "[fd00:3::3]:8080"}, []string{"[fd00:1::1]:8080"}, []string{"[fd00:3::9]:8080"},
		},
	}
}

func newOutsideBed(t testing.TB, cfg Config) *outsideBed {
	t.Helper()
	cfg.Combined = true
	if cfg.Devices == nil {
		cfg.Devices = []string{"out*"}
	}
	cfg.CheckInterval = 50 * time.Millisecond
	addChains(t, netnstest.New(t)) // loads the modules that the program needs
	skipWithoutCommonTypes(t)
	b := &outsideBed{newBed(t, cfg), netnstest.New(t)}
	require.NoError(t, b.backend.ExcludeNamespace(b.path(b.client))) // it is another machine
	netnstest.Link(b.node, "out0", b.client, "eth0")
	b.node.Address("out0", "192.0.2.1/24", "2001:db8::1/64")
	b.client.Address("eth0", "192.0.2.2/24", "2001:db8::2/64")
	b.client.Route("0.0.0.0/0", "192.0.2.1")
	b.client.Route("::/0", "2001:db8::1")
	b.node.Sysctl("net/ipv4/ip_forward", "1")
	b.node.Sysctl("net/ipv6/conf/all/forwarding", "1")
	b.pod.Sysctl("net/ipv6/ip_nonlocal_bind", "1")
	b.pod.LocalNetwork("10.3.0.0/24")
	b.pod.LocalNetwork("fd00:3::/64")
	b.node.Route("10.3.0.0/24", "10.2.0.2")
	b.node.Route("fd00:3::/64", "fd00:2::2")
	addChains(t, b.node)
	for _, a := range []string{"192.0.2.1", "2001:db8::1"} {
		addr := netip.MustParseAddr(a)
		b.driver.Node.NodePortAddresses = append(b.driver.Node.NodePortAddresses, netip.PrefixFrom(addr, addr.BitLen()))
	}
	return b
}

// skipWithoutCommonTypes skips a test if the modules nf_conntrack and nf_nat of the kernel have
// different types of an entry, as those of Debian's Linux 7.3: its verifier refuses the program.
func skipWithoutCommonTypes(t testing.TB) {
	t.Helper()
	spec, err := bytecode.LoadPackets()
	require.NoError(t, err)
	c, err := ebpf.NewCollection(spec)
	if err == nil {
		c.Close()
	} else if strings.Contains(err.Error(), "R1 expected pointer to STRUCT nf_conn___init but R1 has a pointer to STRUCT nf_conn___init") {
		t.Skip("nf_conntrack and nf_nat have different types of an entry")
	}
}

// addChains adds chains of type nat without rules for Services.
func addChains(t testing.TB, ns *netnstest.Namespace) {
	t.Helper()
	for _, command := range [][]string{
		{"add", "table", "inet", "empty"},
		{"add", "chain", "inet", "empty", "pre", "{ type nat hook prerouting priority -100; }"},
		{"add", "chain", "inet", "empty", "post", "{ type nat hook postrouting priority 100; }"},
		{"add", "rule", "inet", "empty", "post", "meta", "mark", "0x12345678", "masquerade"}, // turns on connection tracking
	} {
		_, err := ns.Command("nft", command...)
		require.NoError(t, err)
	}
}

// reaches reports whether a connection is answered within 300 ms.
func (b *outsideBed) reaches(network, address string) bool {
	c, err := dial(b.client, network, address)
	if err != nil {
		return false
	}
	defer c.Close()
	if c.SetDeadline(time.Now().Add(300*time.Millisecond)) != nil {
		return false
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	_, err = c.Read(make([]byte, 100))
	return err == nil
}

// findsSource reports whether the kernel returns the source address of a route to programs. Older ones
// may do too, because stable releases have the function.
func findsSource(t testing.TB) bool {
	t.Helper()
	var name unix.Utsname
	require.NoError(t, unix.Uname(&name))
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	require.NoError(t, err)
	return major > 6 || major == 6 && minor >= 7
}

// external returns a Service with a load balancer address and a node port.
func external(f family, protocol localsink.Protocol, change func(p *localsink.Port), endpoints ...string) *localsink.Service {
	return web(protocol, func(p *localsink.Port) {
		np := netip.MustParseAddrPort(f.nodePort)
		unspecified := netip.IPv4Unspecified()
		if np.Addr().Is6() {
			unspecified = netip.IPv6Unspecified()
		}
		p.Frontends = []localsink.Frontend{
			{Kind: localsink.KindLoadBalancer, Addr: netip.MustParseAddrPort(f.frontend), Routes: []localsink.Route{{}}},
			{Kind: localsink.KindNodePort, Addr: netip.AddrPortFrom(unspecified, np.Port()), Routes: []localsink.Route{{}}},
		}
		if change != nil {
			change(p)
		}
	}, endpoints...)
}

// serveSource starts servers that answer with their own address and that of the client.
func serveSource(t testing.TB, ns *netnstest.Namespace, protocol localsink.Protocol, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		if protocol == localsink.ProtocolTCP {
			serveTCP(t, ns, a, func(c net.Conn) string { return a + " " + c.RemoteAddr().(*net.TCPAddr).IP.String() })
			continue
		}
		serveUDP(t, ns, a, func(from net.Addr) string { return a + " " + from.(*net.UDPAddr).IP.String() })
	}
}

// answers connects some times and returns what answers.
func (b *outsideBed) answers(t testing.TB, network, address string, n int) map[string]int {
	t.Helper()
	all := map[string]int{}
	for range n {
		all[ask(t, b.client, network, address)]++
	}
	return all
}

// left requires that the program decides nothing about a connection, which then fails.
func (b *outsideBed) left(t testing.TB, address string) {
	t.Helper()
	before := len(b.entries(t))
	err := b.client.Run(func() error {
		c, err := (&net.Dialer{Timeout: 100 * time.Millisecond}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	require.Error(t, err)
	require.Len(t, b.entries(t), before)
}

// entries returns the translated connections that the node tracks.
func (b *outsideBed) entries(t testing.TB) []*netlink.ConntrackFlow {
	t.Helper()
	var all []*netlink.ConntrackFlow
	b.node.Do(func() error {
		for _, f := range []netlink.InetFamily{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, f)
			if err != nil {
				return err
			}
			for _, f := range flows {
				if !f.Forward.DstIP.Equal(f.Reverse.SrcIP) {
					all = append(all, f)
				}
			}
		}
		return nil
	})
	return all
}

// eachOutside runs a test for each family and protocol.
func eachOutside(t *testing.T, run func(t *testing.T, f family, network string, protocol localsink.Protocol)) {
	t.Helper()
	for name, f := range families() {
		for network, protocol := range map[string]localsink.Protocol{"tcp": localsink.ProtocolTCP, "udp": localsink.ProtocolUDP} {
			t.Run(name+" "+network, func(t *testing.T) { run(t, f, network, protocol) })
		}
	}
}

// TestOutside: connections from outside reach all endpoints, without any rule for Services.
func TestOutside(t *testing.T) {
	b := newOutsideBed(t, Config{})
	eachOutside(t, func(t *testing.T, f family, network string, protocol localsink.Protocol) {
		serveSource(t, b.pod, protocol, f.endpoints...)
		serveSource(t, b.node, protocol, f.host...)
		for _, masquerade := range []bool{false, true} {
			source := f.client
			if masquerade {
				source = f.inside
			}
			b.sync(external(f, protocol, func(p *localsink.Port) {
				for i := range p.Frontends {
					p.Frontends[i].Routes[0].Masquerade = masquerade
				}
			}, f.endpoints...))
			b.node.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }) // clients may use a port again
			for _, to := range []string{f.frontend, f.nodePort} {
				if masquerade && !findsSource(t) && !b.reaches(network, to) {
					require.Empty(t, b.entries(t))
					continue
				}
				used := b.answers(t, network, to, 30)
				require.Len(t, used, 3, used)
				for _, e := range f.endpoints {
					require.Contains(t, used, e+" "+source)
				}
			}
		}
		b.sync(external(f, protocol, nil, f.host...))
		require.Equal(t, map[string]int{f.host[0] + " " + f.client: 3}, b.answers(t, network, f.frontend, 3), "endpoint on the node")
	})
}

func TestOutsideWeights(t *testing.T) {
	b := newOutsideBed(t, Config{})
	f := families()["IPv4"]
	serve(t, b.pod, localsink.ProtocolTCP, f.endpoints...)
	b.sync(external(f, localsink.ProtocolTCP, func(p *localsink.Port) {
		p.Pools[0].Endpoints[0].Weight, p.Pools[0].Endpoints[1].Weight = 7, 2
	}, f.endpoints...))
	used := b.answers(t, "tcp", f.nodePort, 1000)
	require.InDelta(t, 700, used[f.endpoints[0]], 75)
	require.InDelta(t, 200, used[f.endpoints[1]], 65)
	require.InDelta(t, 100, used[f.endpoints[2]], 50)
}

// TestOutsideRemovedEndpoint: connections continue, new ones go to another endpoint.
func TestOutsideRemovedEndpoint(t *testing.T) {
	b := newOutsideBed(t, Config{})
	eachOutside(t, func(t *testing.T, f family, network string, protocol localsink.Protocol) {
		serve(t, b.pod, protocol, f.endpoints...)
		b.sync(external(f, protocol, nil, f.endpoints[0]))
		c, err := dial(b.client, network, f.frontend)
		require.NoError(t, err)
		defer c.Close()
		require.Equal(t, f.endpoints[0], exchange(t, c))
		b.sync(external(f, protocol, nil, f.endpoints[1:]...))
		require.Equal(t, f.endpoints[0], exchange(t, c))
		require.NotContains(t, b.answers(t, network, f.frontend, 20), f.endpoints[0])
	})
}

// TestOutsideLeft: what needs the packet path, or an answer to the client, is left to it.
func TestOutsideLeft(t *testing.T) {
	b := newOutsideBed(t, Config{})
	for name, f := range families() {
		t.Run(name, func(t *testing.T) {
			serve(t, b.pod, localsink.ProtocolTCP, f.endpoints...)
			node := *b.driver.Node
			defer func() { b.driver.Node = &node }()
			check := func(change func(p *localsink.Port)) {
				t.Helper()
				b.sync(external(f, localsink.ProtocolTCP, change, f.endpoints...))
				b.left(t, f.frontend)
				b.left(t, f.nodePort)
			}
			check(func(p *localsink.Port) { p.Affinity = time.Hour })
			check(func(p *localsink.Port) { p.RefusedPerMille = 1 })
			check(func(p *localsink.Port) { p.Pools[0].Endpoints = nil }) // also policy Local without an endpoint here
			ranges := func(all ...netip.Prefix) func(p *localsink.Port) {
				return func(p *localsink.Port) {
					for i := range p.Frontends {
						p.Frontends[i].SourceRanges = all
					}
				}
			}
			client := netip.MustParseAddr(f.client)
			check(ranges([]netip.Prefix{}...))
			check(ranges(netip.PrefixFrom(client.Next(), client.BitLen())))
			pods := node
			pods.LocalPods.Networks = []netip.Prefix{netip.PrefixFrom(client, client.BitLen())}
			b.driver.Node = &pods
			check(nil)
			excepted := node
			excepted.NoMasquerade = []netip.Prefix{netip.PrefixFrom(client, client.BitLen())}
			b.driver.Node = &excepted
			check(func(p *localsink.Port) {
				p.Frontends[0].Routes[0].Masquerade, p.Frontends[1].Routes[0].Masquerade = true, true
			})
			b.driver.Node = &node
			b.sync(external(f, localsink.ProtocolTCP, ranges(netip.PrefixFrom(client, client.BitLen())), f.endpoints...))
			require.Len(t, b.answers(t, "tcp", f.frontend, 30), 3)
			require.Len(t, b.answers(t, "tcp", f.nodePort, 30), 3)
		})
	}
}

// TestOutsidePools: a route for clients on the node does not concern clients outside.
func TestOutsidePools(t *testing.T) {
	b := newOutsideBed(t, Config{})
	f := families()["IPv4"]
	serve(t, b.pod, localsink.ProtocolTCP, f.endpoints...)
	b.sync(external(f, localsink.ProtocolTCP, func(p *localsink.Port) {
		p.Pools = append(p.Pools, localsink.Pool{Endpoints: p.Pools[0].Endpoints[:1]})
		for i := range p.Frontends {
			p.Frontends[i].Routes = []localsink.Route{{From: localsink.FromLocalPods}, {From: localsink.FromThisNode}, {Pool: 1}}
		}
	}, f.endpoints...))
	require.Equal(t, map[string]int{f.endpoints[0]: 20}, b.answers(t, "tcp", f.nodePort, 20))
	used := map[string]int{}
	for range 30 {
		used[ask(t, b.node, "tcp", f.frontend)]++
	}
	require.Len(t, used, 3)
}

// TestOutsideCounts: connections are counted once, whatever the number of their packets.
func TestOutsideCounts(t *testing.T) {
	b := newOutsideBed(t, Config{CountConnections: true})
	f := families()["IPv4"]
	serve(t, b.pod, localsink.ProtocolUDP, f.endpoints[0])
	b.sync(external(f, localsink.ProtocolUDP, nil, f.endpoints[0]))
	for range 5 {
		c, err := dial(b.client, "udp", f.frontend)
		require.NoError(t, err)
		for range 3 {
			exchange(t, c)
		}
		require.NoError(t, c.Close())
	}
	name := localsink.ServiceName{Namespace: "default", Name: "web"}
	byFrontend, err := b.backend.FrontendConnections(t.Context(), name)
	require.NoError(t, err)
	total := uint64(0)
	for _, c := range byFrontend {
		total += c.Count
	}
	require.Equal(t, uint64(5), total)
	byEndpoint, err := b.backend.EndpointConnections(t.Context(), name)
	require.NoError(t, err)
	require.Len(t, byEndpoint, 1)
	require.Equal(t, uint64(5), byEndpoint[0].Count)
	require.Len(t, b.entries(t), 5)
}

// TestOutsideRestart: the program continues without a process, and the next one replaces it.
func TestOutsideRestart(t *testing.T) {
	for _, withoutTCX := range []bool{false, true} {
		t.Run(fmt.Sprint("without tcx ", withoutTCX), func(t *testing.T) {
			b := newOutsideBed(t, Config{})
			start := func() {
				b.start()
				b.backend.kernel.(*linuxKernel).withoutTCX = withoutTCX
			}
			require.NoError(t, b.backend.Close())
			start()
			f := families()["IPv4"]
			serve(t, b.pod, localsink.ProtocolTCP, f.endpoints...)
			b.sync(external(f, localsink.ProtocolTCP, nil, f.endpoints[0]))
			b.answers(t, "tcp", f.frontend, 3)
			require.NoError(t, b.backend.Close())
			require.Equal(t, map[string]int{f.endpoints[0]: 10}, b.answers(t, "tcp", f.frontend, 10))
			start()
			require.Equal(t, map[string]int{f.endpoints[0]: 10}, b.answers(t, "tcp", f.frontend, 10))
			b.sync(external(f, localsink.ProtocolTCP, nil, f.endpoints[1]))
			require.Equal(t, map[string]int{f.endpoints[1]: 10}, b.answers(t, "tcp", f.frontend, 10))

			// Without devices the program of the former process is detached.
			require.NoError(t, b.backend.Close())
			b.cfg.Devices = nil
			start()
			b.sync(external(f, localsink.ProtocolTCP, nil, f.endpoints[1]))
			b.left(t, f.frontend)
			require.Nil(t, b.backend.kernel.(*linuxKernel).outside)
		})
	}
}
