// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

type serviceCase struct {
	id       string
	change   func(*corev1.Service)
	want     func(*watchers.Service)
	problems []string // "field: message"
}

func testServices(t *testing.T, cases []serviceCase) {
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) {
			in := service(c.change)
			before := in.DeepCopy()
			want := &watchers.Service{Name: watchers.ServiceName{Namespace: "ns", Name: "web"},
				ClusterIP: netip.MustParseAddr("10.0.0.1"), ClusterIPs: addrs("10.0.0.1")}
			if c.want != nil {
				c.want(want)
			}
			got := stored(t, kubeapi.Service(in))
			require.Equal(t, c.problems, fieldMessages(t, "Service ns/"+in.Name, got.Problems))
			got.Problems = nil
			require.Equal(t, want, got)
			require.Equal(t, before, in, "IN-08: the API object is not modified")
		})
	}
}

func TestServiceClusterIPs(t *testing.T) {
	testServices(t, []serviceCase{
		{id: "IN-20 empty spec", change: func(s *corev1.Service) { s.Spec = corev1.ServiceSpec{} },
			want: func(s *watchers.Service) { s.ClusterIP, s.ClusterIPs = netip.Addr{}, nil }},
		{id: "IN-20 headless converts", change: func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} },
			want: func(s *watchers.Service) { s.ClusterIP, s.ClusterIPs = netip.Addr{}, addrs("") }},
		{id: "IN-21 families by index", change: func(s *corev1.Service) {
			s.Spec.ClusterIPs = []string{"10.0.0.1", "bad", "2001:db8::1"}
			s.Spec.IPFamilies = []corev1.IPFamily{"IPv4", "IPv5", "IPv6"}
		}, want: func(s *watchers.Service) {
			s.ClusterIPs, s.IPFamilies = addrs("10.0.0.1", "", "2001:db8::1"), []watchers.IPFamily{4, 0, 6}
		}, problems: []string{`spec.clusterIPs[1]: "bad" is not an IP address; ignored`, `spec.ipFamilies[1]: "IPv5" is not IPv4 or IPv6; ignored`}},
		{id: "IN-21 more families than cluster IPs", change: func(s *corev1.Service) {
			s.Spec.IPFamilies = []corev1.IPFamily{"IPv4", "IPv6"}
		}, want: func(s *watchers.Service) { s.IPFamilies = []watchers.IPFamily{4, 6} },
			problems: []string{"spec.ipFamilies[1]: has no address in spec.clusterIPs[1]; ignored"}},
		{id: "IN-21 family without clusterIPs", change: func(s *corev1.Service) {
			s.Spec.ClusterIPs, s.Spec.IPFamilies = nil, []corev1.IPFamily{"IPv4"}
		}, want: func(s *watchers.Service) { s.ClusterIPs, s.IPFamilies = nil, []watchers.IPFamily{4} },
			problems: []string{"spec.ipFamilies[0]: has no address in spec.clusterIPs[0]; ignored"}},
		{id: "IN-21 more cluster IPs than families", change: func(s *corev1.Service) {
			s.Spec.ClusterIPs, s.Spec.IPFamilies = []string{"10.0.0.1", "2001:db8::1"}, []corev1.IPFamily{"IPv4"}
		}, want: func(s *watchers.Service) {
			s.ClusterIPs, s.IPFamilies = addrs("10.0.0.1", "2001:db8::1"), []watchers.IPFamily{4}
		}, problems: []string{"spec.clusterIPs[1]: has no family in spec.ipFamilies[1]; ignored"}},
		{id: "IN-21 no families", change: func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.0.0.1", "2001:db8::1"} },
			want: func(s *watchers.Service) { s.ClusterIPs = addrs("10.0.0.1", "2001:db8::1") }, problems: []string{"spec.clusterIPs[1]: has no family in spec.ipFamilies[1]; ignored"}},
		{id: "IN-21 headless with two families", change: func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.IPFamilies = "None", []string{"None"}, []corev1.IPFamily{"IPv4", "IPv6"}
		}, want: func(s *watchers.Service) {
			s.ClusterIP, s.ClusterIPs, s.IPFamilies = netip.Addr{}, addrs(""), []watchers.IPFamily{4, 6}
		}},
		{id: "IN-33 cluster IP with leading zeros", change: func(s *corev1.Service) { s.Spec.ClusterIP = "010.0.0.001" }},
	})
}

func TestServicePortsAndPolicies(t *testing.T) {
	testServices(t, []serviceCase{
		{id: "IN-20 ExternalName converts", change: func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName },
			want: func(s *watchers.Service) { s.Type = watchers.TypeExternalName }},
		{id: "IN-23 IN-26 ports", change: func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Port: 80}, {Name: "dns", Protocol: "UDP", Port: 53, NodePort: 30053}, {Name: "s", Protocol: "SCTP", Port: 53}}
		}, want: func(s *watchers.Service) {
			s.Ports = []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80}, {Name: "dns", Protocol: localsink.ProtocolUDP, Port: 53, NodePort: 30053},
				{Name: "s", Protocol: localsink.ProtocolSCTP, Port: 53}}
		}},
		{id: "IN-26 invalid ports", change: func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Port: 0}, {Port: 65536}, {Port: -1}, {Protocol: "DCCP", Port: 1}, {Port: 65535, NodePort: 70000}}
		}, want: func(s *watchers.Service) {
			s.Ports = []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 65535}}
		}, problems: []string{
			"spec.ports[0].port: 0 is out of range 1-65535; the port is ignored",
			"spec.ports[1].port: 65536 is out of range 1-65535; the port is ignored",
			"spec.ports[2].port: -1 is out of range 1-65535; the port is ignored",
			`spec.ports[3].protocol: "DCCP" is not TCP, UDP or SCTP; the port is ignored`,
			"spec.ports[4].nodePort: 70000 is out of range 1-65535; ignored"}},
		{id: "IN-27 affinity without config", change: func(s *corev1.Service) { s.Spec.SessionAffinity = "ClientIP" },
			want: func(s *watchers.Service) { s.Affinity = 10800 * time.Second }},
		{id: "IN-27 affinity without timeout", change: func(s *corev1.Service) {
			s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = "ClientIP", &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{}}
		}, want: func(s *watchers.Service) { s.Affinity = 10800 * time.Second }},
		{id: "IN-27 affinity with timeout", change: func(s *corev1.Service) {
			s.Spec.SessionAffinity = "ClientIP"
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(7))}}
		}, want: func(s *watchers.Service) { s.Affinity = 7 * time.Second }},
		{id: "IN-27 affinity with invalid timeout", change: func(s *corev1.Service) {
			s.Spec.SessionAffinity = "ClientIP"
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(-7))}}
		}, want: func(s *watchers.Service) { s.Affinity = 10800 * time.Second },
			problems: []string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds: -7 is out of range 1-86400; treated as 10800"}},
		{id: "IN-27 unknown affinity", change: func(s *corev1.Service) { s.Spec.SessionAffinity = "Cookie" },
			problems: []string{`spec.sessionAffinity: "Cookie" is not None or ClientIP; treated as None`}},
		{id: "IN-28 policies", change: func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalTrafficPolicy, s.Spec.InternalTrafficPolicy = "NodePort", "Local", new(corev1.ServiceInternalTrafficPolicyLocal)
		}, want: func(s *watchers.Service) {
			s.Type, s.ExternalPolicy, s.InternalPolicy = watchers.TypeNodePort, watchers.PolicyLocal, watchers.PolicyLocal
		}},
		{id: "IN-28 unknown type and policy", change: func(s *corev1.Service) { s.Spec.Type, s.Spec.ExternalTrafficPolicy = "Mesh", "Near" },
			problems: []string{`spec.type: "Mesh" is not a Service type; treated as ClusterIP`, `spec.externalTrafficPolicy: "Near" is not Cluster or Local; treated as Cluster`}},
		{id: "IN-32 health check port", change: func(s *corev1.Service) { s.Spec.Type, s.Spec.HealthCheckNodePort = "LoadBalancer", 31000 },
			want: func(s *watchers.Service) { s.Type, s.HealthCheckNodePort = watchers.TypeLoadBalancer, 31000 }},
		{id: "IN-32 invalid health check port", change: func(s *corev1.Service) { s.Spec.HealthCheckNodePort = -1 },
			problems: []string{"spec.healthCheckNodePort: -1 is out of range 1-65535; ignored"}},
	})
}

func TestServiceExternalAddresses(t *testing.T) {
	const ingress = "status.loadBalancer.ingress"
	testServices(t, []serviceCase{
		{id: "IN-29 external IPs", change: func(s *corev1.Service) {
			s.Spec.ExternalIPs = []string{"", "x", " 192.0.2.1 ", "   ", "2001:db8::9"}
		}, want: func(s *watchers.Service) { s.ExternalIPs = addrs("192.0.2.1", "2001:db8::9") },
			problems: []string{`spec.externalIPs[1]: "x" is not an IP address; ignored`}},
		{id: "IN-30 source ranges", change: func(s *corev1.Service) {
			s.Spec.LoadBalancerSourceRanges = []string{" 10.0.0.0/8 ", "", "10.0.0.1", "::/0"}
		}, want: func(s *watchers.Service) {
			s.HasSourceRanges, s.HasInvalidSourceRanges, s.SourceRanges = true, true, prefixes("10.0.0.0/8", "::/0")
		},
			problems: []string{`spec.loadBalancerSourceRanges[2]: "10.0.0.1" is not a network in CIDR notation; ignored`}},
		{id: "IN-30 only invalid ranges still restrict", change: func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"x"} },
			want:     func(s *watchers.Service) { s.HasSourceRanges, s.HasInvalidSourceRanges = true, true },
			problems: []string{`spec.loadBalancerSourceRanges[0]: "x" is not a network in CIDR notation; ignored`}},
		{id: "IN-30 blank ranges are ignored", change: func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{" "} }},
		{id: "IN-31 ingress", change: func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {Hostname: "lb.example"},
				{IP: "192.0.2.2", IPMode: new(corev1.LoadBalancerIPModeVIP)}, {IP: "192.0.2.3", IPMode: new(corev1.LoadBalancerIPModeProxy)},
				{IP: "192.0.2.4", IPMode: new(corev1.LoadBalancerIPMode("Odd"))}, {IP: "y"}}
		}, want: func(s *watchers.Service) {
			ips := addrs("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
			s.Ingress = []watchers.Ingress{{IP: ips[0]}, {IP: ips[1]}, {IP: ips[2], Proxy: true}, {IP: ips[3], Proxy: true}}
		}, problems: []string{ingress + `[4].ipMode: "Odd" is not VIP or Proxy; treated as Proxy`, ingress + `[5].ip: "y" is not an IP address; ignored`}},
	})
}

func TestServiceMetadata(t *testing.T) {
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	testServices(t, []serviceCase{
		{id: "creation time", change: func(s *corev1.Service) { s.CreationTimestamp = metav1.NewTime(created) },
			want: func(s *watchers.Service) { s.Created = created }},
		{id: "IN-34 name begins with a digit", change: func(s *corev1.Service) { s.Name = "1web" },
			want: func(s *watchers.Service) { s.Name.Name = "1web" }},
		{id: "IN-25 ignored fields", change: func(s *corev1.Service) {
			s.Spec.LoadBalancerIP, s.Spec.PublishNotReadyAddresses, s.Spec.TrafficDistribution = "x", true, new("PreferClose")
			s.Spec.LoadBalancerClass, s.ManagedFields = new("c"), []metav1.ManagedFieldsEntry{{}}
		}},
	})
}
