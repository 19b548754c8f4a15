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

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// The client passes the tests that every watchers.Watcher must pass.
func TestClientIsWatcher(t *testing.T) {
	watchertest.TestWatcher(t, func(t *testing.T) watchertest.Harness {
		source := watchers.NewStore()
		source.Update((*watchers.Tx).SetSynced)
		s := newFixture(t, source, ServerConfig{MinInterval: time.Microsecond})
		conn := s.dial()
		conn.Connect()
		change := func(fn func(*watchers.Tx, watchers.Object)) func(...watchers.Object) {
			return func(objects ...watchers.Object) {
				source.Update(func(tx *watchers.Tx) {
					for _, o := range objects {
						fn(tx, o)
					}
				})
				s.caughtUp()
			}
		}
		return watchertest.Harness{
			Watcher: newClient(t, ClientConfig{AllProxies: true}, conn),
			Set:     change(func(tx *watchers.Tx, o watchers.Object) { tx.Set(o) }),
			Remove:  change(func(tx *watchers.Tx, o watchers.Object) { tx.Delete(tx.Set(o)) }),

			Annotation: "acme.example/mode",
			AllFields:  true,
			Idle:       func() { s.stop(); conn.Close() },
		}
	})
}

// A selection is the configuration of a client with a predicate of the objects that it
// selects.
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

// of returns the selected objects as text.
func (l *selection) of(s watchers.Snapshot) string {
	return dump(s, func(f watchers.Object) bool {
		switch f := f.(type) {
		case *watchers.Service:
			return l.has(s, f.Name.Namespace, f)
		case *watchers.EndpointSlice:
			return l.has(s, f.Namespace, s.Service(f.Service))
		}
		return true
	})
}

// randomChange returns a random change; slices also move between Services.
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

// After random changes and restarts of servers, each client has exactly the objects that it
// selects: at the root server, behind two relays, and with all of them as its servers.
func TestClientsConvergeToSelectedObjects(t *testing.T) {
	const steps = 200
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := watchertest.NewRandom(seed, 4, 5)
			r.Extended = seed > 0
			r.Extended = true
			r.Namespaces = 2
			source := watchers.NewStore()
			source.Update(func(tx *watchers.Tx) {
				randomChange(r)(tx)
				tx.SetSynced()
			})
			cfg := ServerConfig{MinInterval: time.Microsecond}
			root := newFixture(t, source, cfg)
			relay1 := newFixture(t, runClient(t, ClientConfig{AllProxies: true}, root.dial()), cfg)
			relay2 := newFixture(t, runClient(t, ClientConfig{AllProxies: true}, relay1.dial()), cfg)
			fixtures := []*fixture{root, relay1, relay2}

			all := selections()
			type testClient struct {
				view  *selection
				store *watchers.Store
			}
			var clients []testClient
			for i := range all {
				for _, servers := range [][]grpc.ClientConnInterface{{root.dial()}, {relay2.dial()}, {relay2.dial(), root.dial(), relay1.dial()}} {
					clients = append(clients, testClient{&all[i], runClient(t, all[i].cfg, servers...)})
				}
			}
			check := func() {
				for _, l := range clients {
					awaitText(t, l.store, l.view.of(source.Snapshot()))
				}
			}
			for i := range steps {
				source.Update(randomChange(r))
				if i%60 == 30 {
					fixtures[r.IntN(len(fixtures))].restart()
				}
				if i%50 == 20 {
					check()
				}
			}
			check()
		})
	}
}

// A client that moves from a server to a relay resumes, because both have the same digests.
func TestClientResumesAtRelay(t *testing.T) {
	source := newClusterStore(200, 3)
	root := newFixture(t, source, ServerConfig{})
	relayStore := runClient(t, ClientConfig{AllProxies: true}, root.dial())
	await(t, relayStore, "all objects", watchers.Snapshot.Synced)
	relay := newFixture(t, relayStore, ServerConfig{})
	relay.caughtUp()

	store, fromRoot := watchers.NewStore(), newClient(t, ClientConfig{}, root.dial())
	stop := start(t, fromRoot, store)
	await(t, store, "all objects", watchers.Snapshot.Synced)
	stop()
	bytes := newByteCounter()
	fromRelay := newClient(t, ClientConfig{}, relay.dial(grpc.WithStatsHandler(bytes)))
	fromRelay.state = fromRoot.state // as after moving from the root to the relay
	revision := store.Snapshot().Revision()
	start(t, fromRelay, store)
	bytes.await(t, 2) // welcome and commit
	require.Less(t, bytes.in.Load(), int64(50))
	require.Less(t, bytes.out.Load(), int64(50))
	source.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "new"}) })
	snap := await(t, store, "a node", func(s watchers.Snapshot) bool { return s.Node("new") != nil })
	require.Equal(t, revision+1, snap.Revision())
}

// A client that resumes receives only differences.
func TestResumeSendsTheDifference(t *testing.T) {
	const services = 500
	source := newClusterStore(services, 10)
	s := newFixture(t, source, ServerConfig{})
	bytes := newByteCounter()
	store := runClient(t, ClientConfig{}, s.dial(grpc.WithStatsHandler(bytes)))
	await(t, store, "all objects", watchers.Snapshot.Synced)
	whole := bytes.in.Load()
	require.Greater(t, whole, int64(services*10*10))

	for name, c := range map[string]struct {
		change  func(*watchers.Tx)
		in, out int64
	}{
		"nothing": {func(*watchers.Tx) {}, 50, 100},
		"one change": {func(tx *watchers.Tx) {
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

// Each state of the server becomes one transaction of the client.
func TestUpdateIsOneTransaction(t *testing.T) {
	source := watchers.NewStore()
	source.Update(func(tx *watchers.Tx) { tx.SetService(service(0)) })
	s := newFixture(t, source, ServerConfig{})
	store := runClient(t, ClientConfig{}, s.dial())
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

// newClusterStore returns a synced store with Services and their slices.
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
		IPFamilies: []watchers.IPFamily{watchers.FamilyIPv4},
		Ports:      []watchers.ServicePort{{Name: "http", Protocol: 6, Port: 80}},
	}
}

func slice(i, endpoints int) *watchers.EndpointSlice {
	s := &watchers.EndpointSlice{
		Namespace: "default", Name: fmt.Sprintf("service-%d-x7k2p", i), Service: name(i), Family: watchers.FamilyIPv4,
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

// A client skips a server whose store is not synced if another server is ready. With no other
// server, it receives nothing until the store is synced.
func TestServerThatIsNotReadyIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unready := watchers.NewStore()
		unready.Update(func(tx *watchers.Tx) { tx.SetService(service(0)) })
		slow, quick := newFixture(t, unready, ServerConfig{}), newFixture(t, newClusterStore(3, 1), ServerConfig{})
		// The client starts with a random server.
		several := runClient(t, ClientConfig{}, slow.dial(), slow.dial(), slow.dial(), slow.dial(), quick.dial())
		alone := runClient(t, ClientConfig{}, slow.dial())
		time.Sleep(10 * time.Minute) // fake time
		require.Equal(t, dump(quick.store.Snapshot(), nil), dump(several.Snapshot(), nil))
		require.Equal(t, 0, alone.Snapshot().Len())
		unready.Update((*watchers.Tx).SetSynced)
		begin := time.Now()
		awaitText(t, alone, dump(unready.Snapshot(), nil))
		require.Less(t, time.Since(begin), time.Second)
	})
}

// Status changes with the first Commit and with the end of a stream. The store keeps its
// objects.
func TestStatusFollowsStream(t *testing.T) {
	store := watchers.NewStore()
	f := newFixture(t, store, ServerConfig{})
	client := newClient(t, ClientConfig{}, f.dial())
	initial := client.Status()
	require.False(t, initial.Synced, "no stream yet")
	await := func(synced bool) Status {
		t.Helper()
		require.Eventually(t, func() bool { return client.Status().Synced == synced }, timeout, time.Millisecond)
		return client.Status()
	}
	store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "n"}); tx.SetSynced() })
	received := watchers.NewStore()
	start(t, client, received)
	synced := await(true)
	require.True(t, synced.Since.After(initial.Since))
	f.stop()
	lost := await(false)
	require.True(t, lost.Since.After(synced.Since))
	require.NotNil(t, received.Snapshot().Node("n"))
	f.start()
	require.True(t, await(true).Since.After(lost.Since))
}
