// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sigs.k8s.io/kpng/export/xds"
	"sigs.k8s.io/kpng/localsink"
)

// protocols runs a test with both variants of the protocol.
func protocols(t *testing.T, test func(t *testing.T, incremental bool)) {
	for _, incremental := range []bool{false, true} {
		t.Run(map[bool]string{false: "state of the world", true: "incremental"}[incremental], func(t *testing.T) { test(t, incremental) })
	}
}

// ip returns an endpoint of a number.
func ip(n int) localsink.Endpoint {
	return endpoint(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(n / 250), byte(1 + n%250)}), 8080), 1)
}

func nameOf(service string) string { return service + ".default.svc.cluster.local:80" }

// services returns n Services with one endpoint each.
func services(n int) []*localsink.Service {
	all := make([]*localsink.Service, n)
	for i := range all {
		all[i] = service(fmt.Sprintf("s%d", i), ip(i))
	}
	return all
}

// TestChangeTouchesOneService checks that a change of the endpoints of a Service sends one resource of
// one type, to the clients that have subscribed to it and to no other.
func TestChangeTouchesOneService(t *testing.T) {
	protocols(t, func(t *testing.T, incremental bool) {
		f := newFixture(t, xds.Config{})
		all := services(100)
		f.set(all...)
		wildcard, one, other := f.newClient(incremental, nil), f.newClient(incremental, nil), f.newClient(incremental, nil)
		wildcard.all()
		one.subscribe(endpointType, nil, nameOf("s7"))
		other.subscribe(endpointType, nil, nameOf("s8"), nameOf("s9"))
		wildcard.until(func() bool {
			return len(wildcard.resources[endpointType]) == 100 && len(wildcard.resources[routeType]) == 100
		})
		one.get(endpointType, nameOf("s7"))
		other.until(func() bool { return len(other.resources[endpointType]) == 2 })
		for _, c := range []*client{wildcard, one, other} {
			c.mu.Lock()
			c.sizes = nil
			c.mu.Unlock()
		}
		before := f.sink.Stats().Responses
		all[7] = service("s7", ip(7), ip(1007))
		f.set(all...)
		for _, c := range []*client{wildcard, one} {
			c.until(func() bool { return len(c.sizes) > 0 })
			require.Equal(t, []int{1}, c.sizes)
			require.Contains(t, c.text(), ip(1007).Addr.Addr().String())
		}
		require.Empty(t, other.sizes)
		after := f.sink.Stats().Responses
		require.Equal(t, 2, after[1]-before[1])
		require.Equal(t, before[0]+before[2]+before[3], after[0]+after[2]+after[3])
	})
}

// TestRemovedServiceDisappears checks that clients remove what does not exist.
func TestRemovedServiceDisappears(t *testing.T) {
	protocols(t, func(t *testing.T, incremental bool) {
		f := newFixture(t, xds.Config{})
		f.set(services(3)...)
		c := f.newClient(incremental, nil)
		c.all()
		c.until(func() bool { return len(c.resources[endpointType]) == 3 })
		f.set(services(2)...)
		c.until(func() bool {
			return len(c.resources[clusterType]) == 2 && len(c.resources[listenerType]) == 2 && len(c.resources[endpointType]) == 2
		})
		f.set()
		c.until(func() bool { return len(c.resources[clusterType])+len(c.resources[listenerType]) == 0 })
	})
}

// TestNameThatAppearsLater subscribes to Services before they exist.
func TestNameThatAppearsLater(t *testing.T) {
	protocols(t, func(t *testing.T, incremental bool) {
		f := newFixture(t, xds.Config{})
		c := f.newClient(incremental, nil)
		for _, typeURL := range []string{listenerType, routeType, clusterType, endpointType} {
			c.subscribe(typeURL, nil, nameOf("s0"), nameOf("s1"))
		}
		f.set()
		f.set(services(1)...)
		for _, typeURL := range []string{listenerType, routeType, clusterType, endpointType} {
			c.get(typeURL, nameOf("s0"))
		}
		f.set()
		c.until(func() bool { return len(c.resources[listenerType])+len(c.resources[clusterType]) == 0 })
		f.set(services(2)...)
		c.get(endpointType, nameOf("s1"))
	})
}

// TestEmptyStateIsSent checks that a client with a wildcard receives a response without Services: a
// proxy waits for it.
func TestEmptyStateIsSent(t *testing.T) {
	protocols(t, func(t *testing.T, incremental bool) {
		f := newFixture(t, xds.Config{})
		f.set()
		c := f.newClient(incremental, nil)
		c.all()
		c.until(func() bool { return len(c.sizes) == 2 })
		require.Equal(t, []int{0, 0}, c.sizes)
	})
}

// TestReconnectSendsTheDifference checks that a client that names the versions that it has receives
// what differs, also what has been removed, from another server with the same state.
func TestReconnectSendsTheDifference(t *testing.T) {
	f := newFixture(t, xds.Config{})
	f.set(services(50)...)
	c := f.newClient(true, nil)
	c.subscribe(clusterType, nil)
	c.subscribe(endpointType, nil, "*")
	c.until(func() bool { return len(c.resources[clusterType]) == 50 && len(c.resources[endpointType]) == 50 })
	c.stop()
	restarted := newFixture(t, xds.Config{})
	all := services(49)
	all[3] = service("s3", ip(3), ip(503))
	restarted.set(all...)
	again := restarted.newClient(true, nil)
	again.subscribe(endpointType, maps.Clone(c.versions[endpointType]), "*")
	again.get(endpointType, nameOf("s3"))
	require.Equal(t, []int{2}, again.sizes) // s3, and s49 is removed
	require.NotContains(t, again.versions[endpointType], nameOf("s49"))
	again.subscribe(clusterType, maps.Clone(c.versions[clusterType]))
	again.until(func() bool { return len(again.sizes) == 2 })
	require.Equal(t, []int{2, 1}, again.sizes)
}

// TestChangesAreCombined checks that a client that has not answered yet receives the last state only.
func TestChangesAreCombined(t *testing.T) {
	protocols(t, func(t *testing.T, incremental bool) {
		f := newFixture(t, xds.Config{})
		f.set(service("s0", ip(0)))
		arrived, answer := make(chan struct{}, 1), make(chan struct{})
		var block atomic.Bool
		c := f.newClient(incremental, func(string, []string) string {
			if block.Load() {
				block.Store(false)
				arrived <- struct{}{}
				<-answer
			}
			return ""
		})
		c.subscribe(endpointType, nil, nameOf("s0"))
		c.get(endpointType, nameOf("s0"))
		block.Store(true)
		f.set(service("s0", ip(1)))
		<-arrived
		for i := range 20 {
			f.set(service("s0", ip(2+i)))
		}
		close(answer)
		c.until(func() bool { return len(c.sizes) == 3 })
		require.Contains(t, c.text(), ip(21).Addr.Addr().String())
		require.Equal(t, 3, f.sink.Stats().Responses[1])
	})
}

// TestRejectionNamesTheService checks that the rejection of a resource is that of a Service until a
// client accepts it, it is removed or the client leaves.
func TestRejectionNamesTheService(t *testing.T) {
	protocols(t, func(t *testing.T, incremental bool) {
		for _, end := range []string{"accepted", "removed", "disconnected"} {
			t.Run(end, func(t *testing.T) {
				f := newFixture(t, xds.Config{Logger: logger(t)})
				all := services(10)
				f.set(all...)
				var bad atomic.Bool
				bad.Store(true)
				c := f.newClient(incremental, func(typeURL string, names []string) string {
					for _, name := range names {
						if typeURL == endpointType && name == nameOf("s4") && bad.Load() {
							return fmt.Sprintf("EDS response: [resource %q: too few endpoints]", name)
						}
					}
					return ""
				})
				c.all()
				s4 := all[4].Name
				require.Eventually(t, func() bool { return f.sink.NotProgrammed()[s4] != nil }, timeout, timeout/1000)
				failures := f.sink.NotProgrammed()
				require.Len(t, failures, 1)
				require.EqualError(t, failures[s4], fmt.Sprintf(
					"xds: ClusterLoadAssignment %s: rejected by client \"raw\": EDS response: [resource %q: too few endpoints]", nameOf("s4"), nameOf("s4")))
				require.Equal(t, 1, f.sink.Stats().Rejections[1])
				all[5] = service("s5", ip(55)) // another response of the same type is accepted
				f.set(all...)
				c.until(func() bool {
					return strings.Contains(fmt.Sprint(c.resources[endpointType][nameOf("s5")]), ip(55).Addr.Addr().String())
				})
				require.Len(t, f.sink.NotProgrammed(), 1)
				switch bad.Store(false); end {
				case "accepted":
					all[4] = service("s4", ip(4), ip(44))
					f.set(all...)
				case "removed":
					f.set(all[:4]...)
				case "disconnected":
					c.stop()
				}
				require.Eventually(t, func() bool { return len(f.sink.NotProgrammed()) == 0 }, timeout, timeout/1000)
			})
		}
	})
}

// TestRejectionWithoutANameIsThatOfTheResponse checks a reason that names no resource.
func TestRejectionWithoutANameIsThatOfTheResponse(t *testing.T) {
	protocols(t, func(t *testing.T, incremental bool) {
		f := newFixture(t, xds.Config{})
		f.set(services(3)...)
		c := f.newClient(incremental, func(string, []string) string { return "no" })
		c.subscribe(endpointType, nil, nameOf("s1"))
		require.Eventually(t, func() bool { return len(f.sink.NotProgrammed()) == 1 }, timeout, timeout/1000)
		require.ErrorContains(t, f.sink.NotProgrammed()[localsink.ServiceName{Namespace: "default", Name: "s1"}], `rejected by client "raw": no`)
	})
}

// TestTooManyNames checks the limit of names that do not exist.
func TestTooManyNames(t *testing.T) {
	protocols(t, func(t *testing.T, incremental bool) {
		f := newFixture(t, xds.Config{})
		f.set()
		c := f.newClient(incremental, nil)
		names := make([]string, 20_001)
		for i := range names {
			names[i] = nameOf(fmt.Sprint("x", i))
		}
		c.subscribe(endpointType, nil, names...)
		<-c.ended
		require.Equal(t, codes.ResourceExhausted, status.Code(c.err), c.err)
	})
}

// TestLongNames checks the limit of the size of a name, which a subscription keeps.
func TestLongNames(t *testing.T) {
	protocols(t, func(t *testing.T, incremental bool) {
		f := newFixture(t, xds.Config{})
		f.set()
		c := f.newClient(incremental, nil)
		c.subscribe(endpointType, nil, strings.Repeat("x", 1025))
		<-c.ended
		require.Equal(t, codes.InvalidArgument, status.Code(c.err), c.err)
	})
}

// TestClientsConverge compares what clients have after many changes and reconnects with what a new
// client receives.
func TestClientsConverge(t *testing.T) {
	protocols(t, func(t *testing.T, incremental bool) {
		f := newFixture(t, xds.Config{})
		random := rand.New(rand.NewPCG(1, 2))
		f.set(services(20)...)
		wildcard, named := f.newClient(incremental, nil), (*client)(nil)
		wildcard.all()
		names := []string{nameOf("s1"), nameOf("s5"), nameOf("s30")}
		connect := func() {
			var has map[string]string
			if named != nil {
				named.stop()
				has = named.versions[endpointType]
			}
			old := named
			named = f.newClient(incremental, nil)
			if old != nil && incremental {
				named.subscribe(endpointType, has, names...)
				named.mu.Lock()
				for name, m := range old.resources[endpointType] {
					if named.resources[endpointType][name] == nil {
						named.resources[endpointType][name] = m
					}
				}
				named.mu.Unlock()
				return
			}
			named.subscribe(endpointType, nil, names...)
		}
		connect()
		for range 200 {
			var all []*localsink.Service
			for i := range 40 {
				if random.IntN(3) > 0 {
					all = append(all, service(fmt.Sprintf("s%d", i), ip(i), ip(100+random.IntN(3))))
				}
			}
			all = append(all, service("s1", ip(random.IntN(9)))) // always exists
			all[len(all)-1].Name.Namespace = "other"
			f.set(all...)
			if random.IntN(10) == 0 {
				connect()
			}
		}
		f.set(append(services(10), service("s30", ip(300), ip(301)))...)
		want := f.describe()
		wildcard.until(func() bool { wildcard.mu.Unlock(); defer wildcard.mu.Lock(); return wildcard.text() == want })
		named.until(func() bool {
			named.mu.Unlock()
			defer named.mu.Lock()
			for line := range strings.Lines(want) {
				name, rest, _ := strings.Cut(line, " ")
				if slices.Contains(names, name) && strings.HasPrefix(rest, endpointType) && !strings.Contains(named.text(), line) {
					return false
				}
			}
			return true
		})
	})
}

// TestNothingRemains checks that names and streams leave nothing in the server.
func TestNothingRemains(t *testing.T) {
	protocols(t, func(t *testing.T, incremental bool) {
		f := newFixture(t, xds.Config{})
		for range 5 {
			f.set(services(30)...)
			c := f.newClient(incremental, func(_ string, names []string) string { return strings.Join(names, " ") })
			c.subscribe(clusterType, nil)
			c.subscribe(endpointType, nil, nameOf("s3"), "unknown")
			c.until(func() bool { return len(c.sizes) >= 2 })
			f.set(services(2)...)
			f.set()
			c.stop()
			require.Eventually(t, func() bool { return f.sink.Stats().Streams == 0 }, timeout, timeout/1000)
			require.Zero(t, xds.Entries(f.sink))
		}
	})
}
