// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m)) }

// TestHC10Addresses: where a network is asked for, the addresses of it that the node has
// are listed now and then, not at each update; where an address is, nothing is listed.
func TestHC10Addresses(t *testing.T) {
	ns := netnstest.New(t)
	ns.Address("lo", "192.0.2.1/32", "198.51.100.1/32", "2001:db8::1/128")
	s := NewServices(Config{})
	defer s.Close()
	on := func(networks ...string) *localsink.Node {
		var n localsink.Node
		for _, p := range networks {
			n.NodePortAddresses = append(n.NodePortAddresses, netip.MustParsePrefix(p))
		}
		return &n
	}
	services := func(n int) (all []*localsink.Service) {
		for i := range n {
			all = append(all, checked(fmt.Sprint(i), uint16(20000+i), 1))
		}
		return all
	}
	sync := func(u *localsink.Update) {
		t.Helper()
		ns.Do(func() error { return s.Sync(t.Context(), u) })
	}
	listens := func(service int, want ...string) {
		t.Helper()
		var got []string
		for _, a := range slices.SortedFunc(maps.Keys(s.checks[localsink.ServiceName{Namespace: "ns", Name: fmt.Sprint(service)}].servers), netip.Addr.Compare) {
			got = append(got, a.String())
		}
		require.Equal(t, want, got)
	}
	three, four := sinktest.NewState(services(3)...), sinktest.NewState(services(4)...)

	sync(sinktest.NewUpdate(on("192.0.2.0/24", "2001:db8::/64", "127.0.0.1/32"), nil, three))
	for i := range 3 {
		listens(i, "127.0.0.1", "192.0.2.1", "2001:db8::1")
	}
	ns.Address("lo", "192.0.2.2/32")
	sync(sinktest.NewUpdate(on("192.0.2.0/24", "2001:db8::/64", "127.0.0.1/32"), three, four))
	listens(0, "127.0.0.1", "192.0.2.1", "2001:db8::1")
	listens(3, "127.0.0.1", "192.0.2.1", "2001:db8::1")
	s.list.Reset(0)
	<-s.ResyncRequested()
	sync(&localsink.Update{Node: on("192.0.2.0/24", "2001:db8::/64", "127.0.0.1/32"), All: four})
	for i := range 4 {
		listens(i, "127.0.0.1", "192.0.2.1", "192.0.2.2", "2001:db8::1")
	}
	kept := s.checks[localsink.ServiceName{Namespace: "ns", Name: "0"}].servers[netip.MustParseAddr("192.0.2.2")]
	sync(&localsink.Update{Node: on("192.0.2.2/32", "198.51.100.0/24", "::/0"), NodeChanged: true, All: four})
	for i := range 4 {
		listens(i, "192.0.2.2", "198.51.100.1", "::")
	}
	require.Equal(t, kept, s.checks[localsink.ServiceName{Namespace: "ns", Name: "0"}].servers[netip.MustParseAddr("192.0.2.2")],
		"what is listened on already stays open")
	require.True(t, s.list.Reset(listAfter), "it will look again")
	sync(&localsink.Update{Node: on("192.0.2.2/32"), NodeChanged: true, All: four})
	require.False(t, s.list.Stop(), "there is nothing to list any more")
	sync(&localsink.Update{Node: on("192.0.2.2/32", "198.51.100.1/32", "192.0.2.0/24"), NodeChanged: true, All: four})
	listens(0, "192.0.2.1", "192.0.2.2", "198.51.100.1")
	require.Len(t, s.addresses, 3, "each once: %v", s.addresses)

	// While nobody asks for health checks, nothing is listed; who does gets what is there then.
	sync(sinktest.NewUpdate(on("192.0.2.2/32", "198.51.100.1/32", "192.0.2.0/24"), four, sinktest.NewState()))
	require.Empty(t, s.checks)
	require.False(t, s.list.Stop())
	ns.Address("lo", "192.0.2.3/32")
	sync(sinktest.NewUpdate(on("192.0.2.2/32", "198.51.100.1/32", "192.0.2.0/24"), sinktest.NewState(), four))
	listens(0, "192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.1")

	// A list that cannot be had closes nothing.
	s.interfaces = func() ([]net.Addr, error) { return nil, errors.New("injected") }
	s.outdated.Store(true)
	s.list.Stop()
	sync(&localsink.Update{Node: on("192.0.2.2/32", "198.51.100.1/32", "192.0.2.0/24"), All: four})
	listens(0, "192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.1")
	require.True(t, s.list.Stop(), "it will try again")
	s.interfaces = net.InterfaceAddrs
	require.Empty(t, s.NotProgrammed())
	sync(&localsink.Update{Node: on(), NodeChanged: true, All: four})
	listens(0)
}
