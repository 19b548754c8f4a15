// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m)) }

// TestHC10ListensOnNodePortAddresses: the addresses of a network are listed periodically,
// not at each update. For a single address nothing is listed.
func TestHC10ListensOnNodePortAddresses(t *testing.T) {
	ns := netnstest.New(t)
	ns.Address("lo", "192.0.2.1/32", "198.51.100.1/32", "2001:db8::1/128")
	s := newServices(t)
	defer func() { require.NoError(t, s.Close()) }()
	on := func(networks ...string) *localsink.Node {
		var n localsink.Node
		for _, p := range networks {
			n.NodePortAddresses = append(n.NodePortAddresses, netip.MustParsePrefix(p))
		}
		return &n
	}
	services := func(n int) (all []*localsink.Service) {
		for i := range n {
			all = append(all, newService(fmt.Sprint(i), uint16(20000+i), 1))
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
		for _, a := range slices.SortedFunc(maps.Keys(s.server.checks[localsink.ServiceName{Namespace: "ns", Name: fmt.Sprint(service)}].servers), netip.Addr.Compare) {
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
	s.server.listTimer.Reset(0)
	<-s.ResyncRequested()
	sync(&localsink.Update{Node: on("192.0.2.0/24", "2001:db8::/64", "127.0.0.1/32"), All: four})
	for i := range 4 {
		listens(i, "127.0.0.1", "192.0.2.1", "192.0.2.2", "2001:db8::1")
	}
	opened := s.server.checks[localsink.ServiceName{Namespace: "ns", Name: "0"}].servers[netip.MustParseAddr("192.0.2.2")]
	sync(&localsink.Update{Node: on("192.0.2.2/32", "198.51.100.0/24", "::/0"), NodeChanged: true, All: four})
	for i := range 4 {
		listens(i, "192.0.2.2", "198.51.100.1", "::")
	}
	require.Equal(t, opened, s.server.checks[localsink.ServiceName{Namespace: "ns", Name: "0"}].servers[netip.MustParseAddr("192.0.2.2")],
		"the listener stays open")
	require.True(t, s.server.listTimer.Reset(listInterval), "addresses are listed again later")
	sync(&localsink.Update{Node: on("192.0.2.2/32"), NodeChanged: true, All: four})
	require.False(t, s.server.listTimer.Stop(), "a single address needs no list")
	sync(&localsink.Update{Node: on("192.0.2.2/32", "198.51.100.1/32", "192.0.2.0/24"), NodeChanged: true, All: four})
	listens(0, "192.0.2.1", "192.0.2.2", "198.51.100.1")
	require.Len(t, s.server.addresses, 3, "no duplicates: %v", s.server.addresses)

	// Without health checks nothing is listed; the first check uses a new list.
	sync(sinktest.NewUpdate(on("192.0.2.2/32", "198.51.100.1/32", "192.0.2.0/24"), four, sinktest.NewState()))
	require.Empty(t, s.server.checks)
	require.False(t, s.server.listTimer.Stop())
	ns.Address("lo", "192.0.2.3/32")
	sync(sinktest.NewUpdate(on("192.0.2.2/32", "198.51.100.1/32", "192.0.2.0/24"), sinktest.NewState(), four))
	listens(0, "192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.1")

	// If listing fails, listeners stay open.
	s.server.cfg.InterfaceAddrs = func() ([]net.Addr, error) { return nil, errors.New("injected") }
	s.server.addressesExpired.Store(true)
	s.server.listTimer.Stop()
	sync(&localsink.Update{Node: on("192.0.2.2/32", "198.51.100.1/32", "192.0.2.0/24"), All: four})
	listens(0, "192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.1")
	require.True(t, s.server.listTimer.Stop(), "the list is retried")
	s.server.cfg.InterfaceAddrs = net.InterfaceAddrs
	require.Empty(t, s.NotProgrammed())
	sync(&localsink.Update{Node: on(), NodeChanged: true, All: four})
	listens(0)
}

// TestHC10ServerInAnotherNamespace: a Server for a network namespace that is not that of the
// process follows the addresses there.
func TestHC10ServerInAnotherNamespace(t *testing.T) {
	ns := netnstest.New(t)
	ns.Address("lo", "192.0.2.1/32")
	opened := make(chan string, 10)
	s := newServerOn(t, Config{
		Listen: func(ctx context.Context, network, address string) (ln net.Listener, err error) {
			err = ns.Run(func() error {
				ln, err = new(net.ListenConfig).Listen(ctx, network, address)
				return err
			})
			opened <- address
			return ln, err
		},
		InterfaceAddrs: func() (addrs []net.Addr, err error) {
			err = ns.Run(func() error {
				addrs, err = net.InterfaceAddrs()
				return err
			})
			return addrs, err
		},
	}, "192.0.2.0/24")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer running.Wait()
	defer cancel()
	require.NoError(t, s.Set(ctx, serviceName("a"), 20000, 3))
	require.Equal(t, "192.0.2.1:20000", <-opened)
	ns.Address("lo", "192.0.2.2/32")
	s.listTimer.Reset(0)
	require.Equal(t, "192.0.2.2:20000", <-opened)
	for _, address := range []string{"192.0.2.1", "192.0.2.2"} {
		var answer string
		ns.Do(func() error {
			conn, err := net.Dial("tcp", address+":20000")
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
				return err
			}
			all, err := io.ReadAll(conn)
			answer = string(all)
			return err
		})
		require.Contains(t, answer, "X-Load-Balancing-Endpoint-Weight: 3")
	}
}
