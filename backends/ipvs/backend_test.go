// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func addrPort(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

// endpoints returns endpoints with the weight 1.
func endpoints(addrs ...string) []localsink.Endpoint {
	var all []localsink.Endpoint
	for _, a := range addrs {
		all = append(all, localsink.Endpoint{Addr: addrPort(a), Weight: 1})
	}
	return all
}

// service returns a Service with one port and a cluster IP, changed by change.
func service(name, clusterIP string, list []localsink.Endpoint, change func(p *localsink.Port)) *localsink.Service {
	p := localsink.Port{
		Name: "http", Protocol: localsink.ProtocolTCP, Pools: []localsink.Pool{{Endpoints: list}},
		Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: addrPort(clusterIP), Routes: []localsink.Route{{}}}},
	}
	if change != nil {
		change(&p)
	}
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: name}, Ports: []localsink.Port{p}}
}

func testNode() *localsink.Node {
	return &localsink.Node{
		Name: "node", NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		LocalPods: localsink.PodSources{Networks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}},
	}
}

// A fixture is a backend with its kernel and driver.
type fixture struct {
	*sinktest.Driver
	t *testing.T
	b *Backend
	k *fakeKernel
}

func newFixture(t *testing.T, cfg Config) *fixture {
	b, k := newTestBackend(t, cfg)
	return &fixture{&sinktest.Driver{Sink: b, Node: testNode()}, t, b, k}
}

// sync syncs Services and returns the writes.
func (w *fixture) sync(services ...*localsink.Service) []string {
	w.t.Helper()
	w.k.takeWrites()
	require.NoError(w.t, w.Sync(w.t.Context(), sinktest.NewState(services...)))
	return w.k.takeWrites()
}

// drifted reports whether the backend detects drift, and repairs it.
func (w *fixture) drifted() bool {
	w.t.Helper()
	drifted, err := w.b.checkDrift(w.t.Context())
	require.NoError(w.t, err)
	if drifted {
		w.b.monitor.Report()
	}
	return drifted
}

func TestChangeWritesInProportion(t *testing.T) {
	w := newFixture(t, Config{})
	all := make([]*localsink.Service, 1000)
	for i := range all {
		all[i] = service(fmt.Sprint("s", i), fmt.Sprintf("10.96.%d.%d:80", i/250, i%250+1), endpoints("10.244.1.1:80", "10.244.1.2:80"), nil)
	}
	w.sync(all...)
	dumps := w.k.dumps
	all[7] = service("s7", "10.96.0.8:80", endpoints("10.244.1.1:80", "10.244.1.3:80"), nil)
	require.Equal(t, []string{
		"add destination 10.244.1.3:80 of TCP 10.96.0.8:80 weight 1",
		"update destination 10.244.1.2:80 of TCP 10.96.0.8:80 weight 0",
		"delete destination 10.244.1.2:80 of TCP 10.96.0.8:80",
	}, w.sync(all...))
	require.Equal(t, dumps+1, w.k.dumps, "the connections of one virtual server")
	require.Equal(t, []string{
		"delete address 10.96.0.8", "delete element KPNG-ADDRESSES 10.96.0.8",
		"delete element KPNG-SERVICES 10.96.0.8 80/TCP", "delete server TCP 10.96.0.8:80",
	}, w.sync(append(all[:7:7], all[8:]...)...))
}

func TestRemovedEndpointDrains(t *testing.T) {
	for _, c := range []struct {
		protocol localsink.Protocol
		draining bool // in Port.Draining
		kept     bool
	}{
		{localsink.ProtocolTCP, false, true}, {localsink.ProtocolTCP, true, true}, {localsink.ProtocolSCTP, false, true},
		{localsink.ProtocolUDP, false, false}, {localsink.ProtocolUDP, true, true},
	} {
		t.Run(fmt.Sprint(c.protocol, c.draining), func(t *testing.T) {
			w := newFixture(t, Config{})
			with := func(list []localsink.Endpoint, draining ...netip.AddrPort) *localsink.Service {
				return service("web", "10.96.0.1:80", list, func(p *localsink.Port) { p.Protocol, p.Draining = c.protocol, draining })
			}
			gone := addrPort("10.244.1.2:80")
			w.sync(with(endpoints("10.244.1.1:80", "10.244.1.2:80")))
			w.k.connections[gone] = 3
			var draining []netip.AddrPort
			if c.draining {
				draining = append(draining, gone)
			}
			w.sync(with(endpoints("10.244.1.1:80"), draining...))
			destinations := w.k.servers[serverKey{addr: addrPort("10.96.0.1:80"), protocol: c.protocol}].destinations
			weight, found := destinations[gone]
			require.Equal(t, c.kept, found)
			require.Zero(t, weight)
			if !c.kept {
				return
			}
			require.Empty(t, w.sync(with(endpoints("10.244.1.1:80"), draining...)))
			w.k.connections[gone] = 0
			require.Len(t, w.sync(with(endpoints("10.244.1.1:80"), draining...)), 1)
			require.Len(t, destinations, 1)
		})
	}
}

// A draining endpoint is looked at again without an update.
func TestDrainingRequestsSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFixture(t, Config{})
		w.sync(service("web", "10.96.0.1:80", endpoints("10.244.1.1:80", "10.244.1.2:80"), nil))
		w.k.connections[addrPort("10.244.1.2:80")] = 1
		w.sync(service("web", "10.96.0.1:80", endpoints("10.244.1.1:80"), nil))
		time.Sleep(drainInterval)
		<-w.b.ResyncRequested()
	})
}

// localTrafficOnly returns a Service whose external clients reach local endpoints only.
func localTrafficOnly(local []localsink.Endpoint) *localsink.Service {
	return service("web", "10.96.0.1:80", nil, func(p *localsink.Port) {
		p.Pools = []localsink.Pool{{Endpoints: endpoints("10.244.0.1:8080", "10.244.1.1:8080")}, {Endpoints: local}}
		p.Frontends = append(p.Frontends, localsink.Frontend{
			Kind: localsink.KindLoadBalancer, Addr: addrPort("203.0.113.1:80"), Routes: []localsink.Route{
				{From: localsink.FromLocalPods, Pool: 0, Masquerade: true}, {Pool: 1, EmptyVerdict: localsink.VerdictDrop},
			},
		})
	})
}

func TestPoolsOfOneFrontendHaveTheirServers(t *testing.T) {
	w := newFixture(t, Config{})
	w.sync(localTrafficOnly(endpoints("10.244.0.1:8080")))
	main := w.k.servers[serverKey{addr: addrPort("203.0.113.1:80"), protocol: localsink.ProtocolTCP}]
	require.Len(t, main.destinations, 1, "external clients")
	at := element{set: setPods, addr: netip.MustParseAddr("203.0.113.1"), port: 80, protocol: localsink.ProtocolTCP}
	m := w.k.sets[at]
	require.Equal(t, uint32(DefaultMasqueradeMark), m.value&DefaultMasqueradeMark)
	require.Len(t, w.k.servers[serverKey{mark: m.value}].destinations, 2, "pods")

	w.sync(localTrafficOnly(nil))
	require.Empty(t, main.destinations, "no fallback to endpoints of other nodes")
	at.set = setServices
	require.Equal(t, mark{DefaultServiceMarks, ^uint32(0)}, w.k.sets[at], "dropped")

	w.k.connections[addrPort("10.244.1.1:8080")] = 1
	w.sync()
	require.Len(t, w.k.servers, 1, "the connections of pods end first")
	w.k.connections = map[netip.AddrPort]int{}
	w.sync()
	require.Empty(t, w.k.servers)
}

func TestRestartAdopts(t *testing.T) {
	w := newFixture(t, Config{})
	w.k.servers[serverKey{mark: 7}] = &fakeServer{}
	services := []*localsink.Service{
		localTrafficOnly(endpoints("10.244.0.1:8080")),
		service("dns", "[fd00::1]:53", endpoints("[fd00:1::1]:53"), func(p *localsink.Port) { p.Protocol = localsink.ProtocolUDP }),
	}
	w.sync(services...)
	before := w.k.describe()
	for _, change := range []func(){
		func() {}, // otherwise: left by a process that was killed, or by kube-proxy
		func() {
			w.k.servers[serverKey{addr: addrPort("10.96.9.9:80"), protocol: localsink.ProtocolTCP}] = &fakeServer{}
			w.k.servers[serverKey{mark: 0x77770000}] = &fakeServer{destinations: map[netip.AddrPort]uint32{addrPort("10.0.0.1:1"): 1}}
			w.k.device[netip.MustParseAddr("10.96.9.9")] = true
			w.k.hasRules = false
		},
	} {
		change()
		b := newBackend(w.b.cfg, w.k, func() error { return nil }, time.Hour)
		w.k.takeWrites()
		require.NoError(t, b.Sync(t.Context(), sinktest.NewUpdate(testNode(), nil, sinktest.NewState(services...))))
		require.Equal(t, before, w.k.describe())
		require.NoError(t, b.Close())
		for _, write := range w.k.takeWrites() {
			require.Regexp(t, `^replace |10\.96\.9\.9|FWM 2004287488|10\.0\.0\.1`, write)
		}
	}
}

func TestExcludedServersStay(t *testing.T) {
	w := newFixture(t, Config{ExcludeCIDRs: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	key := serverKey{addr: addrPort("198.51.100.7:6443"), protocol: localsink.ProtocolTCP}
	w.k.servers[key] = &fakeServer{}
	web := service("web", "198.51.100.7:6443", endpoints("10.244.0.1:80"), nil)
	w.sync(web)
	require.Empty(t, w.k.servers[key].destinations)
	require.ErrorContains(t, w.b.NotProgrammed()[web.Name], "Config.ExcludeCIDRs")
	w.sync()
	require.Contains(t, w.k.servers, key)
	require.Empty(t, w.b.NotProgrammed())
	require.False(t, w.drifted())
}

func TestNodePortsFollowAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFixture(t, Config{})
		web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), func(p *localsink.Port) {
			p.Frontends = append(p.Frontends, localsink.Frontend{Kind: localsink.KindNodePort, Addr: addrPort("0.0.0.0:30080"), Routes: []localsink.Route{{}}})
		})
		w.sync(web)
		at := func(addr string) serverKey {
			return serverKey{addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 30080), protocol: localsink.ProtocolTCP}
		}
		require.Contains(t, w.k.servers, at("192.0.2.10"))
		require.NotContains(t, w.k.servers, at("127.0.0.1"))
		w.k.change(func() { w.k.node, w.k.changed = []netip.Addr{netip.MustParseAddr("192.0.2.11")}, true })
		require.False(t, w.drifted())
		synctest.Wait()
		<-w.b.ResyncRequested()
		require.True(t, w.b.DriftedSince().IsZero())
		w.sync(web)
		require.Contains(t, w.k.servers, at("192.0.2.11"))
		require.NotContains(t, w.k.servers, at("192.0.2.10"))
		require.NotContains(t, w.k.device, netip.MustParseAddr("192.0.2.11"))
	})
}

func TestExternalChangesAreRepaired(t *testing.T) {
	vip := serverKey{addr: addrPort("10.96.0.1:80"), protocol: localsink.ProtocolTCP}
	for name, change := range map[string]func(k *fakeKernel){
		"virtual server deleted": func(k *fakeKernel) { delete(k.servers, vip) },
		"virtual server added": func(k *fakeKernel) {
			k.servers[serverKey{addr: addrPort("10.96.0.1:81"), protocol: localsink.ProtocolTCP}] = &fakeServer{}
		},
		"scheduler changed":              func(k *fakeKernel) { k.servers[vip].scheduler = "sed" },
		"destination deleted":            func(k *fakeKernel) { clear(k.servers[vip].destinations) },
		"weight changed":                 func(k *fakeKernel) { k.servers[vip].destinations[addrPort("10.244.0.1:80")] = 9 },
		"rules flushed":                  func(k *fakeKernel) { k.hasRules = false },
		"set flushed":                    func(k *fakeKernel) { clear(k.sets) },
		"address of a Service deleted":   func(k *fakeKernel) { clear(k.device); k.changed = true },
		"address on the dummy interface": func(k *fakeKernel) { k.device[netip.MustParseAddr("10.96.0.9")], k.changed = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newFixture(t, Config{})
			web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), func(p *localsink.Port) { p.Affinity = time.Hour })
			w.sync(web)
			before := w.k.describe()
			require.False(t, w.drifted())
			w.k.change(func() { change(w.k) })
			require.True(t, w.drifted())
			w.sync(web)
			require.Equal(t, before, w.k.describe())
			require.True(t, w.b.DriftedSince().IsZero())
			require.False(t, w.drifted())
		})
	}
}

// TestRefusalDoesNotBlockOthers: the kernel refuses a virtual server, or an address that the API accepts.
func TestRefusalDoesNotBlockOthers(t *testing.T) {
	for refused, err := range map[string]error{
		"add server TCP 10.96.0.1:80": errors.New("refused"),
		"add address 10.96.0.1":       errAddressRefused,
	} {
		w := newFixture(t, Config{})
		bad, good := service("bad", "10.96.0.1:80", endpoints("10.244.0.1:80"), nil), service("good", "10.96.0.2:80", endpoints("10.244.0.1:80"), nil)
		w.k.fail = func(write string) error {
			if strings.HasPrefix(write, refused) {
				return err
			}
			return nil
		}
		w.sync(bad, good)
		require.ErrorIs(t, w.b.NotProgrammed()[bad.Name], err)
		require.Len(t, w.b.NotProgrammed(), 1)
		require.Equal(t, 3, len(w.k.servers)+len(w.k.device), "all but one of two each")
		require.False(t, w.drifted())
		w.sync(good)
		require.Empty(t, w.b.NotProgrammed())
		w.sync(bad, good)
		require.Len(t, w.b.NotProgrammed(), 1)
		w.k.fail = nil
		w.sync(bad, good) // as the timer requests it
		require.Empty(t, w.b.NotProgrammed())
		require.Len(t, w.k.servers, 2)
		require.Len(t, w.k.device, 2)
		require.False(t, w.drifted())
	}
}

// TestSystemWithoutIPv6: IPv6 frontends are left out, and the others are programmed.
func TestSystemWithoutIPv6(t *testing.T) {
	w := newFixture(t, Config{withoutIPv6: true})
	w.sync(service("four", "10.96.0.1:80", endpoints("10.244.0.1:80"), nil), service("six", "[fd00:96::1]:80", endpoints("[fd00:244::1]:80"), nil))
	require.Empty(t, w.b.NotProgrammed())
	require.Len(t, w.k.servers, 1)
	require.Len(t, w.k.device, 1)
	require.False(t, w.drifted())
}

func TestErrorsEndSyncAndAreRepaired(t *testing.T) {
	for _, failing := range []string{"replace sets", "replace rules", "add address", "delete address", "put element", "delete element", "delete server"} {
		t.Run(failing, func(t *testing.T) {
			w := newFixture(t, Config{})
			first, second := service("a", "10.96.0.1:80", endpoints("10.244.0.1:80"), nil), service("b", "10.96.0.2:80", endpoints("10.244.0.1:80"), nil)
			fails := 0
			w.k.fail = func(write string) error {
				if strings.HasPrefix(write, failing) {
					fails++
					return errors.New("injected")
				}
				return nil
			}
			ctx := t.Context()
			_ = w.Sync(ctx, sinktest.NewState(first))
			_ = w.Sync(ctx, sinktest.NewState(first, second))
			_ = w.Sync(ctx, sinktest.NewState(second))
			require.Positive(t, fails)
			w.k.fail = nil
			w.sync(second)
			fresh := newFixture(t, Config{})
			fresh.sync(second)
			require.Equal(t, fresh.k.describe(), w.k.describe())
		})
	}
}

func TestClosed(t *testing.T) {
	b, _ := newTestBackend(t, Config{})
	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Sync(t.Context(), sinktest.NewUpdate(testNode(), nil, sinktest.NewState())), errClosed)
}
