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

// permutations returns all orders of the numbers from 0 to n-1.
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

// contender returns a Service that requests what other Services request too.
func contender(id string, created int64, change func(*watchers.Service)) *watchers.Service {
	return service(func(s *watchers.Service) {
		s.Name.Name, s.Created = id, at(created)
		s.ClusterIP = netip.AddrFrom4([4]byte{10, 96, 9, id[0]})
		change(s)
	})
}

// TestDP12ConflictsDoNotDependOnHistory adds and deletes Services that request the same
// address in every order. The order in the table is the one in which they must own it.
func TestDP12ConflictsDoNotDependOnHistory(t *testing.T) {
	shared := netip.MustParseAddr("192.0.2.9")
	external := func(s *watchers.Service) { s.ExternalIPs = []netip.Addr{shared} }
	loadBalancer := func(s *watchers.Service) { s.Ingress = []watchers.Ingress{{IP: shared}} }
	assigned := func(s *watchers.Service) { s.ClusterIP = shared }
	nodePort := func(s *watchers.Service) { s.Type, s.Ports[0].NodePort = watchers.TypeNodePort, 30080 }
	healthChecked := func(s *watchers.Service) {
		s.Type, s.ExternalPolicy, s.HealthCheckNodePort = watchers.TypeLoadBalancer, watchers.PolicyLocal, 30080
	}
	udp := func(s *watchers.Service) { external(s); s.Ports[0].Protocol = localsink.ProtocolUDP }
	for _, row := range []struct {
		id         string
		contenders []*watchers.Service
		has        func(*localsink.Service) bool
		problem    string // of a Service that loses to "w"
	}{
		{"DP-12 the older wins", []*watchers.Service{contender("w", 1, external), contender("b", 2, external), contender("a", 3, external)},
			hasFrontend(localsink.KindExternalIP), "spec.externalIPs: ExternalIP 192.0.2.9:80 TCP belongs to Service ns/w; ignored"},
		{"DP-12 of one age, the smaller name wins", []*watchers.Service{contender("w", 1, external), contender("x", 1, external), contender("y", 1, external)},
			hasFrontend(localsink.KindExternalIP), "spec.externalIPs: ExternalIP 192.0.2.9:80 TCP belongs to Service ns/w; ignored"},
		{"DP-12 a cluster IP wins over an external IP", []*watchers.Service{contender("w", 9, assigned), contender("b", 1, external), contender("a", 2, external)},
			func(s *localsink.Service) bool { return uses(s, shared) }, "spec.externalIPs: ExternalIP 192.0.2.9:80 TCP belongs to Service ns/w; ignored"},
		{"DP-12 the order of the other Services", []*watchers.Service{contender("w", 8, assigned), contender("c", 9, assigned), contender("b", 1, external), contender("a", 2, external)},
			func(s *localsink.Service) bool { return uses(s, shared) }, "192.0.2.9:80 TCP belongs to Service ns/w; ignored"},
		{"DP-12 load balancers", []*watchers.Service{contender("w", 1, loadBalancer), contender("b", 2, loadBalancer), contender("a", 3, loadBalancer)},
			hasFrontend(localsink.KindLoadBalancer), "status.loadBalancer.ingress: LoadBalancer 192.0.2.9:80 TCP belongs to Service ns/w; ignored"},
		{"DP-12 UDP", []*watchers.Service{contender("w", 1, udp), contender("b", 2, udp)},
			hasFrontend(localsink.KindExternalIP), "spec.externalIPs: ExternalIP 192.0.2.9:80 UDP belongs to Service ns/w; ignored"},
		{"DP-12 node ports", []*watchers.Service{contender("w", 1, nodePort), contender("b", 2, nodePort), contender("a", 3, nodePort)},
			hasFrontend(localsink.KindNodePort), `spec.ports[name=""].nodePort: NodePort 0.0.0.0:30080 TCP belongs to Service ns/w; ignored`},
		{"DP-12 health checks", []*watchers.Service{contender("w", 1, healthChecked), contender("b", 2, healthChecked), contender("a", 3, healthChecked)},
			func(s *localsink.Service) bool { return s.HealthCheck != nil }, "spec.healthCheckNodePort: TCP port 30080 belongs to Service ns/w; ignored"},
		{"DP-12 a health check and node ports", []*watchers.Service{contender("w", 1, healthChecked), contender("b", 2, nodePort), contender("a", 3, nodePort)},
			func(s *localsink.Service) bool { return s.HealthCheck != nil || hasFrontend(localsink.KindNodePort)(s) }, "belongs to Service ns/w; ignored"},
		{"DP-12 a node port and health checks", []*watchers.Service{contender("w", 1, nodePort), contender("b", 2, healthChecked), contender("a", 3, healthChecked)},
			func(s *localsink.Service) bool { return s.HealthCheck != nil || hasFrontend(localsink.KindNodePort)(s) }, "spec.healthCheckNodePort: TCP port 30080 belongs to Service ns/w; ignored"},
	} {
		t.Run(row.id, func(t *testing.T) {
			for _, additions := range permutations(len(row.contenders)) {
				for _, deletions := range permutations(len(row.contenders)) {
					n, present := newNode(t, nodelocal.Config{}), map[int]bool{}
					check := func() {
						t.Helper()
						winner := true
						for i, svc := range row.contenders {
							if !present[i] {
								continue
							}
							got := n.get(svc.Name)
							require.Equal(t, winner, row.has(got), "additions %v, deletions %v, present %v: %s", additions, deletions, present, got.Text())
							if !winner && present[0] {
								require.Contains(t, got.Text(), row.problem)
							}
							require.Equal(t, !winner, strings.Contains(got.Text(), "belongs to"))
							winner = false
						}
					}
					for _, i := range additions {
						n.set(row.contenders[i])
						present[i] = true
						check()
						n.set(row.contenders[i]) // an equal write changes nothing
					}
					for _, i := range deletions {
						n.store.Update(func(tx *watchers.Tx) { tx.DeleteService(row.contenders[i].Name) })
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

func uses(svc *localsink.Service, addr netip.Addr) bool {
	for _, p := range svc.Ports {
		for _, fe := range p.Frontends {
			if fe.Addr.Addr() == addr {
				return true
			}
		}
	}
	return false
}

// TestDP12OwnerFollowsChanges: the owner changes when the age or the addresses of a Service
// change.
func TestDP12OwnerFollowsChanges(t *testing.T) {
	shared := netip.MustParseAddr("192.0.2.9")
	external := func(s *watchers.Service) { s.ExternalIPs = []netip.Addr{shared} }
	assigned := func(s *watchers.Service) { s.ClusterIP = shared }
	nothing := func(*watchers.Service) {}
	for _, row := range []struct {
		id     string
		steps  []*watchers.Service
		winner string
	}{
		{"DP-12 the owner is deleted and created again", []*watchers.Service{contender("a", 1, external), contender("b", 2, external), contender("a", 3, external)}, "b"},
		{"DP-12 another requester is deleted and created again", []*watchers.Service{contender("a", 2, external), contender("b", 3, external), contender("b", 1, external)}, "b"},
		{"DP-12 the owner gets the address as its cluster IP", []*watchers.Service{contender("a", 2, external), contender("b", 1, external), contender("a", 2, assigned)}, "a"},
		{"DP-12 another requester gets the address as its cluster IP", []*watchers.Service{contender("a", 1, external), contender("b", 2, external), contender("b", 2, assigned)}, "b"},
		{"DP-12 the owner no longer requests the address", []*watchers.Service{contender("a", 1, external), contender("b", 2, external), contender("a", 1, nothing)}, "b"},
		{"DP-12 the address is no longer the cluster IP of the owner", []*watchers.Service{contender("a", 2, assigned), contender("b", 1, external), contender("a", 2, external)}, "b"},
		{"DP-12 the other requesters change their order", []*watchers.Service{contender("a", 1, external), contender("b", 2, external), contender("c", 3, external),
			contender("b", 4, external), contender("a", 1, nothing)}, "c"},
	} {
		t.Run(row.id, func(t *testing.T) {
			n := newNode(t, nodelocal.Config{})
			for _, s := range row.steps {
				n.set(s)
				n.update()
			}
			winners := ""
			for _, id := range []string{"a", "b", "c"} {
				if got := n.get(watchers.ServiceName{Namespace: "ns", Name: id}); got != nil && uses(got, shared) {
					winners += id
				}
			}
			require.Equal(t, row.winner, winners)
		})
	}
	t.Run("IN-32 one port is node port and health check port, through several changes", func(t *testing.T) {
		conflicting := func(affinity int) *watchers.Service {
			return contender("a", 1, func(s *watchers.Service) {
				s.Type, s.ExternalPolicy, s.HealthCheckNodePort, s.Ports[0].NodePort = watchers.TypeLoadBalancer, watchers.PolicyLocal, 30080, 30080
				s.Affinity = at(int64(affinity)).Sub(at(0))
			})
		}
		n := newNode(t, nodelocal.Config{})
		for i := range 4 {
			n.set(conflicting(i))
			got := n.get(conflicting(0).Name)
			require.True(t, hasFrontend(localsink.KindNodePort)(got), "%d", i)
			require.Nil(t, got.HealthCheck)
			require.Contains(t, got.Text(), "30080 is a node port of this Service")
		}
	})
}

// TestUnnormalizedObjects: objects may come from a watcher outside of this module, which does
// not normalize them as package kubeapi does.
func TestUnnormalizedObjects(t *testing.T) {
	t.Run("IN-26 IN-42 ports without a number", func(t *testing.T) {
		s := slice(t, "a", "10.0.0.1 R")
		s.Ports = append(s.Ports, watchers.EndpointPort{Protocol: localsink.ProtocolTCP})
		svc := service(func(s *watchers.Service) {
			s.Ports = append(s.Ports, watchers.ServicePort{Name: "none", Protocol: localsink.ProtocolTCP})
		})
		got := newNode(t, nodelocal.Config{}, svc, s).get(name())
		require.Equal(t, "ns/svc\n  port \"\" TCP\n    ClusterIP 10.96.0.1:80\n      Any -> 10.0.0.1:80\n"+
			"  problem: Service ns/svc: spec.ports[1].port: 0 is out of range 1-65535; the port is ignored\n"+
			"  problem: EndpointSlice ns/a: ports[1].port: 0 is out of range 1-65535; the port is ignored\n", got.Text())
	})
	t.Run("IN-20 headless with external addresses", func(t *testing.T) {
		got := newNode(t, nodelocal.Config{}, service(func(s *watchers.Service) {
			s.ClusterIP, s.ClusterIPs, s.IPFamilies = netip.Addr{}, make([]netip.Addr, 1), []watchers.IPFamily{4}
			s.ExternalIPs, s.Ingress = addrs("192.0.2.9"), []watchers.Ingress{{IP: netip.MustParseAddr("192.0.2.10")}}
		})).get(name())
		require.Nil(t, got)
	})
	t.Run("IN-30 source ranges with host bits, and duplicates", func(t *testing.T) {
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
	t.Run("equal lists of endpoints share a pool", func(t *testing.T) {
		svc := service(func(s *watchers.Service) {
			s.Type, s.Ports[0].NodePort, s.ExternalPolicy = watchers.TypeNodePort, 30080, watchers.PolicyLocal
			s.ExternalIPs = []netip.Addr{netip.MustParseAddr("192.0.2.9")}
		})
		require.Len(t, newNode(t, nodelocal.Config{}, svc, slice(t, "a", "10.0.0.1 R L")).get(name()).Ports[0].Pools, 1)
		require.Len(t, newNode(t, nodelocal.Config{}, svc, slice(t, "a", "10.0.0.1 R L", "10.0.0.2 R")).get(name()).Ports[0].Pools, 2)
	})
}

// TestEachNodeFieldCausesAnUpdate changes one field of the node at a time.
func TestEachNodeFieldCausesAnUpdate(t *testing.T) {
	base := func() *watchers.Node {
		return &watchers.Node{Name: "node-1", IPs: addrs("192.0.2.1"), PodCIDRs: networks("10.1.0.0/24")}
	}
	for id, change := range map[string]func(n *testNode){
		"IN-63 the address": func(n *testNode) {
			o := base()
			o.IPs = addrs("192.0.2.2")
			n.set(o)
		},
		"IN-63 the pod network": func(n *testNode) {
			o := base()
			o.PodCIDRs = networks("10.2.0.0/24")
			n.set(o)
		},
		"IN-91 the networks of Services": func(n *testNode) { n.set(&watchers.ServiceCIDR{Name: "more", Networks: networks("10.97.0.0/16")}) },
	} {
		t.Run(id, func(t *testing.T) {
			// Node ports are served on all addresses, so that their networks do not change too.
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

// TestExplainOmitsUnusablePorts: an explanation is computed before conflicts with other
// Services are resolved, but must not have ports or health checks without an address.
func TestExplainOmitsUnusablePorts(t *testing.T) {
	explain := func(change func(*watchers.Service)) string {
		n := newNode(t, nodelocal.Config{}, service(change))
		x, err := nodelocal.Explain(n.store.Snapshot(), nodelocal.Config{NodeName: "node-1"}, name())
		require.NoError(t, err)
		return x.Service
	}
	t.Run("IN-23 two ports with one number", func(t *testing.T) {
		require.NotContains(t, explain(func(s *watchers.Service) {
			s.Ports = append(s.Ports, watchers.ServicePort{Name: "twin", Protocol: localsink.ProtocolTCP, Port: 80})
		}), `port "twin" TCP`)
	})
	t.Run("IN-32 no port", func(t *testing.T) {
		require.NotContains(t, explain(func(s *watchers.Service) {
			s.Type, s.ExternalPolicy, s.HealthCheckNodePort, s.Ports = watchers.TypeLoadBalancer, watchers.PolicyLocal, 30080, nil
		}), "health check")
	})
}
