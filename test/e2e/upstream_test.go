// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	corev1 "k8s.io/api/core/v1"
)

// upstreamCases correspond to end-to-end tests of Kubernetes and have their names.
// docs/upstream-e2e.md lists all of those tests, including those that other cases cover.
func upstreamCases() []testCase {
	var all []testCase
	for _, group := range [][]testCase{
		lifeCases(), typeCases(), readinessCases(), affinityCases(), cycleCases(), balancerCases(), granularCases(), distributionCases(),
	} {
		all = append(all, group...)
	}
	return all
}

// numbered returns s with the given node port for all its ports.
func numbered(s service, number int32) service {
	return edited(s, s.edit, func(spec *corev1.ServiceSpec) {
		for i := range spec.Ports {
			spec.Ports[i].NodePort = number
		}
	})
}

// edited returns s with these edits instead of its own; nil entries are skipped.
func edited(s service, edits ...func(*corev1.ServiceSpec)) service {
	s.edit = func(spec *corev1.ServiceSpec) {
		for _, edit := range edits {
			if edit != nil {
				edit(spec)
			}
		}
	}
	return s
}

// of returns s with another type.
func of(kind corev1.ServiceType, s service) service { s.kind = kind; return s }

// lifeCases test Services and ports that are created and deleted.
func lifeCases() []testCase {
	first, second, third, fourth := plain("up1", "pod1"), plain("up2", "pod2"), plain("up3", "rpod1"), plain("up4", "pod1", "pod2")
	released := numbered(of(nodePort, plain("releasing", "pod1")), 30082)
	taker := numbered(of(nodePort, plain("taking", "pod2")), 30082)
	same, twin := plain("twin1", "pod1", "rpod1"), plain("twin2", "pod1", "rpod1")
	return []testCase{
		{"should be able to up and down services", []step{
			{[]service{first, second, third}, "pod3,node up1/cluster:80 = pod1\npod3,node up2/cluster:80 = pod2\npod3,node up3/cluster:80 = rpod1"},
			{[]service{first, third}, "pod3,node up1/cluster:80 = pod1\npod3,node up2/cluster:80 = timeout\npod3,node up3/cluster:80 = rpod1"},
			{[]service{first, third, fourth}, "pod3,node up1/cluster:80 = pod1\npod3,node up3/cluster:80 = rpod1\npod3,node up4/cluster:80 = pod1 pod2"},
		}},
		{"should release NodePorts on delete", []step{
			{[]service{released}, "client nodeport:80 = pod1"},
			{nil, "client,pod3 releasing/nodeport:80 = refused"},
			{[]service{taker}, "client,pod3 nodeport:80 = pod2"},
		}},
		{"should function for multiple endpoint-Services with same selector", []step{
			{[]service{same, twin}, "pod1,pod3 twin1/cluster:80 = pod1 rpod1\npod1,pod3 twin2/cluster:80 = pod1 rpod1"},
			{[]service{same}, "pod1,pod3 twin1/cluster:80 = pod1 rpod1\npod3 twin2/cluster:80 = timeout"},
		}},
		{"should allow creating a basic SCTP service with pod and endpoints", one("pod3,node cluster:80/tcp = pod1",
			service{name: "sctp", ports: []string{"80/tcp", "5060/sctp"}, slices: endpoints("pod1")})},
		{"should support a Service with multiple ports specified in multiple EndpointSlices", one(`
			pod3 cluster:80/tcp = pod1:8080
			pod3 cluster:443/tcp = pod1:8081`, service{name: "ports-apart", ports: []string{"80/tcp", "443/tcp"}, slices: []slice{
			{ports: []string{"tcp80:8080/tcp"}, endpoints: []string{"pod1"}}, {ports: []string{"tcp443:8081/tcp"}, endpoints: []string{"pod1"}}}})},
		{"should support a Service with multiple endpoint IPs specified in multiple EndpointSlices", one("pod3,node cluster:80 = pod1 pod2 rpod1",
			service{name: "addresses-apart", ports: tcpAndUDP(), slices: []slice{{endpoints: []string{"pod1"}}, {endpoints: []string{"pod2", "rpod1"}}}})},
	}
}

// typeCases change the type of a Service.
func typeCases() []testCase {
	outside := func(name string) service { return of(externalName, plain(name, "pod1")) }
	shared := plain("shared-number", "pod1")
	shared.ports = shared.ports[:1]
	return []testCase{
		{"should be able to update service type to NodePort listening on same port number but different protocols", []step{
			{[]service{shared}, "pod3 cluster:80/tcp = pod1"},
			{[]service{numbered(of(nodePort, plain("shared-number", "pod1")), 30081)}, "client,pod3,node nodeport:80 = pod1\npod3 cluster:80 = pod1"},
		}},
		{"should be able to change the type from ExternalName to ClusterIP", []step{
			{[]service{outside("to-cluster")}, ""},
			{[]service{plain("to-cluster", "pod1")}, "pod3,node cluster:80 = pod1"},
		}},
		{"should be able to change the type from ExternalName to NodePort", []step{
			{[]service{outside("to-nodeport")}, ""},
			{[]service{of(nodePort, plain("to-nodeport", "pod1"))}, "pod3,node cluster:80 = pod1\npod3,client nodeport:80 = pod1"},
		}},
		{"should be able to change the type from ClusterIP to ExternalName", []step{
			{[]service{plain("from-cluster", "pod1")}, "pod3 cluster:80 = pod1"},
			{[]service{outside("from-cluster")}, "pod3,node cluster:80 = timeout"},
		}},
		{"should be able to change the type from NodePort to ExternalName", []step{
			{[]service{of(nodePort, plain("from-nodeport", "pod1"))}, "pod3 cluster:80 = pod1\nclient nodeport:80 = pod1"},
			{[]service{outside("from-nodeport")}, "pod3,node cluster:80 = timeout\npod3,client nodeport:80 = refused"},
		}},
		{"should implement service.kubernetes.io/service-proxy-name", func() []step {
			free, taken := plain("proxy-name", "pod1"), plain("proxy-name", "pod1")
			taken.labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
			return []step{
				{[]service{taken}, "pod3,node cluster:80 = timeout"},
				{[]service{free}, "pod3,node cluster:80 = pod1"},
				{[]service{taken}, "pod3,node cluster:80 = timeout"},
			}
		}()},
	}
}

// readinessCases test endpoints that are not ready or terminating.
func readinessCases() []testCase {
	full := func(number string, edit func(*corev1.ServiceSpec), list ...string) []service {
		return []service{open("readiness-"+number, number, edit, list...)}
	}
	return []testCase{
		{"should be able to connect to terminating and unready endpoints if PublishNotReadyAddresses is true", one(`
			pod3,node cluster:80 = pod1 rpod1
			client,pod3 nodeport:80 = pod1 rpod1`, full("61", nil, "pod1 published", "rpod1 published")...)},
		{"should not be able to connect to terminating and unready endpoints if PublishNotReadyAddresses is false", one(`
			pod3,node cluster:80 = refused
			client,pod3 nodeport:80 = refused`, full("62", nil, "pod1 unready", "rpod1 dead")...)},
		{"should respect internalTrafficPolicy=Local Pod and Node, to Pod (hostNetwork: true)", one(`
			pod3,node cluster:80 = node`, edited(plain("local-host", "node", "remote"), internalLocal))},
		{"should fail health check node port if there are only terminating endpoints", []step{
			{full("63", externalLocal, "pod1"), "client health:80 = 200\nclient nodeport:80 = pod1 src=self"},
			{full("63", externalLocal, "pod1 terminating"), "client health:80 = 503\nclient nodeport:80 = pod1 src=self\nclient lb:80 = pod1 src=self\npod3,node nodeport:80 = pod1"},
		}},
		{"should fallback to terminating endpoints when there are no ready endpoints with internalTrafficPolicy=Cluster", one(`
			pod3,node cluster:80 = pod1 rpod1`, plain("fallback", "pod1 terminating", "rpod1 terminating", "pod2 unready"))},
		{"should fallback to local terminating endpoints when there are no ready endpoints with internalTrafficPolicy=Local", []step{
			{[]service{edited(plain("fallback-local", "pod1 terminating", "rpod1 terminating"), internalLocal)}, "pod3,node cluster:80 = pod1"},
			{[]service{edited(plain("fallback-local", "pod1 dead", "rpod1 terminating"), internalLocal)}, "pod3,node cluster:80 = timeout"},
		}},
		{"should fallback to terminating endpoints when there are no ready endpoints with externallTrafficPolicy=Cluster", one(`
			client,pod3,node nodeport:80 = pod1 rpod1
			client,pod3 lb:80 = pod1 rpod1`, full("64", nil, "pod1 terminating", "rpod1 terminating")...)},
		{"should fallback to local terminating endpoints when there are no ready endpoints with externalTrafficPolicy=Local", []step{
			{full("65", externalLocal, "pod1 terminating", "rpod1 terminating"), "client nodeport:80 = pod1 src=self\nclient lb:80 = pod1 src=self"},
			{full("65", externalLocal, "pod1 dead", "rpod1 terminating"), "client nodeport:80 = timeout\nclient lb:80 = timeout\npod3,node nodeport:80 = rpod1"},
		}},
		{"should be able to connect to other Pod from a terminating Pod", one(`
			pod1 cluster:80 = pod2 rpod1`, plain("from-terminating", "pod1 terminating", "pod2", "rpod1"))},
	}
}

// affinityCases turn affinity off, on and off. See testAffinityTimeout for the timeout.
func affinityCases() []testCase {
	three := []string{"pod1", "pod2", "rpod1"}
	toggled := func(name, from string, s service, servers string) testCase {
		on, off := []service{edited(s, s.edit, affinity)}, []service{s}
		return testCase{"should be able to switch session affinity for " + name, []step{
			{off, from + " = " + servers}, {on, from + " = one " + servers}, {off, from + " = " + servers},
		}}
	}
	return []testCase{
		toggled("service with type clusterIP", "pod3,node cluster:80", plain("sticky-cluster", three...), "pod1 pod2 rpod1"),
		toggled("NodePort service", "client,pod3 nodeport:80", of(nodePort, plain("sticky-nodeport", three...)), "pod1 pod2 rpod1"),
		toggled("LoadBalancer service with Local traffic policy", "client lb:80", open("sticky-local", "66", externalLocal, three...), "pod1 pod2"),
		toggled("LoadBalancer service with Cluster traffic policy", "client,pod3 lb:80", open("sticky-lb", "67", nil, three...), "pod1 pod2 rpod1"),
	}
}

// cycleCases replace the endpoint of a UDP flow that continues from the same source port.
func cycleCases() []testCase {
	cycle := func(name, probe string, s service, new string) testCase {
		const old = "pod1"
		serving := func(list ...string) []service { s.slices = endpoints(list...); return []service{s} }
		return testCase{name, []step{
			{serving(old), probe + " = " + old}, {serving(old, new), probe + " = " + old},
			{serving(old+" terminating", new), probe + " = " + old}, {serving(new), probe + " = " + new},
		}}
	}
	const preserve = "should be able to preserve UDP traffic when server pod cycles for a "
	target := func(number string) []service {
		return []service{of(nodePort, service{name: "target-port", ports: []string{"80/udp"},
			slices: []slice{{ports: []string{"udp80:" + number + "/udp"}, endpoints: []string{"pod1"}}}})}
	}
	return []testCase{
		cycle(preserve+"NodePort service", "client,pod3 ~nodeport:80/udp", of(nodePort, plain("cycle-nodeport")), "pod2"),
		cycle(preserve+"ClusterIP service", "pod3 ~cluster:80/udp", plain("cycle-cluster"), "rpod1"),
		cycle(preserve+"ClusterIP service with InternalTrafficPolicy set to Local", "pod3 ~cluster:80/udp",
			edited(plain("cycle-local"), internalLocal), "pod2"),
		cycle(preserve+"ClusterIP service and client is hostNetwork", "node ~cluster:80/udp", plain("cycle-host"), "pod2"),
		cycle(preserve+"LoadBalancer service on different nodes", "client,pod3 ~lb:80/udp", open("cycle-lb", "68", nil), "rpod1"),
		cycle(preserve+"LoadBalancer service on the same nodes", "client,pod3 ~lb:80/udp", open("cycle-lb-near", "69", nil), "pod2"),
		{"should be able to cleanup conntrack entries when UDP service target port changes for a NodePort service", []step{
			{target("8080"), "client,pod3 ~nodeport:80/udp = pod1:8080"}, {target("8081"), "client,pod3 ~nodeport:80/udp = pod1:8081"},
		}},
	}
}

// balancerCases test load balancer addresses on the node.
func balancerCases() []testCase {
	changing := plain("change-all", "pod1")
	changing.slices = []slice{{ports: []string{"web:8080/tcp", "dns:8080/udp"}, endpoints: []string{"pod1"}}}
	shape := func(kind corev1.ServiceType, port string, node int32) []service {
		s := of(kind, changing)
		s.ports = []string{"web:" + port + "/tcp", "dns:" + port + "/udp"}
		if node != 0 {
			s = numbered(s, node)
		}
		if kind == loadBalancer {
			s.ingress = []string{"198.51.100.71", "2001:db8:198::71"}
		}
		return []service{s}
	}
	let := func(ranges ...string) []service {
		return []service{open("let-in", "72", func(s *corev1.ServiceSpec) { s.LoadBalancerSourceRanges = ranges }, "pod1")}
	}
	without := open("without-nodeport", "73", func(s *corev1.ServiceSpec) { s.AllocateLoadBalancerNodePorts = new(false) }, "pod1")
	tcp, udp := "80/tcp", "80/udp"
	mixed := func(ports ...string) []service {
		s := open("mixed", "74", nil, "pod1")
		s.ports = ports
		return []service{s}
	}
	return []testCase{
		{"should be able to change the type and ports of a TCP or UDP service", []step{
			{shape("", "80", 0), "pod3,node cluster:80 = pod1"},
			{shape(nodePort, "80", 30083), "pod3 cluster:80 = pod1\nclient,pod3 nodeport:80 = pod1"},
			{shape(loadBalancer, "80", 30083), "client nodeport:80 = pod1\nclient,pod3,node lb:80 = pod1"},
			{shape(loadBalancer, "81", 30084), "client nodeport:80 = refused\nclient nodeport:81 = pod1\nclient,pod3 lb:81 = pod1\nclient lb:80 = timeout\npod3 cluster:81 = pod1"},
			{shape("", "81", 0), "client nodeport:81 = refused\nclient lb:81 = timeout\npod3,node cluster:81 = pod1"},
		}},
		{"should only allow access from service loadbalancer source ranges", []step{
			{let("10.244.1.13/32", "fd00:244:1::13/128"), "pod3 lb:80 = pod1\npod2,client,node lb:80 = timeout"},
			{let("10.244.1.12/32", "fd00:244:1::12/128"), "pod2 lb:80 = pod1\npod3,client,node lb:80 = timeout"},
			{let("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"), "pod3,pod2,client,node lb:80 = pod1"},
			{let("192.168.50.10/32", "fd00:50::10/128"), "node lb:80 = pod1\npod3,client lb:80 = timeout"},
			{let(), "pod3,pod2,client,node lb:80 = pod1"},
		}},
		{"should be able to create LoadBalancer Service without NodePort and change it", []step{
			{[]service{without}, "client,pod3,node lb:80 = pod1"},
			{[]service{edited(without, func(s *corev1.ServiceSpec) { s.AllocateLoadBalancerNodePorts = new(true) })},
				"client,pod3,node lb:80 = pod1\nclient,pod3 nodeport:80 = pod1"},
		}},
		{"should serve endpoints on same port and different protocol for internal traffic on Type LoadBalancer", []step{
			{mixed(tcp, udp), "pod3 cluster:80 = pod1\npod3 lb:80 = pod1"},
			{mixed(tcp), "pod3 cluster:80/tcp = pod1\npod3 cluster:80/udp = refused\npod3 lb:80/tcp = pod1"},
			{mixed(udp), "pod3 cluster:80/udp = pod1\npod3 cluster:80/tcp = refused\npod3 lb:80/udp = pod1"},
		}},
	}
}

// granularCases test the remaining combinations of clients, kinds and protocols.
func granularCases() []testCase {
	primary6 := func(s *corev1.ServiceSpec) {
		s.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
	}
	return []testCase{
		{"should function for endpoint-Service", one(`
			pod1,pod2 cluster:80 = pod1 pod2 rpod1
			pod1 nodeport:80 = pod1 pod2 rpod1`, of(nodePort, plain("from-endpoint", "pod1", "pod2", "rpod1")))},
		{"should be able to handle large requests", one(`
			pod3,node,client +cluster:80 = rpod1
			pod3,client +nodeport:80 = rpod1`, of(nodePort, plain("large", "rpod1")))},
		{"should create service with ipv6,v4 cluster ip", one(`
			pod3,node cluster:80 = pod1 rpod1
			client nodeport:80 = pod1 rpod1`, edited(of(nodePort, plain("ipv6-first", "pod1", "rpod1")), primary6))},
		{"pods reach terminating endpoints of their node behind its node port", one(`
			pod3,node nodeport:80 = pod1
			pod3,node lb:80 = pod1`, open("own-node", "75", externalLocal, "pod1 terminating", "rpod1 unready"))},
	}
}

// distributionCases test topology hints as the EndpointSlice controller sets them.
func distributionCases() []testCase {
	const inA, inB, here, there = " zone=a", " zone=b", " zone=a node=node1", " zone=a node=node2"
	return []testCase{
		{"should route traffic to an endpoint in the same zone when using PreferSameZone", []step{
			{[]service{plain("same-zone", "pod1"+inA, "rpod1"+inB)}, "pod3,pod2,node cluster:80 = pod1"},
			{[]service{plain("same-zone", "rpod1"+inB)}, "pod3,pod2,node cluster:80 = rpod1"},
		}},
		{"should route traffic correctly between pods on multiple nodes when using PreferSameZone", one(
			"pod3,node cluster:80 = pod1 rpod1", plain("same-zone-nodes", "pod1"+inA, "rpod1"+inA, "rpod2"+inB))},
		{"should route traffic to an endpoint on the same node or fall back to same zone when using PreferSameNode", []step{
			{[]service{plain("same-node", "pod1"+here, "rpod1"+there, "rpod2 zone=b node=node3")}, "pod3,node cluster:80 = pod1"},
			{[]service{plain("same-node", "rpod1"+there, "rpod2 zone=b node=node3")}, "pod3,node cluster:80 = rpod1"},
		}},
		{"should route traffic to an endpoint on the same node when using PreferSameNode and fall back when the endpoint becomes unavailable", []step{
			{[]service{plain("near-node", "pod1"+here, "rpod1"+there)}, "pod3,node cluster:80 = pod1"},
			{[]service{plain("near-node", "pod1 unready", "rpod1"+there)}, "pod3,node cluster:80 = rpod1"},
			{[]service{plain("near-node", "pod1"+here, "rpod1"+there)}, "pod3,node cluster:80 = pod1"},
		}},
	}
}
