// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// TestWatcher: a client is a watcher like any other.
func TestWatcher(t *testing.T) {
	watchertest.Test(t, func(t *testing.T) watchertest.Harness {
		source := watchers.NewStore()
		source.Update((*watchers.Tx).SetSynced)
		s := newFixture(t, source, ServerConfig{MinInterval: time.Microsecond})
		conn := s.dial()
		conn.Connect()
		change := func(fn func(*watchers.Tx, watchertest.Object)) func(...watchertest.Object) {
			return func(objects ...watchertest.Object) {
				source.Update(func(tx *watchers.Tx) {
					for _, o := range objects {
						fn(tx, o)
					}
				})
				s.caughtUp()
			}
		}
		return watchertest.Harness{
			Watcher: newClient(t, ClientConfig{}, conn),
			Apply: change(func(tx *watchers.Tx, o watchertest.Object) {
				fact, err := kubeapi.Filter{}.Object(o)
				require.NoError(t, err)
				tx.Set(fact)
			}),
			Delete: change(func(tx *watchers.Tx, o watchertest.Object) {
				switch o.(type) {
				case *corev1.Service:
					tx.DeleteService(watchers.ServiceName{Namespace: o.GetNamespace(), Name: o.GetName()})
				case *discoveryv1.EndpointSlice:
					tx.DeleteEndpointSlice(o.GetNamespace(), o.GetName())
				case *corev1.Node:
					tx.DeleteNode(o.GetName())
				case *networkingv1.ServiceCIDR:
					tx.DeleteServiceCIDR(o.GetName())
				}
			}),
			Idle: func() { s.stop(); conn.Close() },
		}
	})
}

// A selection is what a client asks for, and which facts that are.
type selection struct {
	cfg ClientConfig
	has func(s watchers.Snapshot, namespace string, svc *watchers.Service) bool
}

func selections() []selection {
	in := func(list ...string) func(string) bool {
		return func(ns string) bool { return slices.Contains(list, ns) }
	}
	return []selection{
		{ClientConfig{AllProxies: true}, func(watchers.Snapshot, string, *watchers.Service) bool { return true }},
		{ClientConfig{}, func(_ watchers.Snapshot, _ string, svc *watchers.Service) bool { return svc == nil || svc.IsFor("") }},
		{ClientConfig{ProxyName: "other"}, func(_ watchers.Snapshot, _ string, svc *watchers.Service) bool {
			return svc == nil || svc.IsFor("other")
		}},
		{ClientConfig{AllProxies: true, Namespaces: []string{"ns-2", "ns", "ns-2"}}, func(_ watchers.Snapshot, ns string, _ *watchers.Service) bool {
			return in("ns", "ns-2")(ns)
		}},
		{ClientConfig{Namespaces: []string{"ns-1"}}, func(_ watchers.Snapshot, ns string, svc *watchers.Service) bool {
			return ns == "ns-1" && (svc == nil || svc.IsFor(""))
		}},
	}
}

// of returns what a client with this view must hold, as text.
func (v *selection) of(s watchers.Snapshot) string {
	return dump(s, func(f watchers.Object) bool {
		switch f := f.(type) {
		case *watchers.Service:
			return v.has(s, f.Name.Namespace, f)
		case *watchers.EndpointSlice:
			return v.has(s, f.Namespace, s.Service(f.Service))
		}
		return true
	})
}

// randomChange changes facts at random; slices also move from Service to Service.
func randomChange(r watchertest.Random) func(*watchers.Tx) {
	step := r.Step()
	return func(tx *watchers.Tx) {
		step(tx)
		if r.IntN(4) == 0 {
			slice := r.EndpointSlice()
			slice.Name = fmt.Sprint("moves-", r.IntN(3))
			tx.SetEndpointSlice(slice)
		}
	}
}

// TestClientsHoldWhatTheServerHolds: whatever happens to facts and servers, a client ends
// up with the facts that it asks for, at a server and behind a relay, and so does one that
// goes back and forth between both.
func TestClientsHoldWhatTheServerHolds(t *testing.T) {
	const steps = 200
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := watchertest.NewRandom(seed, 4, 5)
			r.Namespaces = 2
			source := watchers.NewStore()
			source.Update(func(tx *watchers.Tx) {
				randomChange(r)(tx)
				tx.SetSynced()
			})
			cfg := ServerConfig{MinInterval: time.Microsecond}
			top := newFixture(t, source, cfg)
			middle := newFixture(t, newSyncedStore(t, ClientConfig{AllProxies: true}, top.dial()), cfg)
			bottom := newFixture(t, newSyncedStore(t, ClientConfig{AllProxies: true}, middle.dial()), cfg)
			sites := []*fixture{top, middle, bottom}

			all := selections()
			type leaf struct {
				view  *selection
				store *watchers.Store
			}
			var leaves []leaf
			for i := range all {
				for _, servers := range [][]grpc.ClientConnInterface{{top.dial()}, {bottom.dial()}, {bottom.dial(), top.dial(), middle.dial()}} {
					leaves = append(leaves, leaf{&all[i], newSyncedStore(t, all[i].cfg, servers...)})
				}
			}
			check := func() {
				for _, l := range leaves {
					awaitText(t, l.store, l.view.of(source.Snapshot()))
				}
			}
			for i := range steps {
				source.Update(randomChange(r))
				if i%60 == 30 {
					sites[r.IntN(len(sites))].restart()
				}
				if i%50 == 20 {
					check()
				}
			}
			check()
		})
	}
}

// TestRelayHasTheSameDigests: who comes back to another server, or to a relay, is told
// the difference only, which is nothing.
func TestRelayHasTheSameDigests(t *testing.T) {
	source := newClusterStore(200, 3)
	top := newFixture(t, source, ServerConfig{})
	relay := newSyncedStore(t, ClientConfig{AllProxies: true}, top.dial())
	await(t, relay, "all facts", watchers.Snapshot.Synced)
	middle := newFixture(t, relay, ServerConfig{})
	middle.caughtUp()

	store, fromTop := watchers.NewStore(), newClient(t, ClientConfig{}, top.dial())
	stop := start(t, fromTop, store)
	await(t, store, "all facts", watchers.Snapshot.Synced)
	stop()
	bytes := newByteCounter()
	fromMiddle := newClient(t, ClientConfig{}, middle.dial(grpc.WithStatsHandler(bytes)))
	fromMiddle.state = fromTop.state // as if it had gone from one to the other
	revision := store.Snapshot().Revision()
	start(t, fromMiddle, store)
	bytes.await(t, 2) // welcome and commit
	require.Less(t, bytes.in.Load(), int64(50))
	require.Less(t, bytes.out.Load(), int64(50))
	source.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "new"}) })
	snap := await(t, store, "a node", func(s watchers.Snapshot) bool { return s.Node("new") != nil })
	require.Equal(t, revision+1, snap.Revision())
}

// TestResumeSendsTheDifference counts what goes over the wire when a client comes back.
func TestResumeSendsTheDifference(t *testing.T) {
	const services = 500
	source := newClusterStore(services, 10)
	s := newFixture(t, source, ServerConfig{})
	bytes := newByteCounter()
	store := newSyncedStore(t, ClientConfig{}, s.dial(grpc.WithStatsHandler(bytes)))
	await(t, store, "all facts", watchers.Snapshot.Synced)
	whole := bytes.in.Load()
	require.Greater(t, whole, int64(services*10*10))

	for name, c := range map[string]struct {
		change  func(*watchers.Tx)
		in, out int64
	}{
		"nothing": {func(*watchers.Tx) {}, 50, 100},
		"a little": {func(tx *watchers.Tx) {
			tx.SetEndpointSlice(slice(7, 9))
			tx.DeleteService(name(8))
		}, 1000, 9*2*services + 200},
	} {
		t.Run(name, func(t *testing.T) {
			s.stop()
			bytes.reset()
			source.Update(c.change)
			s.start()
			bytes.await(t, 2) // welcome and commit
			awaitText(t, store, dump(source.Snapshot(), nil))
			require.Less(t, bytes.in.Load(), c.in)
			require.Less(t, bytes.out.Load(), c.out)
			t.Logf("whole %d bytes, now %d in, %d out", whole, bytes.in.Load(), bytes.out.Load())
		})
	}
}

// TestOneTransaction: what is one state of the server is never half a state of a client.
func TestOneTransaction(t *testing.T) {
	source := watchers.NewStore()
	source.Update(func(tx *watchers.Tx) { tx.SetService(service(0)) })
	s := newFixture(t, source, ServerConfig{})
	store := newSyncedStore(t, ClientConfig{}, s.dial())
	source.Update(func(tx *watchers.Tx) {
		for i := range 1000 {
			tx.SetService(service(i))
			tx.SetEndpointSlice(slice(i, 10))
		}
		tx.SetSynced()
	})
	snap := await(t, store, "anything", func(s watchers.Snapshot) bool { return s.Revision() > 0 })
	require.Equal(t, 2001, snap.Len())
	source.Update(func(tx *watchers.Tx) {
		for i := range 1000 {
			tx.SetEndpointSlice(slice(i, 9))
		}
	})
	snap = await(t, store, "a change", func(now watchers.Snapshot) bool { return now.Revision() > snap.Revision() })
	require.Equal(t, dump(source.Snapshot(), nil), dump(snap, nil))
}

// newClusterStore returns the complete facts of a cluster.
func newClusterStore(services, endpoints int) *watchers.Store {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) {
		for i := range services {
			tx.SetService(service(i))
			tx.SetEndpointSlice(slice(i, endpoints))
		}
		tx.SetSynced()
	})
	return store
}

func name(i int) watchers.ServiceName {
	return watchers.ServiceName{Namespace: "default", Name: fmt.Sprint("service-", i)}
}

func service(i int) *watchers.Service {
	ip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
	return &watchers.Service{
		Name: name(i), Created: time.Unix(int64(i), 0), ClusterIP: ip, ClusterIPs: []netip.Addr{ip},
		IPFamilies: []watchers.IPFamily{watchers.IPv4},
		Ports:      []watchers.ServicePort{{Name: "http", Protocol: 6, Port: 80}},
	}
}

func slice(i, endpoints int) *watchers.EndpointSlice {
	s := &watchers.EndpointSlice{
		Namespace: "default", Name: fmt.Sprintf("service-%d-x7k2p", i), Service: name(i), Family: watchers.IPv4,
		Ports: []watchers.EndpointPort{{Name: "http", Protocol: 6, Port: 8080}},
	}
	for e := range endpoints {
		s.Endpoints = append(s.Endpoints, watchers.Endpoint{
			Addr: netip.AddrFrom4([4]byte{10, byte(e), byte(i >> 8), byte(i)}), Node: fmt.Sprint("node-", (i+e)%1000),
			Ready: true, Serving: true,
		})
	}
	return s
}

// TestServerThatIsNotReady: a client does not wait for a server that does not know
// everything when another one does; and of one that is alone it hears nothing until then.
func TestServerThatIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unready := watchers.NewStore()
		unready.Update(func(tx *watchers.Tx) { tx.SetService(service(0)) })
		slow, quick := newFixture(t, unready, ServerConfig{}), newFixture(t, newClusterStore(3, 1), ServerConfig{})
		// Which one is first is left to chance.
		several := newSyncedStore(t, ClientConfig{}, slow.dial(), slow.dial(), slow.dial(), slow.dial(), quick.dial())
		alone := newSyncedStore(t, ClientConfig{}, slow.dial())
		time.Sleep(10 * time.Minute) // of the bubble
		require.Equal(t, dump(quick.store.Snapshot(), nil), dump(several.Snapshot(), nil))
		require.Equal(t, 0, alone.Snapshot().Len())
		unready.Update((*watchers.Tx).SetSynced)
		begin := time.Now()
		awaitText(t, alone, dump(unready.Snapshot(), nil))
		require.Less(t, time.Since(begin), time.Second)
	})
}

// TestContact: a client says whether it hears a server, and since when it does not. The
// facts stay.
func TestContact(t *testing.T) {
	store := watchers.NewStore()
	site := newFixture(t, store, ServerConfig{})
	client := newClient(t, ClientConfig{}, site.dial())
	made := client.Status()
	require.False(t, made.Synced, "no server has said anything")
	is := func(heard bool) Status {
		t.Helper()
		require.Eventually(t, func() bool { return client.Status().Synced == heard }, patience, time.Millisecond)
		return client.Status()
	}
	store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "n"}); tx.SetSynced() })
	facts := watchers.NewStore()
	start(t, client, facts)
	heard := is(true)
	require.True(t, heard.Since.After(made.Since))
	site.stop()
	lost := is(false)
	require.True(t, lost.Since.After(heard.Since))
	require.NotNil(t, facts.Snapshot().Node("n"))
	site.start()
	require.True(t, is(true).Since.After(lost.Since))
}
