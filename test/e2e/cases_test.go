// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	corev1 "k8s.io/api/core/v1"
)

// A testCase has one or more steps. Probes without a Service name are for the first
// Service of their step.
type testCase struct {
	name  string
	steps []step
}

// A step is the complete set of objects of the case, and the probes to run with them.
type step struct {
	services []service
	probes   string
}

const (
	nodePort     = corev1.ServiceTypeNodePort
	loadBalancer = corev1.ServiceTypeLoadBalancer
	externalName = corev1.ServiceTypeExternalName
)

func externalLocal(s *corev1.ServiceSpec) {
	s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func internalLocal(s *corev1.ServiceSpec) {
	local := corev1.ServiceInternalTrafficPolicyLocal
	s.InternalTrafficPolicy = &local
}

func affinity(s *corev1.ServiceSpec) { s.SessionAffinity = corev1.ServiceAffinityClientIP }

func singleStack(s *corev1.ServiceSpec) {
	policy := corev1.IPFamilyPolicySingleStack
	s.IPFamilyPolicy, s.IPFamilies = &policy, []corev1.IPFamily{corev1.IPv4Protocol}
}

func onlyClientRange(s *corev1.ServiceSpec) {
	s.LoadBalancerSourceRanges = []string{"192.168.50.20/32", "fd00:50::20/128"}
}

func sameNodePort(s *corev1.ServiceSpec) {
	for i := range s.Ports {
		s.Ports[i].NodePort = 30080
	}
}

// tcpAndUDP returns one port number with both protocols.
func tcpAndUDP() []string { return []string{"80/tcp", "80/udp"} }

// open returns a Service with addresses of every kind.
func open(name, number string, edit func(*corev1.ServiceSpec), list ...string) service {
	return service{
		name: name, kind: loadBalancer, ports: tcpAndUDP(), edit: edit, slices: endpoints(list...),
		externalIPs: []string{"203.0.113." + number, "2001:db8:113::" + number},
		ingress:     []string{"198.51.100." + number, "2001:db8:198::" + number},
	}
}

// with returns a changed copy of s.
func with(s service, change func(*service)) service {
	change(&s)
	return s
}

// plain returns a Service with a cluster IP only.
func plain(name string, list ...string) service {
	return service{name: name, ports: tcpAndUDP(), slices: endpoints(list...)}
}

// one returns a single step.
func one(probes string, services ...service) []step { return []step{{services, probes}} }

func cases() []testCase {
	var all []testCase
	for _, group := range [][]testCase{addressCases(), policyCases(), choiceCases(), changeCases(), flowCases(), upstreamCases()} {
		all = append(all, group...)
	}
	return all
}

// addressCases test which addresses of a Service answer.
func addressCases() []testCase {
	proxyMode := open("lb-proxy", "4", nil, "pod1")
	proxyMode.ipMode = corev1.LoadBalancerIPModeProxy
	vipMode := open("lb-vip", "5", nil, "pod1", "rpod1")
	vipMode.ipMode = corev1.LoadBalancerIPModeVIP
	single := open("single-stack", "7", singleStack, "pod1")
	single.externalIPs, single.ingress = single.externalIPs[:1], single.ingress[:1]
	return []testCase{
		{"cluster IP", one(`
			pod3 cluster:80 = pod1 pod2 rpod1 src=self
			node,client cluster:80 = pod1 pod2 rpod1 src=node`, plain("cluster-ip", "pod1", "pod2", "rpod1"))},
		{"cluster IP from a pod of another node", one(`rpod2 cluster:80 = pod1 src=self`, plain("from-far", "pod1"))},
		{"undefined port and protocol are refused", one(`
			pod3,node,client cluster:81 = refused
			pod3,node,client cluster:80/udp = refused`, service{name: "undefined", ports: []string{"80/tcp"}, slices: endpoints("pod1")})},
		{"no endpoints are refused", one(`
			pod3,node,client cluster:80 = refused
			pod3,node,client nodeport:80 = refused
			pod3,node,client external:80 = refused
			pod3,node,client lb:80 = refused`, open("none", "1", nil))},
		{"unready endpoints are refused", one(`
			pod3,node cluster:80 = refused
			pod3,node,client external:80 = refused`, open("unready", "2", nil, "pod1 unready", "rpod1 unready"))},
		{"every address", one(`
			pod3 cluster:80 = pod1 rpod1 src=self
			pod3,node,client,rpod2 nodeport:80 = pod1 rpod1 src=node
			pod3,node,client external:80 = pod1 rpod1 src=node
			pod3,node,client lb:80 = pod1 rpod1 src=node
			client external:81 = timeout`,
			open("open", "3", nil, "pod1", "rpod1"))},
		{"load balancer in mode Proxy is left alone", one(`
			pod3,node,client lb:80 = timeout
			client nodeport:80 = pod1`, proxyMode)},
		{"load balancer in mode VIP", one(`pod3,node,client lb:80 = pod1 rpod1 src=node`, vipMode)},
		{"node ports answer on the primary addresses only", one(`
			pod3,node,client nodeport:80 = pod1
			pod3,client inner:80 = refused
			node loop:80 = refused`, service{name: "primary", kind: nodePort, ports: tcpAndUDP(), slices: endpoints("pod1")})},
		{"one node port for both protocols", one(`pod3,node,client nodeport:80 = pod2`,
			service{name: "same-node-port", kind: nodePort, ports: tcpAndUDP(), edit: sameNodePort, slices: endpoints("pod2")})},
		{"single stack opens nothing in the other family", one(`
			pod3 cluster4:80 = pod1
			client nodeport4:80 = pod1
			client nodeport6:80 = refused`, single)},
		{"host network endpoints", one(`
			pod3 cluster:80 = node remote
			client cluster:80 = node remote
			client nodeport:80 = node remote`, service{name: "host-network", kind: nodePort, ports: tcpAndUDP(), slices: endpoints("node", "remote")})},
		{"source ranges guard the load balancer only", one(`
			client lb:80 = pod1
			pod3,node,remote lb:80 = timeout
			remote,pod3 nodeport:80 = pod1
			remote external:80 = pod1
			pod3 cluster:80 = pod1`, open("ranges", "6", onlyClientRange, "pod1"))},
	}
}

// policyCases test traffic policies.
func policyCases() []testCase {
	bothLocal := func(s *corev1.ServiceSpec) { externalLocal(s); internalLocal(s) }
	return []testCase{
		{"external traffic policy Local", one(`
			client nodeport:80 = pod1 src=self
			client external:80 = pod1 src=self
			client lb:80 = pod1 src=self
			pod3 lb:80 = pod1 rpod1 src=self
			pod3 nodeport:80 = pod1 rpod1 src=self
			node lb:80 = pod1 rpod1 src=node
			client,pod3 cluster:80 = pod1 rpod1
			client health:80 = 200`, open("ext-local", "11", externalLocal, "pod1", "rpod1"))},
		{"external traffic policy Local without local endpoints", one(`
			client nodeport:80 = timeout
			client external:80 = timeout
			client lb:80 = timeout
			pod3,node nodeport:80 = rpod1
			pod3,node lb:80 = rpod1
			pod3,node,client cluster:80 = rpod1
			client health:80 = 503`, open("ext-local-none", "12", externalLocal, "rpod1"))},
		{"external traffic policy Local without any endpoints", one(`
			client,pod3,node nodeport:80 = refused
			client lb:80 = refused
			client health:80 = 503`, open("ext-local-empty", "13", externalLocal))},
		{"internal traffic policy Local", one(`
			pod3,node,client cluster:80 = pod1
			client,pod3 nodeport:80 = pod1 rpod1
			client lb:80 = pod1 rpod1`, open("int-local", "14", internalLocal, "pod1", "rpod1"))},
		{"internal traffic policy Local without local endpoints", one(`
			pod3,node,client cluster:80 = timeout
			client,pod3 nodeport:80 = rpod1`, open("int-local-none", "15", internalLocal, "rpod1"))},
		{"both policies Local", one(`
			pod3,client cluster:80 = pod1
			client nodeport:80 = pod1 src=self
			client health:80 = 200`, open("both-local", "16", bothLocal, "pod1", "rpod1"))},
		{"external traffic policy changes", []step{
			{[]service{open("ext-change", "17", externalLocal, "rpod1")}, "client lb:80 = timeout\nclient nodeport:80 = timeout\nclient health:80 = 503"},
			{[]service{open("ext-change", "17", nil, "rpod1")}, "client lb:80 = rpod1 src=node\nclient nodeport:80 = rpod1\nclient health:80 = refused"},
			{[]service{open("ext-change", "17", externalLocal, "pod1", "rpod1")}, "client lb:80 = pod1 src=self\nclient nodeport:80 = pod1\nclient health:80 = 200"},
		}},
		{"internal traffic policy changes", []step{
			{[]service{open("int-change", "18", nil, "rpod1")}, "pod3,node cluster:80 = rpod1"},
			{[]service{open("int-change", "18", internalLocal, "rpod1")}, "pod3,node cluster:80 = timeout"},
			{[]service{open("int-change", "18", internalLocal, "rpod1", "pod2")}, "pod3,node cluster:80 = pod2"},
		}},
	}
}

// choiceCases test the selection of endpoints.
func choiceCases() []testCase {
	return []testCase{
		{"hints by zone", []step{
			{[]service{open("zones", "21", nil, "pod1 zone=a", "rpod1 zone=b")}, "pod3,node,client cluster:80 = pod1\nclient nodeport:80 = pod1"},
			{[]service{open("zones", "21", nil, "pod1 zone=a", "rpod1")}, "pod3 cluster:80 = pod1 rpod1"},
			{[]service{open("zones", "21", nil, "pod1 zone=b", "rpod1 zone=c")}, "pod3 cluster:80 = pod1 rpod1"},
			{[]service{open("zones", "21", nil, "pod1 zone=b", "rpod1 zone=b,a", "pod2 unready")}, "pod3 cluster:80 = rpod1"},
		}},
		{"hints by node", []step{
			{[]service{plain("nodes", "pod1 zone=a node=node1", "pod2 zone=a node=node2", "rpod1 zone=a node=node2")}, "pod3,client cluster:80 = pod1"},
			{[]service{plain("nodes", "pod1 zone=b node=node3", "pod2 zone=a node=node2", "rpod1 zone=a node=node2")}, "pod3,client cluster:80 = pod2 rpod1"},
			{[]service{plain("nodes", "pod1 zone=a", "pod2 zone=a node=node1", "rpod1 zone=b node=node2")}, "pod3,client cluster:80 = pod1 pod2"},
		}},
		{"hints do not narrow external traffic that is local", one(`
			client nodeport:80 = pod1 pod2
			pod3 nodeport:80 = rpod1`, open("hints-local", "22", externalLocal, "pod1 zone=b", "pod2 zone=b", "rpod1 zone=a"))},
		{"terminating endpoints serve when no others do", []step{
			{[]service{plain("terminating", "pod1 terminating", "rpod1")}, "pod3,node cluster:80 = rpod1"},
			{[]service{plain("terminating", "pod1 terminating", "rpod1 unready")}, "pod3,node cluster:80 = pod1"},
			{[]service{plain("terminating", "pod1 terminating", "rpod1 terminating")}, "pod3,node cluster:80 = pod1 rpod1"},
			{[]service{plain("terminating", "pod1 dead", "rpod1 unready")}, "pod3,node cluster:80 = refused"},
		}},
		{"terminating endpoints serve local traffic", one(`
			client nodeport:80 = pod1 src=self
			pod3 nodeport:80 = rpod1
			client health:80 = 503`, open("terminating-local", "23", externalLocal, "pod1 terminating", "rpod1"))},
		{"published endpoints serve though not ready", one(`pod3,node cluster:80 = pod1`, plain("published", "pod1 published"))},
		{"slices of one port with different numbers", one(`pod3,node cluster:80 = pod1:8080 pod2:8081 rpod1:8081`,
			service{name: "numbers", ports: []string{"web:80/tcp", "dns:80/udp"}, slices: []slice{
				{ports: []string{"web:8080/tcp", "dns:8080/udp"}, endpoints: []string{"pod1"}},
				{ports: []string{"web:8081/tcp", "dns:8081/udp"}, endpoints: []string{"pod2", "rpod1"}},
			}})},
		{"several ports", one(`
			pod3 cluster:80/tcp = pod1:8080
			pod3 cluster:443/tcp = pod1:8081`, service{name: "ports", ports: []string{"80/tcp", "443/tcp"}, slices: []slice{
			{ports: []string{"tcp80:8080/tcp", "tcp443:8081/tcp"}, endpoints: []string{"pod1"}}}})},
		{"a slice for a port of another name", one(`pod3,node cluster:80/tcp = refused`,
			service{name: "misnamed", ports: []string{"web:80/tcp"}, slices: []slice{{ports: []string{"wab:8080/tcp"}, endpoints: []string{"pod1"}}}})},
		{"hairpin", one(`
			pod1 cluster:80 = pod1 src=node
			pod1 nodeport:80 = pod1 src=node
			pod1 lb:80 = pod1 src=node`, open("hairpin", "24", nil, "pod1"))},
		{"hairpin with policies Local", one(`
			pod1 cluster:80 = pod1 src=node
			pod1 external:80 = pod1 src=node`, open("hairpin-local", "25", func(s *corev1.ServiceSpec) { externalLocal(s); internalLocal(s) }, "pod1"))},
		{"client affinity", []step{
			{[]service{with(plain("affinity", "pod1", "pod2", "rpod1"), func(s *service) { s.edit = affinity })}, "pod3,node,client cluster:80 = one pod1 pod2 rpod1"},
			{[]service{with(plain("affinity", "pod1", "rpod1"), func(s *service) { s.edit = affinity })}, "pod3,node,client cluster:80 = one pod1 rpod1"},
			{[]service{with(plain("affinity", "rpod1"), func(s *service) { s.edit = affinity })}, "pod3,node,client cluster:80 = rpod1"},
			{[]service{plain("affinity", "pod1", "rpod1")}, "pod3,node,client cluster:80 = pod1 rpod1"},
		}},
	}
}

// changeCases test objects that are created, changed and deleted.
func changeCases() []testCase {
	headless := plain("headless", "pod1")
	headless.slices = []slice{{endpoints: []string{"pod1"}, labels: map[string]string{"service.kubernetes.io/headless": ""}}}
	external := service{name: "type", kind: externalName, ports: tcpAndUDP(), slices: endpoints("pod1")}
	named := func(spec, target string) service {
		return service{name: "renamed", ports: []string{spec}, slices: []slice{{ports: []string{target}, endpoints: []string{"pod1"}}}}
	}
	two := service{name: "port-list", ports: []string{"80/tcp", "81/udp"}, slices: endpoints("pod1")}
	first, second := two, two
	first.ports, second.ports = two.ports[:1], two.ports[1:]
	split := service{name: "protocols", ports: tcpAndUDP(), slices: []slice{
		{ports: []string{"tcp80:8080/tcp"}, endpoints: []string{"pod1"}}, {ports: []string{"udp80:8080/udp"}, endpoints: []string{"pod2"}}}}
	tcpOnly := split
	tcpOnly.ports = split.ports[:1]
	return []testCase{
		{"a Service comes, goes and comes back", []step{
			{nil, ""},
			{[]service{open("coming", "31", nil, "pod1")}, "pod3,node cluster:80 = pod1\nclient nodeport:80 = pod1\nclient lb:80 = pod1"},
			{nil, "pod3,node coming/cluster:80 = timeout\nclient coming/nodeport:80 = refused\nclient coming/lb:80 = timeout"},
			{[]service{open("coming", "31", externalLocal, "pod2")}, "pod3,node cluster:80 = pod2\nclient nodeport:80 = pod2 src=self\nclient lb:80 = pod2"},
		}},
		{"slices come, change and go", []step{
			{[]service{plain("slices")}, "pod3 cluster:80 = refused"},
			{[]service{plain("slices", "pod1")}, "pod3 cluster:80 = pod1"},
			{[]service{plain("slices", "pod2", "rpod1")}, "pod3 cluster:80 = pod2 rpod1"},
			{[]service{with(plain("slices"), func(s *service) { s.slices = nil })}, "pod3 cluster:80 = refused"},
			{[]service{plain("slices", "rpod1")}, "pod3 cluster:80 = rpod1"},
		}},
		{"slices before their Service", []step{
			{[]service{with(plain("early", "pod1"), func(s *service) { s.kind = externalName })}, ""},
			{[]service{plain("early", "pod1")}, "pod3 cluster:80 = pod1"},
		}},
		{"a port is renamed", []step{
			{[]service{named("web:80/tcp", "web:8080/tcp")}, "pod3 cluster:80/tcp = pod1:8080"},
			{[]service{named("http:80/tcp", "web:8080/tcp")}, "pod3 cluster:80/tcp = refused"},
			{[]service{named("http:80/tcp", "http:8081/tcp")}, "pod3 cluster:80/tcp = pod1:8081"},
			{[]service{named("http:88/tcp", "http:8081/tcp")}, "pod3 cluster:88/tcp = pod1:8081\npod3 cluster:80/tcp = refused"},
		}},
		{"ports are added and removed", []step{
			{[]service{first}, "pod3 cluster:80/tcp = pod1\npod3 cluster:81/udp = refused"},
			{[]service{two}, "pod3 cluster:80/tcp = pod1\npod3 cluster:81/udp = pod1"},
			{[]service{second}, "pod3 cluster:80/tcp = refused\npod3 cluster:81/udp = pod1"},
		}},
		{"one of two protocols is removed", []step{
			{[]service{split}, "pod3,node cluster:80/tcp = pod1\npod3,node cluster:80/udp = pod2"},
			{[]service{tcpOnly}, "pod3,node cluster:80/tcp = pod1\npod3,node cluster:80/udp = refused"},
		}},
		{"the type changes", []step{
			{[]service{plain("type", "pod1")}, "pod3,node cluster:80 = pod1"},
			{[]service{external}, "pod3,node cluster:80 = timeout"},
			{[]service{with(plain("type", "pod1"), func(s *service) { s.kind = nodePort })}, "pod3,node cluster:80 = pod1\nclient nodeport:80 = pod1"},
			{[]service{plain("type", "pod1")}, "pod3,node cluster:80 = pod1\nclient nodeport:80 = refused"},
		}},
		{"label headless", []step{
			{[]service{plain("headless", "pod1")}, "pod3 cluster:80 = pod1"},
			{[]service{headless}, "pod3,node cluster:80 = refused"},
			{[]service{plain("headless", "pod1")}, "pod3 cluster:80 = pod1"},
		}},
		{"source ranges change", []step{
			{[]service{open("ranges-change", "32", nil, "pod1")}, "client,remote,pod3 lb:80 = pod1"},
			{[]service{open("ranges-change", "32", onlyClientRange, "pod1")}, "client lb:80 = pod1\nremote,pod3 lb:80 = timeout"},
			{[]service{open("ranges-change", "32", nil, "pod1")}, "client,remote,pod3 lb:80 = pod1"},
		}},
	}
}

// flowCases test connections that continue after a change.
func flowCases() []testCase {
	flow := func(list ...string) []service { return []service{open("flows", "41", nil, list...)} }
	return []testCase{
		{"established connections stay, datagram flows move on", []step{
			{flow("pod1"), "pod3,client,node ~cluster:80 = pod1\nclient ~nodeport:80 = pod1\nclient ~lb:80 = pod1"},
			{flow("pod2"), `
				pod3,client,node ~cluster:80/tcp = pod1
				client ~nodeport:80/tcp = pod1
				client ~lb:80/tcp = pod1
				pod3,client,node ~cluster:80/udp = pod2
				client ~nodeport:80/udp = pod2
				client ~lb:80/udp = pod2`},
			{flow("pod2", "pod1 unready"), "pod3,client,node ~cluster:80/tcp = pod1\npod3,client,node ~cluster:80/udp = pod2"},
		}},
		{"a datagram flow begun before the endpoints finds them", []step{
			{[]service{plain("late", "pod1 unready")}, "pod3 ~cluster:80/udp = refused"},
			{[]service{plain("late", "pod1")}, "pod3 ~cluster:80/udp = pod1"},
		}},
	}
}
