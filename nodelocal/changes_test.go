// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// TestOnlyEffectiveChangesCauseUpdates: a write of objects that yields the same desired state
// causes no update.
func TestOnlyEffectiveChangesCauseUpdates(t *testing.T) {
	twoPorts := func(numbers ...uint16) func(*watchers.EndpointSlice) {
		return func(s *watchers.EndpointSlice) {
			s.Ports = nil
			for i, n := range numbers {
				s.Ports = append(s.Ports, watchers.EndpointPort{Name: fmt.Sprint("p", n%10), Protocol: localsink.ProtocolTCP, Port: numbers[i]})
			}
		}
	}
	ends := func(list ...string) func(*watchers.EndpointSlice) {
		return func(s *watchers.EndpointSlice) { s.Endpoints = slice(t, "", list...).Endpoints }
	}
	svc := service(func(s *watchers.Service) {
		s.Ports = []watchers.ServicePort{{Name: "p1", Protocol: localsink.ProtocolTCP, Port: 80}, {Name: "p2", Protocol: localsink.ProtocolTCP, Port: 81}}
	})
	for _, row := range []struct {
		id      string
		change  func(*watchers.EndpointSlice)
		changed bool
	}{
		{"6.6 TestEsDataChanged IN-53 identical", func(*watchers.EndpointSlice) {}, false},
		{"6.6 TestEsDataChanged IN-53 ports reordered", twoPorts(8082, 8081), false},
		{"6.6 TestEsDataChanged port removed", twoPorts(8081), true},
		{"6.6 TestEsDataChanged port that the Service does not have is added", twoPorts(8081, 8082, 8083), false},
		{"6.6 TestEsDataChanged port renumbered", twoPorts(8081, 8092), true},
		{"6.6 TestEsDataChanged IN-53 endpoints reordered", ends("10.0.0.2 R", "10.0.0.1 R"), false},
		{"6.6 TestEsDataChanged endpoint added", ends("10.0.0.1 R", "10.0.0.2 R", "10.0.0.3 R"), true},
		{"6.6 TestEsDataChanged unready endpoint added", ends("10.0.0.1 R", "10.0.0.2 R", "10.0.0.3 U"), false},
		{"6.6 TestEndpointSliceUpdate endpoint removed", ends("10.0.0.1 R"), true},
		{"6.6 TestEndpointSliceUpdate endpoint becomes unready", ends("10.0.0.1 R", "10.0.0.2 U"), true},
		{"6.6 TestEndpointSliceUpdate endpoint terminates", ends("10.0.0.1 R", "10.0.0.2 ST"), true},
		{"6.6 TestEndpointSliceUpdate all terminate", ends("10.0.0.1 ST", "10.0.0.2 ST"), false},
		{"6.6 TestEndpointSliceUpdate all become unready", ends("10.0.0.1 U", "10.0.0.2 U"), true},
		{"6.6 TestEndpointSliceUpdate FQDN", func(s *watchers.EndpointSlice) { s.Family, s.Ports, s.Endpoints = 0, nil, nil }, true},
		{"6.6 TestEndpointSliceUpdate endpoint moves to this node", ends("10.0.0.1 R", "10.0.0.2 R L"), true},
		{"IN-47 hint without effect", ends("10.0.0.1 R zA", "10.0.0.2 R"), false},
		{"IN-55 another trigger time", func(s *watchers.EndpointSlice) { s.TriggerTime = time.Now().Add(time.Hour) }, false},
	} {
		t.Run(row.id, func(t *testing.T) {
			newSlice := func(change func(*watchers.EndpointSlice)) *watchers.EndpointSlice {
				s := slice(t, "a", "10.0.0.1 R", "10.0.0.2 R")
				twoPorts(8081, 8082)(s)
				change(s)
				return s
			}
			n := newNode(t, nodelocal.Config{}, svc, newSlice(func(*watchers.EndpointSlice) {}))
			n.set(newSlice(row.change))
			u := n.update()
			require.Equal(t, row.changed, u != nil)
			if row.changed {
				require.Len(t, u.Changed, 1)
			}
		})
	}
}

func TestRepeatedAndRevertedChangesCauseNoUpdate(t *testing.T) {
	t.Run("6.6 TestEndpointSliceUpdate new, the same, removed, removed again", func(t *testing.T) {
		n := newNode(t, nodelocal.Config{}, service())
		n.set(slice(t, "a", "10.0.0.1 R"))
		require.NotNil(t, n.update())
		n.set(slice(t, "a", "10.0.0.1 R"))
		require.Nil(t, n.update())
		n.set(slice(t, "b", "10.0.0.1 R"))
		require.Nil(t, n.update(), "a copy of an EndpointSlice changes nothing")
		n.deleteSlice("b")
		require.Nil(t, n.update())
		n.deleteSlice("a")
		require.NotNil(t, n.update())
		n.deleteSlice("a")
		n.deleteSlice("never-there")
		require.Nil(t, n.update())
	})
	t.Run("IN-53 IN-54 a change that is reverted before the update", func(t *testing.T) {
		n := newNode(t, nodelocal.Config{}, service(), slice(t, "a", "10.0.0.1 R"))
		n.set(service(func(s *watchers.Service) { s.Ports[0].Port = 81 }), slice(t, "b", "10.0.0.2 R"))
		n.set(service())
		n.deleteSlice("b")
		require.Nil(t, n.update())
		n.set(service(func(s *watchers.Service) { s.Ports[0].Port = 81 }))
		n.resolver.Refresh() // the change is pending when it is reverted
		n.set(service())
		require.Nil(t, n.update())
	})
	t.Run("IN-54 a Service with other fields and the same result", func(t *testing.T) {
		n := newNode(t, nodelocal.Config{}, service())
		n.set(service(func(s *watchers.Service) {
			s.ClusterIPs, s.IPFamilies, s.Created = addrs("10.96.0.1"), []watchers.IPFamily{4}, at(7)
		}))
		require.Nil(t, n.update())
	})
	t.Run("6.6 TestCheckoutChanges other Services are not listed", func(t *testing.T) {
		other := service(func(s *watchers.Service) { s.Name.Name, s.ClusterIP = "other", netip.MustParseAddr("10.96.0.2") })
		n := newNode(t, nodelocal.Config{}, service(), other, slice(t, "a", "10.0.0.1 R"))
		n.set(slice(t, "a", "10.0.0.2 R"))
		u := n.update()
		require.Len(t, u.Changed, 1)
		require.Equal(t, name(), u.Changed[0].Name)
		require.Empty(t, u.Removed)
		require.False(t, u.NodeChanged)
		require.Equal(t, 2, u.All.Len())
	})
}

// TestIN51DeletedObjectsLeaveNothing deletes and adds the objects of a Service repeatedly.
func TestIN51DeletedObjectsLeaveNothing(t *testing.T) {
	n := newNode(t, nodelocal.Config{}, service(), slice(t, "a", "10.0.0.1 R"), slice(t, "b", "10.0.0.2 R"))
	for round := range 3 {
		n.deleteSlice("b")
		n.update()
		require.Equal(t, ".1", last(n.get(name()).Ports[0].Pools[0].Endpoints), "one of two EndpointSlices is left")
		n.deleteSlice("a")
		n.store.Update(func(tx *watchers.Tx) { tx.DeleteService(name()) })
		u := n.update()
		require.Len(t, u.Removed, 1)
		require.Zero(t, u.All.Len())
		require.Zero(t, n.store.Snapshot().Len())
		n.set(slice(t, "a", "10.0.0.1 R"), slice(t, "b", "10.0.0.2 R"))
		require.Nil(t, n.update(), "round %d: EndpointSlices without a Service change nothing", round)
		n.set(service())
		require.NotNil(t, n.update())
	}
}

// TestHC12LocalEndpoints checks the number of local endpoints that the health check reports.
func TestHC12LocalEndpoints(t *testing.T) {
	for _, row := range []struct {
		id     string
		byPort [][]string
		want   int
	}{
		{"6.6 TestGetLocalEndpointIPs HC-12 no endpoints", nil, 0},
		{"6.6 TestGetLocalEndpointIPs HC-12 on another node", [][]string{{"10.0.0.1 R"}}, 0},
		{"6.6 TestGetLocalEndpointIPs HC-12 local", [][]string{{"10.0.0.1 R L"}}, 1},
		{"6.6 TestGetLocalEndpointIPs HC-12 two ports, distinct", [][]string{{"10.0.0.1 R L"}, {"10.0.0.2 R L"}}, 2},
		{"6.6 TestGetLocalEndpointIPs HC-12 two ports, the same", [][]string{{"10.0.0.1 R L"}, {"10.0.0.1 R L"}}, 1},
		{"6.6 TestGetLocalEndpointIPs HC-12 mixed", [][]string{{"10.0.0.1 R", "10.0.0.2 R L"}, {"10.0.0.2 R L", "10.0.0.3 R L", "10.0.0.4 U L"}}, 2},
		{"6.6 TestGetLocalEndpointIPs HC-12 terminating", [][]string{{"10.0.0.1 R L", "10.0.0.2 ST L", "10.0.0.3 D L"}}, 1},
		{"6.2 HealthCheckNodePortWhenTerminating before", [][]string{{"10.0.1.1 R L", "10.0.1.2 R L", "10.0.1.3 R L", "10.0.1.4 D L", "10.0.1.5 R"}}, 3},
		{"6.2 HealthCheckNodePortWhenTerminating after", [][]string{{"10.0.1.1 ST L", "10.0.1.2 ST L", "10.0.1.3 D L", "10.0.1.5 R"}}, 0},
	} {
		t.Run(row.id, func(t *testing.T) {
			objects := []watchers.Object{service(func(s *watchers.Service) {
				s.Type, s.ExternalPolicy, s.HealthCheckNodePort = watchers.TypeLoadBalancer, watchers.PolicyLocal, 31000
				s.Ports = []watchers.ServicePort{{Name: "p0", Protocol: localsink.ProtocolTCP, Port: 80}, {Name: "p1", Protocol: localsink.ProtocolUDP, Port: 81}}
			})}
			for i, list := range row.byPort {
				s := slice(t, fmt.Sprint(i), list...)
				s.Ports[0].Name = fmt.Sprint("p", i)
				if i == 1 {
					s.Ports[0].Protocol = localsink.ProtocolUDP
				}
				objects = append(objects, s)
			}
			require.Equal(t, &localsink.HealthCheck{Port: 31000, LocalEndpoints: row.want}, newNode(t, nodelocal.Config{}, objects...).get(name()).HealthCheck)
		})
	}
	t.Run("HC-12 two families of the same pods", func(t *testing.T) {
		six := slice(t, "six", "fd00::1 R L", "fd00::2 R L")
		six.Family = watchers.FamilyIPv6
		got := newNode(t, nodelocal.Config{}, six, slice(t, "four", "10.0.0.1 R L"), service(func(s *watchers.Service) {
			s.Type, s.ExternalPolicy, s.HealthCheckNodePort = watchers.TypeLoadBalancer, watchers.PolicyLocal, 31000
			s.ClusterIPs, s.IPFamilies = addrs("10.96.0.1 fd00:96::1"), []watchers.IPFamily{4, 6}
		})).get(name())
		require.Equal(t, 2, got.HealthCheck.LocalEndpoints)
	})
}

// TestIN55TriggerTimes checks the trigger times of an update.
func TestIN55TriggerTimes(t *testing.T) {
	now := time.Now()
	t0, t1, t2, t3 := now.Add(time.Hour), now.Add(2*time.Hour), now.Add(3*time.Hour), now.Add(4*time.Hour)
	n := 0
	set := func(id string, trigger time.Time) func(*testNode) {
		n++
		addr := fmt.Sprintf("10.0.0.%d R", n)
		return func(n *testNode) {
			s := slice(n.t, id, addr)
			s.TriggerTime = trigger
			n.set(s)
		}
	}
	remove := func(id string) func(*testNode) { return func(n *testNode) { n.deleteSlice(id) } }
	refresh := func(n *testNode) { n.resolver.Refresh() }
	other := func(trigger time.Time) func(*testNode) {
		return func(n *testNode) {
			s := slice(n.t, "other", "10.0.0.99 R")
			s.Service.Name, s.TriggerTime = "other", trigger
			n.set(s, service(func(s *watchers.Service) { s.Name.Name, s.ClusterIP = "other", netip.MustParseAddr("10.96.0.9") }))
		}
	}
	for _, row := range []struct {
		id    string
		steps []func(*testNode)
		want  []time.Time
	}{
		{"6.6 TestLastChangeTriggerTime add", []func(*testNode){set("a", t0)}, []time.Time{t0}},
		{"6.6 TestLastChangeTriggerTime add and update", []func(*testNode){set("a", t0), refresh, set("a", t1)}, []time.Time{t0, t1}},
		{"6.6 TestLastChangeTriggerTime two Services", []func(*testNode){set("a", t1), refresh, other(t2), refresh, set("a", t3)}, []time.Time{t1, t2, t3}},
		{"6.6 TestLastChangeTriggerTime no annotation", []func(*testNode){set("a", time.Time{})}, nil},
		{"6.6 TestLastChangeTriggerTime before the start", []func(*testNode){set("a", now.Add(-time.Hour))}, nil},
		{"6.6 TestLastChangeTriggerTime add and delete", []func(*testNode){set("a", t0), remove("a")}, nil},
		{"6.6 TestLastChangeTriggerTime add, delete, add", []func(*testNode){set("a", t0), remove("a"), set("a", t2)}, []time.Time{t2}},
		{"6.6 TestLastChangeTriggerTime delete", []func(*testNode){remove("existing")}, nil},
	} {
		t.Run(row.id, func(t *testing.T) {
			existing := slice(t, "existing", "10.0.0.77 R")
			existing.TriggerTime = t0
			n := newNode(t, nodelocal.Config{}, service(), existing)
			for _, step := range row.steps {
				step(n)
			}
			var got []time.Time
			if u := n.update(); u != nil {
				got = u.TriggerTimes
			}
			require.True(t, slices.Equal(row.want, got), "%v", got)
		})
	}
}

// TestIrrelevantNodeChangesAreCheap: the cost of a write of a Node that no Service depends on
// does not grow with the number of Services.
func TestIrrelevantNodeChangesAreCheap(t *testing.T) {
	const services = 1000
	thisNode := func(generation int) watchers.Object {
		return &watchers.Node{Name: "node-1", Zone: "A", Problems: []watchers.Problem{{Message: fmt.Sprint(generation)}}}
	}
	objects := []watchers.Object{thisNode(0)}
	for i := range services {
		objects = append(objects, service(func(s *watchers.Service) {
			s.Name.Name, s.ClusterIP = fmt.Sprint(i), netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
		}))
	}
	n := newNode(t, nodelocal.Config{}, objects...)
	generation := 0
	cost := testing.AllocsPerRun(10, func() {
		generation++
		n.set(thisNode(generation), &watchers.Node{Name: "node-2", Zone: fmt.Sprint(generation)})
		require.Nil(t, n.update())
	})
	require.Less(t, cost, float64(services/2))
}
