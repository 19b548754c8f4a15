// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// permutations returns all orders of the numbers below n.
func permutations(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, p := range permutations(n - 1) {
		for i := 0; i <= len(p); i++ {
			q := append(append(append([]int{}, p[:i]...), n-1), p[i:]...)
			all = append(all, q)
		}
	}
	return all
}

// A contestant is a Service that asks for what others ask for too.
func contestant(id string, created int64, change func(*watchers.Service)) *watchers.Service {
	return service(func(s *watchers.Service) {
		s.Name.Name, s.Created = id, at(created)
		s.ClusterIP = netip.AddrFrom4([4]byte{10, 96, 9, id[0]})
		change(s)
	})
}

// TestDP12Contests: whom something belongs to does not depend on who came first, or who
// left before; the order of contestants is the one in which they must win.
func TestDP12Contests(t *testing.T) {
	shared := netip.MustParseAddr("192.0.2.9")
	external := func(s *watchers.Service) { s.ExternalIPs = []netip.Addr{shared} }
	balanced := func(s *watchers.Service) { s.Ingress = []watchers.Ingress{{IP: shared}} }
	assigned := func(s *watchers.Service) { s.ClusterIP = shared }
	nodePort := func(s *watchers.Service) { s.Type, s.Ports[0].NodePort = watchers.TypeNodePort, 30080 }
	checked := func(s *watchers.Service) {
		s.Type, s.ExternalPolicy, s.HealthCheckNodePort = watchers.TypeLoadBalancer, watchers.PolicyLocal, 30080
	}
	udp := func(s *watchers.Service) { external(s); s.Ports[0].Protocol = localsink.ProtocolUDP }
	for _, contest := range []struct {
		id          string
		contestants []*watchers.Service
		has         func(*localsink.Service) bool
		problem     string // of whom loses to "w"
	}{
		{"DP-12 the older wins", []*watchers.Service{contestant("w", 1, external), contestant("b", 2, external), contestant("a", 3, external)},
			hasFrontend(localsink.KindExternalIP), "spec.externalIPs: ExternalIP 192.0.2.9:80 TCP belongs to Service ns/w; ignored"},
		{"DP-12 of one age, the smaller name wins", []*watchers.Service{contestant("w", 1, external), contestant("x", 1, external), contestant("y", 1, external)},
			hasFrontend(localsink.KindExternalIP), "spec.externalIPs: ExternalIP 192.0.2.9:80 TCP belongs to Service ns/w; ignored"},
		{"DP-12 whom a cluster IP was assigned to wins", []*watchers.Service{contestant("w", 9, assigned), contestant("b", 1, external), contestant("a", 2, external)},
			func(s *localsink.Service) bool { return claims(s, shared) }, "spec.externalIPs: ExternalIP 192.0.2.9:80 TCP belongs to Service ns/w; ignored"},
		{"DP-12 and again among those who wait", []*watchers.Service{contestant("w", 8, assigned), contestant("c", 9, assigned), contestant("b", 1, external), contestant("a", 2, external)},
			func(s *localsink.Service) bool { return claims(s, shared) }, "192.0.2.9:80 TCP belongs to Service ns/w; ignored"},
		{"DP-12 load balancers", []*watchers.Service{contestant("w", 1, balanced), contestant("b", 2, balanced), contestant("a", 3, balanced)},
			hasFrontend(localsink.KindLoadBalancer), "status.loadBalancer.ingress: LoadBalancer 192.0.2.9:80 TCP belongs to Service ns/w; ignored"},
		{"DP-12 UDP", []*watchers.Service{contestant("w", 1, udp), contestant("b", 2, udp)},
			hasFrontend(localsink.KindExternalIP), "spec.externalIPs: ExternalIP 192.0.2.9:80 UDP belongs to Service ns/w; ignored"},
		{"DP-12 node ports", []*watchers.Service{contestant("w", 1, nodePort), contestant("b", 2, nodePort), contestant("a", 3, nodePort)},
			hasFrontend(localsink.KindNodePort), `spec.ports[name=""].nodePort: NodePort 0.0.0.0:30080 TCP belongs to Service ns/w; ignored`},
		{"DP-12 health checks", []*watchers.Service{contestant("w", 1, checked), contestant("b", 2, checked), contestant("a", 3, checked)},
			func(s *localsink.Service) bool { return s.HealthCheck != nil }, "spec.healthCheckNodePort: TCP port 30080 belongs to Service ns/w; ignored"},
		{"DP-12 a health check and node ports", []*watchers.Service{contestant("w", 1, checked), contestant("b", 2, nodePort), contestant("a", 3, nodePort)},
			func(s *localsink.Service) bool { return s.HealthCheck != nil || hasFrontend(localsink.KindNodePort)(s) }, "belongs to Service ns/w; ignored"},
		{"DP-12 a node port and health checks", []*watchers.Service{contestant("w", 1, nodePort), contestant("b", 2, checked), contestant("a", 3, checked)},
			func(s *localsink.Service) bool { return s.HealthCheck != nil || hasFrontend(localsink.KindNodePort)(s) }, "spec.healthCheckNodePort: TCP port 30080 belongs to Service ns/w; ignored"},
	} {
		t.Run(contest.id, func(t *testing.T) {
			for _, arrivals := range permutations(len(contest.contestants)) {
				for _, departures := range permutations(len(contest.contestants)) {
					n, present := newNode(t, nodelocal.Config{}), map[int]bool{}
					check := func() {
						t.Helper()
						winner := true
						for i, svc := range contest.contestants {
							if !present[i] {
								continue
							}
							got := n.get(svc.Name)
							require.Equal(t, winner, contest.has(got), "arrivals %v, departures %v, present %v: %s", arrivals, departures, present, got.Text())
							if !winner && present[0] {
								require.Contains(t, got.Text(), contest.problem)
							}
							require.Equal(t, !winner, strings.Contains(got.Text(), "belongs to"))
							winner = false
						}
					}
					for _, i := range arrivals {
						n.set(contest.contestants[i])
						present[i] = true
						check()
						n.set(contest.contestants[i]) // and nothing changes
					}
					for _, i := range departures {
						n.store.Update(func(tx *watchers.Tx) { tx.DeleteService(contest.contestants[i].Name) })
						delete(present, i)
						check()
					}
				}
			}
		})
	}
}

func hasFrontend(kind localsink.FrontendKind) func(*localsink.Service) bool {
	return func(svc *localsink.Service) bool {
		for _, p := range svc.Ports {
			for _, fe := range p.Frontends {
				if fe.Kind == kind {
					return true
				}
			}
		}
		return false
	}
}

func claims(svc *localsink.Service, addr netip.Addr) bool {
	for _, p := range svc.Ports {
		for _, fe := range p.Frontends {
			if fe.Addr.Addr() == addr {
				return true
			}
		}
	}
	return false
}

// TestDP12ClaimsChange: a contestant that changes in what counts is judged anew.
func TestDP12ClaimsChange(t *testing.T) {
	shared := netip.MustParseAddr("192.0.2.9")
	external := func(s *watchers.Service) { s.ExternalIPs = []netip.Addr{shared} }
	assigned := func(s *watchers.Service) { s.ClusterIP = shared }
	nothing := func(*watchers.Service) {}
	for _, row := range []struct {
		id     string
		steps  []*watchers.Service
		winner string
	}{
		{"DP-12 the holder was deleted and made again", []*watchers.Service{contestant("a", 1, external), contestant("b", 2, external), contestant("a", 3, external)}, "b"},
		{"DP-12 one in line was deleted and made again", []*watchers.Service{contestant("a", 2, external), contestant("b", 3, external), contestant("b", 1, external)}, "b"},
		{"DP-12 the holder is assigned the address", []*watchers.Service{contestant("a", 2, external), contestant("b", 1, external), contestant("a", 2, assigned)}, "a"},
		{"DP-12 one in line is assigned the address", []*watchers.Service{contestant("a", 1, external), contestant("b", 2, external), contestant("b", 2, assigned)}, "b"},
		{"DP-12 the holder gives the address back", []*watchers.Service{contestant("a", 1, external), contestant("b", 2, external), contestant("a", 1, nothing)}, "b"},
		{"DP-12 the holder was assigned the address and is not any more", []*watchers.Service{contestant("a", 2, assigned), contestant("b", 1, external), contestant("a", 2, external)}, "b"},
		{"DP-12 others change places behind the holder", []*watchers.Service{contestant("a", 1, external), contestant("b", 2, external), contestant("c", 3, external),
			contestant("b", 4, external), contestant("a", 1, nothing)}, "c"},
	} {
		t.Run(row.id, func(t *testing.T) {
			n := newNode(t, nodelocal.Config{})
			for _, s := range row.steps {
				n.set(s)
				n.update()
			}
			winners := ""
			for _, id := range []string{"a", "b", "c"} {
				if got := n.get(watchers.ServiceName{Namespace: "ns", Name: id}); got != nil && claims(got, shared) {
					winners += id
				}
			}
			require.Equal(t, row.winner, winners)
		})
	}
	t.Run("IN-32 a port that is both a node port and for health checks, again and again", func(t *testing.T) {
		itself := func(affinity int) *watchers.Service {
			return contestant("a", 1, func(s *watchers.Service) {
				s.Type, s.ExternalPolicy, s.HealthCheckNodePort, s.Ports[0].NodePort = watchers.TypeLoadBalancer, watchers.PolicyLocal, 30080, 30080
				s.Affinity = at(int64(affinity)).Sub(at(0))
			})
		}
		n := newNode(t, nodelocal.Config{})
		for i := range 4 {
			n.set(itself(i))
			got := n.get(itself(0).Name)
			require.True(t, hasFrontend(localsink.KindNodePort)(got), "%d", i)
			require.Nil(t, got.HealthCheck)
			require.Contains(t, got.Text(), "30080 is a node port of this Service")
		}
	})
}

// TestFactsOfOthers: facts need not come from this project's watchers, so what these
// would have put right is put right once more.
func TestFactsOfOthers(t *testing.T) {
	t.Run("IN-26 IN-42 ports without a number", func(t *testing.T) {
		s := slice(t, "a", "10.0.0.1 R")
		s.Ports = append(s.Ports, watchers.EndpointPort{Protocol: localsink.ProtocolTCP})
		svc := service(func(s *watchers.Service) {
			s.Ports = append(s.Ports, watchers.ServicePort{Name: "none", Protocol: localsink.ProtocolTCP})
		})
		got := newNode(t, nodelocal.Config{}, svc, s).get(name())
		require.Equal(t, "ns/svc\n  port \"\" TCP\n    ClusterIP 10.96.0.1:80\n      Anyone -> 10.0.0.1:80\n", got.Text())
	})
	t.Run("IN-20 headless, whatever else it asks for", func(t *testing.T) {
		got := newNode(t, nodelocal.Config{}, service(func(s *watchers.Service) {
			s.ClusterIP, s.ClusterIPs, s.IPFamilies = netip.Addr{}, make([]netip.Addr, 1), []watchers.IPFamily{4}
			s.ExternalIPs, s.Ingress = addrs("192.0.2.9"), []watchers.Ingress{{IP: netip.MustParseAddr("192.0.2.10")}}
		})).get(name())
		require.Nil(t, got)
	})
	t.Run("IN-30 source ranges with bits behind their length, and twice", func(t *testing.T) {
		got := newNode(t, nodelocal.Config{}, service(func(s *watchers.Service) {
			s.HasSourceRanges, s.SourceRanges = true, networks("10.9.9.9/8 192.0.2.0/24 10.0.0.0/8")
			s.Ingress = []watchers.Ingress{{IP: netip.MustParseAddr("192.0.2.9")}}
		})).get(name())
		require.Equal(t, networks("10.0.0.0/8 192.0.2.0/24"), got.Ports[0].Frontends[1].SourceRanges)
	})
	t.Run("IN-90 IN-91 networks of ServiceCIDRs", func(t *testing.T) {
		n := newNode(t, nodelocal.Config{},
			&watchers.ServiceCIDR{Name: "a", Networks: networks("172.30.9.9/16 10.96.0.0/16")},
			&watchers.ServiceCIDR{Name: "b", Networks: networks("10.96.0.0/16 fd00::/108")})
		require.Equal(t, networks("10.96.0.0/16 172.30.0.0/16 fd00::/108"), n.node().ServiceNetworks)
	})
	t.Run("equal lists of endpoints are one pool", func(t *testing.T) {
		svc := service(func(s *watchers.Service) {
			s.Type, s.Ports[0].NodePort, s.ExternalPolicy = watchers.TypeNodePort, 30080, watchers.PolicyLocal
			s.ExternalIPs = []netip.Addr{netip.MustParseAddr("192.0.2.9")}
		})
		require.Len(t, newNode(t, nodelocal.Config{}, svc, slice(t, "a", "10.0.0.1 R L")).get(name()).Ports[0].Pools, 1)
		require.Len(t, newNode(t, nodelocal.Config{}, svc, slice(t, "a", "10.0.0.1 R L", "10.0.0.2 R")).get(name()).Ports[0].Pools, 2)
	})
}

// TestEachPartOfTheNode: whatever of the node changes, and be it alone, is told.
func TestEachPartOfTheNode(t *testing.T) {
	base := func() *watchers.Node {
		return &watchers.Node{Name: "node-1", IPs: addrs("192.0.2.1"), PodCIDRs: networks("10.1.0.0/24")}
	}
	for id, change := range map[string]func(n *node){
		"IN-63 the address": func(n *node) {
			o := base()
			o.IPs = addrs("192.0.2.2")
			n.set(o)
		},
		"IN-63 the pod network": func(n *node) {
			o := base()
			o.PodCIDRs = networks("10.2.0.0/24")
			n.set(o)
		},
		"IN-91 the networks of Services": func(n *node) { n.set(&watchers.ServiceCIDR{Name: "more", Networks: networks("10.97.0.0/16")}) },
	} {
		t.Run(id, func(t *testing.T) {
			// Node ports answer on all addresses: their networks do not change along.
			n := newNode(t, nodelocal.Config{LocalPods: nodelocal.PodDetection{NodeCIDR: true}, NodePortAddresses: []string{"all"}}, base())
			change(n)
			u := n.update()
			require.NotNil(t, u)
			require.True(t, u.NodeChanged)
		})
	}
	t.Run("IN-63 the networks of node ports", func(t *testing.T) {
		o := base()
		o.IPs = addrs("127.0.0.1")
		n := newNode(t, nodelocal.Config{}, o)
		before := n.node()
		require.Empty(t, before.NodePortAddresses)
		n.set(base())
		require.NotNil(t, n.update())
		require.Equal(t, fmt.Sprint(networks("192.0.2.1/32")), fmt.Sprint(n.node().NodePortAddresses))
	})
}

// TestExplainShowsNoMoreThanThereIs: an explanation goes by the state before others are
// heard, and that must not have ports or health checks that nobody serves.
func TestExplainShowsNoMoreThanThereIs(t *testing.T) {
	explain := func(change func(*watchers.Service)) string {
		n := newNode(t, nodelocal.Config{}, service(change))
		x, err := nodelocal.Explain(n.store.Snapshot(), nodelocal.Config{NodeName: "node-1"}, name())
		require.NoError(t, err)
		return x.Service
	}
	t.Run("IN-23 two ports that are one", func(t *testing.T) {
		require.NotContains(t, explain(func(s *watchers.Service) {
			s.Ports = append(s.Ports, watchers.ServicePort{Name: "twin", Protocol: localsink.ProtocolTCP, Port: 80})
		}), `port "twin" TCP`)
	})
	t.Run("IN-32 no port is served", func(t *testing.T) {
		require.NotContains(t, explain(func(s *watchers.Service) {
			s.Type, s.ExternalPolicy, s.HealthCheckNodePort, s.Ports = watchers.TypeLoadBalancer, watchers.PolicyLocal, 30080, nil
		}), "health check")
	})
}
