// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func newCutter(t testing.TB, ns *netnstest.Namespace) *Cutter {
	var c *Cutter
	ns.Do(func() (err error) {
		c, err = NewCutter()
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestCutEntriesOfTheKernel cuts by frontend, endpoint, both, and by all ports of an address,
// in both families and for each protocol.
func TestCutEntriesOfTheKernel(t *testing.T) {
	ns := newNode(t)
	c := newCutter(t, ns)
	valid, stale := sampleEntries()
	all := slices.Concat(valid, stale)
	for _, row := range []struct {
		id      string
		match   func(f family) Match
		removed func(f family, e entry) bool
	}{
		{"frontend", func(f family) Match {
			return Match{Protocol: protocolUDP, Frontend: netip.AddrPortFrom(f.vip, servicePort)}
		},
			func(f family, e entry) bool {
				return e.protocol == unix.IPPROTO_UDP && e.destination == netip.AddrPortFrom(f.vip, servicePort)
			}},
		{"address of the node", func(f family) Match {
			return Match{Protocol: protocolUDP, Frontend: netip.AddrPortFrom(f.local, nodePortNumber)}
		},
			func(f family, e entry) bool {
				return e.protocol == unix.IPPROTO_UDP && e.destination == netip.AddrPortFrom(f.local, nodePortNumber)
			}},
		{"all ports of a frontend", func(f family) Match { return Match{Protocol: protocolUDP, Frontend: netip.AddrPortFrom(f.vip, 0)} },
			func(f family, e entry) bool { return e.protocol == unix.IPPROTO_UDP && e.destination.Addr() == f.vip }},
		{"endpoint", func(f family) Match { return Match{Protocol: protocolUDP, Endpoint: f.two} },
			func(f family, e entry) bool {
				return e.protocol == unix.IPPROTO_UDP && e.replySource == f.two && e.destination != f.two
			}},
		{"all ports of an endpoint", func(f family) Match {
			return Match{Protocol: protocolUDP, Endpoint: netip.AddrPortFrom(f.one.Addr(), 0)}
		},
			func(f family, e entry) bool { return e.protocol == unix.IPPROTO_UDP && e.replySource == f.one }},
		{"endpoint of a frontend", func(f family) Match {
			return Match{Protocol: protocolUDP, Frontend: netip.AddrPortFrom(f.vip, servicePort), Endpoint: f.two}
		}, func(f family, e entry) bool {
			return e.protocol == unix.IPPROTO_UDP && e.destination == netip.AddrPortFrom(f.vip, servicePort) && e.replySource == f.two
		}},
		{"flows without translation", func(f family) Match {
			return Match{Protocol: protocolUDP, Frontend: netip.AddrPortFrom(f.vip, servicePort), Endpoint: netip.AddrPortFrom(f.vip, servicePort)}
		}, func(f family, e entry) bool {
			return e.destination == netip.AddrPortFrom(f.vip, servicePort) && e.replySource == e.destination
		}},
		{"TCP", func(f family) Match { return Match{Protocol: localsink.ProtocolTCP, Endpoint: f.two} },
			func(f family, e entry) bool { return e.protocol == unix.IPPROTO_TCP && e.replySource == f.two }},
	} {
		t.Run(row.id, func(t *testing.T) {
			present := list(t, ns)
			create(t, ns, slices.DeleteFunc(slices.Clone(all), func(e entry) bool { return slices.Contains(present, e.String()) })...)
			require.Equal(t, sortedStrings(all), list(t, ns))
			for i, f := range families() {
				left := slices.DeleteFunc(slices.Clone(all), func(e entry) bool {
					return slices.ContainsFunc(families()[:i+1], func(f family) bool { return row.removed(f, e) })
				})
				before := list(t, ns)
				removed, err := c.Cut(t.Context(), row.match(f))
				require.NoError(t, err)
				require.Positive(t, removed)
				require.Equal(t, sortedStrings(left), list(t, ns))
				require.EqualValues(t, len(before)-len(left), removed)
			}
		})
	}
	require.EqualValues(t, 2*8, c.dumps.Load(), "one for each row and family")
}

// TestCutInAllZones: some dataplanes track connections in zones of their own.
func TestCutInAllZones(t *testing.T) {
	ns := newNode(t)
	c := newCutter(t, ns)
	to := netip.AddrPortFrom(families()[0].local, 7777)
	_, err := ns.Command("nft", "add table ip z; add chain ip z output { type filter hook output priority raw; }; add rule ip z output udp sport 1111 ct zone set 7")
	require.NoError(t, err)
	for _, port := range []uint16{1111, 1112} {
		ns.Do(func() error {
			conn, err := net.DialUDP("udp", &net.UDPAddr{Port: int(port)}, net.UDPAddrFromAddrPort(to))
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte("hello"))
			return err
		})
	}
	zones := func() (all []uint16) {
		ns.Do(func() error {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
			for _, f := range flows {
				if f.Forward.DstPort == to.Port() {
					all = append(all, f.Zone)
				}
			}
			return err
		})
		slices.Sort(all)
		return all
	}
	require.Contains(t, zones(), uint16(7))
	removed, err := c.Cut(t.Context(), Match{Protocol: protocolUDP, Frontend: to})
	require.NoError(t, err)
	require.NotZero(t, removed)
	require.Empty(t, zones())
}

// TestConcurrentCuts: each entry is removed by one of several calls.
func TestConcurrentCuts(t *testing.T) {
	ns := newNode(t)
	c := newCutter(t, ns)
	f := families()[0]
	const n = 500
	create(t, ns, manyEntries(f, n)...)
	var wg sync.WaitGroup
	var removed atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			m := Match{Protocol: protocolUDP, Frontend: netip.AddrPortFrom(f.vip, servicePort)}
			if i%2 == 0 {
				m = Match{Protocol: protocolUDP, Endpoint: f.one}
			}
			count, err := c.Cut(t.Context(), m)
			if err != nil {
				t.Error(err)
			}
			removed.Add(int64(count))
		})
	}
	wg.Wait()
	require.Empty(t, list(t, ns))
	require.GreaterOrEqual(t, removed.Load(), int64(n))
}

// TestCutNeedsPrivileges: the error is that of the system.
func TestCutNeedsPrivileges(t *testing.T) {
	ns := newNode(t)
	var removed uint
	err := ns.Run(func() error {
		// Only this thread loses its capabilities, and it ends with the function.
		header, none := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
		if err := unix.Capset(&header, &none[0]); err != nil {
			return err
		}
		c, err := NewCutter()
		if err != nil {
			return err
		}
		defer c.Close()
		removed, err = c.Cut(context.Background(), Match{Protocol: protocolUDP, Endpoint: families()[0].one})
		return err
	})
	require.Zero(t, removed)
	require.ErrorIs(t, err, unix.EPERM)
	require.ErrorContains(t, err, "conntrack: ")
}

// TestClientReachesCurrentEndpointAfterCut: a client that keeps sending from one port stays
// with a removed endpoint until its flow is cut, by endpoint or by frontend.
func TestClientReachesCurrentEndpointAfterCut(t *testing.T) {
	for _, f := range families() {
		for _, to := range []netip.AddrPort{netip.AddrPortFrom(f.vip, servicePort), netip.AddrPortFrom(f.local, nodePortNumber)} {
			t.Run(to.String(), func(t *testing.T) {
				s := newCluster(t)
				c := newCutter(t, s.node)
				s.driver.Sink = s.rules // no sink removes flows
				set := func(endpoint func(f family) netip.AddrPort) {
					t.Helper()
					svc := dns(func(f family) []netip.AddrPort { return []netip.AddrPort{endpoint(f)} })
					require.NoError(t, s.driver.Sync(t.Context(), sinktest.NewState(svc)))
				}
				cut := func(m Match) {
					t.Helper()
					removed, err := c.Cut(t.Context(), m)
					require.NoError(t, err)
					require.EqualValues(t, 1, removed)
				}
				set(func(f family) netip.AddrPort { return f.one })
				client := s.dial(t, f, to)
				require.Equal(t, f.one.String(), exchange(client))
				set(func(f family) netip.AddrPort { return f.two })
				require.Equal(t, f.one.String(), exchange(client), "the flow continues")
				cut(Match{Protocol: protocolUDP, Endpoint: f.one})
				require.Equal(t, f.two.String(), exchange(client))
				set(func(f family) netip.AddrPort { return f.one })
				require.Equal(t, f.two.String(), exchange(client), "the flow continues")
				cut(Match{Protocol: protocolUDP, Frontend: to})
				require.Equal(t, f.one.String(), exchange(client))
			})
		}
	}
}
