// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func TestFilter(t *testing.T) {
	const proxyName, headless = kubeapi.LabelProxyName, corev1.IsHeadlessService
	services := []struct {
		id        string
		proxyName string // "*" for all
		labels    map[string]string
		clusterIP string
		want      bool
	}{
		{"IN-01 ordinary", "", nil, "10.0.0.1", true},
		{"IN-01 labelled", "", map[string]string{proxyName: "other"}, "10.0.0.1", false},
		{"IN-01 labelled empty", "", map[string]string{proxyName: ""}, "10.0.0.1", false},
		{"IN-01 headless", "", nil, "None", false},
		{"IN-01 no cluster IP yet", "", nil, "", true},
		{"IN-01 ours", "mine", map[string]string{proxyName: "mine"}, "10.0.0.1", true},
		{"IN-01 ours, headless", "mine", map[string]string{proxyName: "mine"}, "None", false},
		{"IN-01 of another", "mine", map[string]string{proxyName: "other"}, "10.0.0.1", false},
		{"IN-01 of the ordinary proxy", "mine", nil, "10.0.0.1", false},
		{"IN-01 all, ordinary", "*", nil, "10.0.0.1", true},
		{"IN-01 all, labelled", "*", map[string]string{proxyName: "other"}, "10.0.0.1", true},
		{"IN-01 all, labelled empty", "*", map[string]string{proxyName: ""}, "10.0.0.1", true},
		{"IN-01 all, headless", "*", nil, "None", false},
	}
	for _, c := range services {
		t.Run(c.id, func(t *testing.T) {
			f := kubeapi.Filter{ProxyName: c.proxyName}
			if c.proxyName == "*" {
				f = kubeapi.Filter{AllProxies: true}
			}
			s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Labels: c.labels}, Spec: corev1.ServiceSpec{ClusterIP: c.clusterIP}}
			require.Equal(t, c.want, f.Service(s))
			if c.clusterIP != "None" && !f.AllProxies {
				require.Equal(t, c.want, kubeapi.Service(s).IsFor(c.proxyName), "the fact says the same as the filter")
			}

			byLabel, err := labels.Parse(f.ServiceLabels())
			require.NoError(t, err)
			byField, err := fields.ParseSelector(f.ServiceFields())
			require.NoError(t, err)
			selected := byLabel.Matches(labels.Set(c.labels)) && byField.Matches(fields.Set{"spec.clusterIP": c.clusterIP})
			require.Equal(t, c.want, selected, "the selectors say the same as the predicate")
		})
	}
	for id, c := range map[string]struct {
		labels map[string]string
		want   bool
	}{
		"IN-02 ordinary":             {nil, true},
		"IN-02 headless":             {map[string]string{headless: ""}, false},
		"IN-02 proxy name no matter": {map[string]string{proxyName: "other"}, true},
	} {
		t.Run(id, func(t *testing.T) {
			var f kubeapi.Filter
			require.Equal(t, c.want, f.EndpointSlice(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Labels: c.labels}}))
			byLabel, err := labels.Parse(f.EndpointSliceLabels())
			require.NoError(t, err)
			require.Equal(t, c.want, byLabel.Matches(labels.Set(c.labels)))
		})
	}
	require.NoError(t, kubeapi.Filter{ProxyName: "mine"}.Validate())
	require.ErrorContains(t, kubeapi.Filter{ProxyName: "not, one"}.Validate(), `"not, one"`)
	require.NoError(t, kubeapi.Filter{AllProxies: true}.Validate())
	require.ErrorContains(t, kubeapi.Filter{ProxyName: "mine", AllProxies: true}.Validate(), `"mine"`)
}

func TestFact(t *testing.T) {
	var f kubeapi.Filter
	t.Run("IN-01 not for this proxy", func(t *testing.T) {
		fact, err := f.Object(service(func(s *corev1.Service) { s.Spec.ClusterIP = "None" }))
		require.NoError(t, err)
		require.Nil(t, fact)
	})
	t.Run("IN-40 a slice of no Service", func(t *testing.T) {
		for _, labels := range []map[string]string{nil, {discoveryv1.LabelServiceName: ""}} {
			fact, err := f.Object(slice(func(s *discoveryv1.EndpointSlice) { s.Labels = labels }))
			require.ErrorContains(t, err, "EndpointSlice ns/web-1: metadata.labels: kubernetes.io/service-name is missing")
			require.Nil(t, fact)
		}
	})
	t.Run("IN-40 a slice without namespace or name", func(t *testing.T) {
		for _, m := range []metav1.ObjectMeta{{Name: "a"}, {Namespace: "a"}} {
			m.Labels = slice(nil).Labels
			_, err := f.Object(&discoveryv1.EndpointSlice{ObjectMeta: m})
			require.ErrorContains(t, err, "namespace or name is missing")
		}
	})
	t.Run("IN-07 objects of other kinds", func(t *testing.T) {
		for _, object := range []any{&corev1.Pod{}, &corev1.Endpoints{}, 7, nil} {
			fact, err := f.Object(object)
			require.ErrorContains(t, err, "is no Service, EndpointSlice, Node or ServiceCIDR")
			require.Nil(t, fact)
		}
	})
	t.Run("IN-07 nil objects", func(t *testing.T) {
		for _, object := range []any{(*corev1.Service)(nil), (*discoveryv1.EndpointSlice)(nil), (*corev1.Node)(nil), (*networkingv1.ServiceCIDR)(nil)} {
			fact, err := f.Object(object)
			require.NoError(t, err)
			require.Nil(t, fact)
		}
	})

	store := watchers.NewStore()
	for _, object := range []any{service(nil), slice(nil), node(nil)} {
		fact, err := f.Object(object)
		require.NoError(t, err)
		store.Update(func(tx *watchers.Tx) {
			key := tx.Set(fact)
			tx.Retain(key.Kind, func(k watchers.Key) bool { return k == key })
		})
	}
	require.Equal(t, 3, store.Snapshot().Len(), "Set returns the keys of the store")
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", " 10.0.0.1\t": "10.0.0.1", "172.30.0.041": "172.30.0.41", "010.180.00.001": "10.180.0.1",
		"000.0000.0.9": "0.0.0.9", "::ffff:10.0.0.1": "10.0.0.1", "::ffff:010.0.0.08": "10.0.0.8", "2001:DB8::1": "2001:db8::1",
		"::ffff:a00:1": "10.0.0.1",
		"":             "", "10.0.0": "", "10.0.0.256": "", "fe80::1%eth0": "", "None": "", "1.2.3.-4": "", "1..2.3": "", "::ffff:1.2.3": "",
	} {
		t.Run("IN-33 "+in, func(t *testing.T) {
			a, ok := kubeapi.ParseAddr(in)
			require.Equal(t, want != "", ok)
			if ok {
				require.Equal(t, want, a.String())
			}
		})
	}
	for in, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "203.0.113.000/025": "203.0.113.0/25", "10.1.2.3/16": "10.1.0.0/16", " 0.0.0.0/0 ": "0.0.0.0/0",
		"::ffff:10.1.2.3/104": "10.0.0.0/8", "2001:db8::1/32": "2001:db8::/32", "::/0": "::/0", "10.0.0.0/00": "0.0.0.0/0",
		"::ffff:10.1.2.3/24": "", "10.0.0.0": "", "10.0.0.0/33": "", "10.0.0.0/-1": "", "10.0.0.0/": "", "10.0.0.0 /8": "", "/8": "", "": "",
	} {
		t.Run("IN-33 "+in, func(t *testing.T) {
			p, ok := kubeapi.ParsePrefix(in)
			require.Equal(t, want != "", ok)
			if ok {
				require.Equal(t, want, p.String())
			}
		})
	}
}

func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func slice(change func(*discoveryv1.EndpointSlice)) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(80))}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func node(change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if change != nil {
		change(n)
	}
	return n
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		a, _ := netip.ParseAddr(s)
		out = append(out, a)
	}
	return out
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestService(t *testing.T) {
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	type spec = corev1.ServiceSpec
	const sees = "status.loadBalancer.ingress"
	cases := []struct {
		id       string
		change   func(*corev1.Service)
		want     func(*watchers.Service)
		problems []string // "field: message"
	}{
		{id: "IN-20 bare", change: func(s *corev1.Service) { s.Spec = spec{} },
			want: func(s *watchers.Service) { s.ClusterIP, s.ClusterIPs = netip.Addr{}, nil }},
		{id: "created", change: func(s *corev1.Service) { s.CreationTimestamp = metav1.NewTime(created) },
			want: func(s *watchers.Service) { s.Created = created }},
		{id: "IN-20 headless converts", change: func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} },
			want: func(s *watchers.Service) { s.ClusterIP, s.ClusterIPs = netip.Addr{}, addrs("") }},
		{id: "IN-20 ExternalName converts", change: func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName },
			want: func(s *watchers.Service) { s.Type = watchers.TypeExternalName }},
		{id: "IN-21 families by index", change: func(s *corev1.Service) {
			s.Spec.ClusterIPs = []string{"10.0.0.1", "bad", "2001:db8::1"}
			s.Spec.IPFamilies = []corev1.IPFamily{"IPv4", "IPv5", "IPv6"}
		}, want: func(s *watchers.Service) {
			s.ClusterIPs, s.IPFamilies = addrs("10.0.0.1", "", "2001:db8::1"), []watchers.IPFamily{4, 0, 6}
		}, problems: []string{`spec.clusterIPs[1]: "bad" is not an IP address; ignored`, `spec.ipFamilies[1]: "IPv5" is not an IP family; ignored`}},
		{id: "IN-21 more families than cluster IPs", change: func(s *corev1.Service) {
			s.Spec.IPFamilies = []corev1.IPFamily{"IPv4", "IPv6"}
		}, want: func(s *watchers.Service) { s.IPFamilies = []watchers.IPFamily{4, 6} },
			problems: []string{"spec.ipFamilies[1]: has no address in spec.clusterIPs[1]; ignored"}},
		{id: "IN-21 a family and no list of cluster IPs", change: func(s *corev1.Service) {
			s.Spec.ClusterIPs, s.Spec.IPFamilies = nil, []corev1.IPFamily{"IPv4"}
		}, want: func(s *watchers.Service) { s.ClusterIPs, s.IPFamilies = nil, []watchers.IPFamily{4} },
			problems: []string{"spec.ipFamilies[0]: has no address in spec.clusterIPs[0]; ignored"}},
		{id: "IN-21 more cluster IPs than families", change: func(s *corev1.Service) {
			s.Spec.ClusterIPs, s.Spec.IPFamilies = []string{"10.0.0.1", "2001:db8::1"}, []corev1.IPFamily{"IPv4"}
		}, want: func(s *watchers.Service) {
			s.ClusterIPs, s.IPFamilies = addrs("10.0.0.1", "2001:db8::1"), []watchers.IPFamily{4}
		}, problems: []string{"spec.clusterIPs[1]: has no family in spec.ipFamilies[1]; ignored"}},
		{id: "IN-21 no families at all", change: func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.0.0.1", "2001:db8::1"} },
			want: func(s *watchers.Service) { s.ClusterIPs = addrs("10.0.0.1", "2001:db8::1") }},
		{id: "IN-21 headless in two families", change: func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.IPFamilies = "None", []string{"None"}, []corev1.IPFamily{"IPv4", "IPv6"}
		}, want: func(s *watchers.Service) {
			s.ClusterIP, s.ClusterIPs, s.IPFamilies = netip.Addr{}, addrs(""), []watchers.IPFamily{4, 6}
		}},
		{id: "IN-23 IN-26 ports", change: func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Port: 80}, {Name: "dns", Protocol: "UDP", Port: 53, NodePort: 30053}, {Name: "s", Protocol: "SCTP", Port: 53}}
		}, want: func(s *watchers.Service) {
			s.Ports = []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80}, {Name: "dns", Protocol: localsink.ProtocolUDP, Port: 53, NodePort: 30053},
				{Name: "s", Protocol: localsink.ProtocolSCTP, Port: 53}}
		}},
		{id: "IN-26 bad ports", change: func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Port: 0}, {Port: 65536}, {Port: -1}, {Protocol: "DCCP", Port: 1}, {Port: 65535, NodePort: 70000}}
		}, want: func(s *watchers.Service) {
			s.Ports = []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 65535}}
		}, problems: []string{
			"spec.ports[0].port: 0 is not a port number from 1 to 65535; the port is ignored",
			"spec.ports[1].port: 65536 is not a port number from 1 to 65535; the port is ignored",
			"spec.ports[2].port: -1 is not a port number from 1 to 65535; the port is ignored",
			`spec.ports[3].protocol: "DCCP" is not a protocol that Services can have; the port is ignored`,
			"spec.ports[4].nodePort: 70000 is not a port number from 1 to 65535; ignored"}},
		{id: "IN-27 affinity defaults", change: func(s *corev1.Service) { s.Spec.SessionAffinity = "ClientIP" },
			want: func(s *watchers.Service) { s.Affinity = 10800 * time.Second }},
		{id: "IN-27 affinity nil timeout", change: func(s *corev1.Service) {
			s.Spec.SessionAffinity, s.Spec.SessionAffinityConfig = "ClientIP", &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{}}
		}, want: func(s *watchers.Service) { s.Affinity = 10800 * time.Second }},
		{id: "IN-27 affinity set", change: func(s *corev1.Service) {
			s.Spec.SessionAffinity = "ClientIP"
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(7))}}
		}, want: func(s *watchers.Service) { s.Affinity = 7 * time.Second }},
		{id: "IN-27 affinity wrong", change: func(s *corev1.Service) {
			s.Spec.SessionAffinity = "ClientIP"
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(-7))}}
		}, want: func(s *watchers.Service) { s.Affinity = 10800 * time.Second },
			problems: []string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds: -7 is not a number of seconds from 1 to 86400; taken as 10800"}},
		{id: "IN-27 affinity unknown", change: func(s *corev1.Service) { s.Spec.SessionAffinity = "Cookie" },
			problems: []string{`spec.sessionAffinity: "Cookie" is not a session affinity; taken as None`}},
		{id: "IN-28 policies", change: func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalTrafficPolicy, s.Spec.InternalTrafficPolicy = "NodePort", "Local", new(corev1.ServiceInternalTrafficPolicyLocal)
		}, want: func(s *watchers.Service) {
			s.Type, s.ExternalPolicy, s.InternalPolicy = watchers.TypeNodePort, watchers.PolicyLocal, watchers.PolicyLocal
		}},
		{id: "IN-28 policies unknown", change: func(s *corev1.Service) { s.Spec.Type, s.Spec.ExternalTrafficPolicy = "Mesh", "Near" },
			problems: []string{`spec.type: "Mesh" is not a type of Service; taken as ClusterIP`, `spec.externalTrafficPolicy: "Near" is not a traffic policy; taken as Cluster`}},
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
		{id: "IN-30 only wrong ones still restrict", change: func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"x"} },
			want:     func(s *watchers.Service) { s.HasSourceRanges, s.HasInvalidSourceRanges = true, true },
			problems: []string{`spec.loadBalancerSourceRanges[0]: "x" is not a network in CIDR notation; ignored`}},
		{id: "IN-30 blanks are nothing", change: func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{" "} }},
		{id: "IN-31 ingress", change: func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {Hostname: "lb.example"},
				{IP: "192.0.2.2", IPMode: new(corev1.LoadBalancerIPModeVIP)}, {IP: "192.0.2.3", IPMode: new(corev1.LoadBalancerIPModeProxy)},
				{IP: "192.0.2.4", IPMode: new(corev1.LoadBalancerIPMode("Odd"))}, {IP: "y"}}
		}, want: func(s *watchers.Service) {
			ips := addrs("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
			s.Ingress = []watchers.Ingress{{IP: ips[0]}, {IP: ips[1]}, {IP: ips[2], Proxy: true}, {IP: ips[3], Proxy: true}}
		}, problems: []string{sees + `[4].ipMode: "Odd" is not an IP mode; taken as Proxy`, sees + `[5].ip: "y" is not an IP address; ignored`}},
		{id: "IN-32 health check port", change: func(s *corev1.Service) { s.Spec.Type, s.Spec.HealthCheckNodePort = "LoadBalancer", 31000 },
			want: func(s *watchers.Service) { s.Type, s.HealthCheckNodePort = watchers.TypeLoadBalancer, 31000 }},
		{id: "IN-32 health check port wrong", change: func(s *corev1.Service) { s.Spec.HealthCheckNodePort = -1 },
			problems: []string{"spec.healthCheckNodePort: -1 is not a port number from 1 to 65535; ignored"}},
		{id: "IN-33 sloppy", change: func(s *corev1.Service) { s.Spec.ClusterIP = "010.0.0.001" }},
		{id: "IN-34 name begins with a digit", change: func(s *corev1.Service) { s.Name = "1web" },
			want: func(s *watchers.Service) { s.Name.Name = "1web" }},
		{id: "IN-25 fields that are not read", change: func(s *corev1.Service) {
			s.Spec.LoadBalancerIP, s.Spec.PublishNotReadyAddresses, s.Spec.TrafficDistribution = "x", true, new("PreferClose")
			s.Spec.LoadBalancerClass, s.ManagedFields = new("c"), []metav1.ManagedFieldsEntry{{}}
		}},
	}
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) {
			in := service(c.change)
			before := in.DeepCopy()
			want := &watchers.Service{Name: watchers.ServiceName{Namespace: "ns", Name: "web"},
				ClusterIP: netip.MustParseAddr("10.0.0.1"), ClusterIPs: addrs("10.0.0.1")}
			if c.want != nil {
				c.want(want)
			}
			got := kubeapi.Service(in)
			require.Equal(t, c.problems, fieldMessages(t, "Service ns/"+in.Name, got.Problems))
			got.Problems = nil
			require.Equal(t, want, got)
			require.Equal(t, before, in, "IN-08: the object is not written to")
		})
	}
}

func fieldMessages(t *testing.T, object string, problems []watchers.Problem) (out []string) {
	t.Helper()
	for _, p := range problems {
		require.Equal(t, object, p.Object)
		out = append(out, p.Field+": "+p.Message)
	}
	return out
}

func TestEndpointSlice(t *testing.T) {
	type endpoint = discoveryv1.Endpoint
	at := func(addresses ...string) endpoint { return endpoint{Addresses: addresses} }
	ready := func(addr string) watchers.Endpoint {
		return watchers.Endpoint{Addr: netip.MustParseAddr(addr), Ready: true, Serving: true}
	}
	cases := []struct {
		id       string
		change   func(*discoveryv1.EndpointSlice)
		want     func(*watchers.EndpointSlice)
		problems []string
	}{
		{id: "IN-40 plain"},
		{id: "IN-41 IPv6", change: func(s *discoveryv1.EndpointSlice) {
			s.AddressType, s.Endpoints = "IPv6", []endpoint{at("2001:db8::1"), at("10.1.0.1"), at("::ffff:10.1.0.1")}
		}, want: func(s *watchers.EndpointSlice) {
			s.Family, s.Endpoints = 6, []watchers.Endpoint{ready("2001:db8::1")}
		}, problems: []string{`endpoints[1].addresses[0]: "10.1.0.1" is not an IPv6 address; the endpoint is ignored`,
			`endpoints[2].addresses[0]: "::ffff:10.1.0.1" is not an IPv6 address; the endpoint is ignored`}},
		{id: "IN-41 FQDN", change: func(s *discoveryv1.EndpointSlice) { s.AddressType = "FQDN" },
			want:     func(s *watchers.EndpointSlice) { s.Family, s.Ports, s.Endpoints = 0, nil, nil },
			problems: []string{`addressType: "FQDN" is not a type of IP addresses; the slice is ignored`}},
		{id: "IN-42 ports", change: func(s *discoveryv1.EndpointSlice) {
			s.Ports = []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(1))}, {Port: new(int32(2))}, {Name: new("nil")}, {Name: new("zero"), Port: new(int32(0))},
				{Name: new("big"), Port: new(int32(65536))}, {Name: new("odd"), Protocol: new(corev1.Protocol("ICMP")), Port: new(int32(3))},
				{Name: new("u"), Protocol: new(corev1.ProtocolUDP), Port: new(int32(4))}}
		}, want: func(s *watchers.EndpointSlice) {
			s.Ports = []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 1}, {Name: "u", Protocol: localsink.ProtocolUDP, Port: 4}}
		}, problems: []string{
			"ports[1].name: is missing; the port is ignored",
			"ports[2].port: 0 is not a port number from 1 to 65535; the port is ignored",
			"ports[3].port: 0 is not a port number from 1 to 65535; the port is ignored",
			"ports[4].port: 65536 is not a port number from 1 to 65535; the port is ignored",
			`ports[5].protocol: "ICMP" is not a protocol that Services can have; the port is ignored`}},
		{id: "IN-43 addresses", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints = []endpoint{at(), at("10.1.0.1", "10.1.0.2", "junk"), at("junk", "10.1.0.3"), at("")}
		}, problems: []string{"endpoints[0].addresses: is empty; the endpoint is ignored",
			`endpoints[2].addresses[0]: "junk" is not an IPv4 address; the endpoint is ignored`,
			`endpoints[3].addresses[0]: "" is not an IPv4 address; the endpoint is ignored`}},
		{id: "IN-42 no ports", change: func(s *discoveryv1.EndpointSlice) { s.Ports = nil },
			want:     func(s *watchers.EndpointSlice) { s.Ports = nil },
			problems: []string{"ports: is empty; the endpoints of the slice get no connections"}},
		{id: "IN-42 neither ports nor endpoints", change: func(s *discoveryv1.EndpointSlice) { s.Ports, s.Endpoints = nil, nil },
			want: func(s *watchers.EndpointSlice) { s.Ports, s.Endpoints = nil, nil }},
		{id: "IN-43 addresses that lead to no endpoint", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints = []endpoint{at("127.0.0.1"), at("0.0.0.0"), at("224.0.0.1"), at("10.1.0.1"), at("239.1.2.3")}
		}, problems: []string{`endpoints[0].addresses[0]: "127.0.0.1" cannot be an address of an endpoint; the endpoint is ignored`,
			`endpoints[1].addresses[0]: "0.0.0.0" cannot be an address of an endpoint; the endpoint is ignored`,
			`endpoints[2].addresses[0]: "224.0.0.1" cannot be an address of an endpoint; the endpoint is ignored`,
			`endpoints[4].addresses[0]: "239.1.2.3" cannot be an address of an endpoint; the endpoint is ignored`}},
		{id: "IN-43 IPv6 addresses that lead to no endpoint", change: func(s *discoveryv1.EndpointSlice) {
			s.AddressType, s.Endpoints = "IPv6", []endpoint{at("::1"), at("::"), at("ff02::1"), at("2001:db8::1")}
		}, want: func(s *watchers.EndpointSlice) {
			s.Family, s.Endpoints = 6, []watchers.Endpoint{ready("2001:db8::1")}
		}, problems: []string{`endpoints[0].addresses[0]: "::1" cannot be an address of an endpoint; the endpoint is ignored`,
			`endpoints[1].addresses[0]: "::" cannot be an address of an endpoint; the endpoint is ignored`,
			`endpoints[2].addresses[0]: "ff02::1" cannot be an address of an endpoint; the endpoint is ignored`}},
		{id: "IN-33 addresses", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints = []endpoint{at("010.001.0.1"), at("::ffff:10.1.0.2")}
		}, want: func(s *watchers.EndpointSlice) {
			s.Endpoints = []watchers.Endpoint{ready("10.1.0.1"), ready("10.1.0.2")}
		}},
		{id: "IN-44 node", change: func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].NodeName = new("n1") },
			want: func(s *watchers.EndpointSlice) { s.Endpoints[0].Node = "n1" }},
		{id: "IN-45 IN-46 conditions", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: new(true), Serving: new(false), Terminating: new(true)}
		}, want: func(s *watchers.EndpointSlice) { s.Endpoints[0].Serving, s.Endpoints[0].Terminating = false, true }},
		{id: "IN-47 hints", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints[0].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}, {Name: "b"}}, ForNodes: []discoveryv1.ForNode{{Name: "n"}}}
		}, want: func(s *watchers.EndpointSlice) {
			s.Endpoints[0].Hints = &watchers.Hints{Zones: []string{"a", "b"}, Nodes: []string{"n"}}
		}},
		{id: "IN-47 no hints", change: func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Hints = &discoveryv1.EndpointHints{} }},
		{id: "IN-49 duplicates are kept in order", change: func(s *discoveryv1.EndpointSlice) {
			s.Endpoints = append(s.Endpoints, s.Endpoints[0])
		}, want: func(s *watchers.EndpointSlice) { s.Endpoints = append(s.Endpoints, s.Endpoints[0]) }},
		{id: "IN-55 trigger time", change: func(s *discoveryv1.EndpointSlice) {
			s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-01-02T03:04:05.000000006Z"}
		}, want: func(s *watchers.EndpointSlice) { s.TriggerTime = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) }},
		{id: "IN-55 trigger time wrong", change: func(s *discoveryv1.EndpointSlice) {
			s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: "yesterday"}
		}},
	}
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) {
			in := slice(c.change)
			before := in.DeepCopy()
			want := &watchers.EndpointSlice{Namespace: "ns", Name: "web-1", Service: watchers.ServiceName{Namespace: "ns", Name: "web"}, Family: 4,
				Ports:     []watchers.EndpointPort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}},
				Endpoints: []watchers.Endpoint{ready("10.1.0.1")}}
			if c.want != nil {
				c.want(want)
			}
			got, err := kubeapi.EndpointSlice(in)
			require.NoError(t, err)
			require.Equal(t, c.problems, fieldMessages(t, "EndpointSlice ns/web-1", got.Problems))
			got.Problems = nil
			require.Equal(t, want, got)
			require.Equal(t, before, in, "IN-08: the object is not written to")
		})
	}
}

func TestNode(t *testing.T) {
	now := metav1.Now()
	type address = corev1.NodeAddress
	cases := []struct {
		id       string
		change   func(*corev1.Node)
		want     watchers.Node
		problems []string
	}{
		{id: "IN-61 addresses", change: func(n *corev1.Node) {
			n.Status.Addresses = []address{{Type: "Hostname", Address: "n1"}, {Type: "ExternalIP", Address: "192.0.2.1"}, {Type: "InternalIP", Address: "2001:db8::1"},
				{Type: "InternalIP", Address: "nope"}, {Type: "InternalIP", Address: ""}, {Type: "InternalIP", Address: "010.0.0.1"}, {Type: "Odd", Address: "10.0.0.9"}}
		}, want: watchers.Node{IPs: addrs("2001:db8::1", "10.0.0.1", "192.0.2.1")},
			problems: []string{`status.addresses[3].address: "nope" is not an IP address; ignored`}},
		{id: "IN-64 zone", change: func(n *corev1.Node) {
			n.Labels = map[string]string{"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "a": "b"}
		}, want: watchers.Node{Zone: "z"}},
		{id: "pod CIDRs", change: func(n *corev1.Node) {
			n.Spec.PodCIDR, n.Spec.PodCIDRs = "10.9.0.0/24", []string{"10.1.0.0/24", "x", "2001:db8::/64"}
		}, want: watchers.Node{PodCIDRs: prefixes("10.1.0.0/24", "2001:db8::/64")},
			problems: []string{`spec.podCIDRs[1]: "x" is not a network in CIDR notation; ignored`}},
		{id: "pod CIDR alone", change: func(n *corev1.Node) { n.Spec.PodCIDR = "10.9.0.0/24" },
			want: watchers.Node{PodCIDRs: prefixes("10.9.0.0/24")}},
		{id: "pod CIDR alone, wrong", change: func(n *corev1.Node) { n.Spec.PodCIDR = "x" },
			problems: []string{`spec.podCIDR: "x" is not a network in CIDR notation; ignored`}},
		{id: "HC-04 deletion", change: func(n *corev1.Node) { n.DeletionTimestamp = &now }, want: watchers.Node{Deleting: true}},
		{id: "HC-04 autoscaler", change: func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "a"}, {Key: "ToBeDeletedByClusterAutoscaler"}}
		},
			want: watchers.Node{Deleting: true}},
		{id: "HC-04 other taints", change: func(n *corev1.Node) {
			n.Spec.Taints, n.Spec.Unschedulable = []corev1.Taint{{Key: "node.kubernetes.io/not-ready"}}, true
		}},
	}
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) {
			in := node(c.change)
			before := in.DeepCopy()
			got := kubeapi.Node(in)
			require.Equal(t, c.problems, fieldMessages(t, "Node n1", got.Problems))
			got.Problems, c.want.Name = nil, "n1"
			require.Equal(t, c.want, *got)
			require.Equal(t, before, in, "IN-08: the object is not written to")
		})
	}
}

// TestIN08ObjectsAreNotWrittenTo: an object may be in somebody's cache. Nor does a fact
// change when its object does.
func TestIN08ObjectsAreNotWrittenTo(t *testing.T) {
	svc := service(func(s *corev1.Service) {
		s.Labels, s.Annotations = map[string]string{"a": "b"}, map[string]string{"c": "d"}
		s.Spec.ExternalIPs, s.Spec.LoadBalancerSourceRanges = []string{" 192.0.2.1", "x"}, []string{" 10.0.0.1/8", "y"}
		s.Spec.IPFamilies, s.Spec.SessionAffinity = []corev1.IPFamily{"IPv4"}, "ClientIP"
		s.Spec.Ports = []corev1.ServicePort{{Name: "p", Port: 80, NodePort: 30080}}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.2"}}
	})
	eps := slice(func(s *discoveryv1.EndpointSlice) {
		s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{" 010.0.0.1"}, NodeName: new("n"), Hints: &discoveryv1.EndpointHints{
			ForZones: []discoveryv1.ForZone{{Name: "z"}}, ForNodes: []discoveryv1.ForNode{{Name: "n"}}}}}
	})
	n := node(func(n *corev1.Node) {
		n.Spec.PodCIDRs = []string{"10.1.2.3/24"}
		n.Status.Addresses = []corev1.NodeAddress{{Type: "InternalIP", Address: "192.0.2.1"}}
	})
	cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.1/16"}}}
	for kind, object := range map[string]runtime.Object{"Service": svc, "EndpointSlice": eps, "Node": n, "ServiceCIDR": cidr} {
		t.Run("IN-08 "+kind, func(t *testing.T) {
			before := object.DeepCopyObject()
			var f kubeapi.Filter
			fact, err := f.Object(object)
			require.NoError(t, err)
			require.Equal(t, before, object)
			overwrite(reflect.ValueOf(object).Elem())
			again, err := f.Object(before)
			require.NoError(t, err)
			require.Equal(t, again, fact, "the fact shares no memory that is written to")
		})
	}
}

// overwrite changes every string and number that v leads to.
func overwrite(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			overwrite(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				overwrite(v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			overwrite(v.Index(i))
		}
	case reflect.String:
		v.SetString("overwritten")
	case reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(7)
	}
}

// Facts of many objects must share what repeats.
func TestSharing(t *testing.T) {
	hints := func() *discoveryv1.EndpointHints {
		return &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: string([]byte("zone"))}}}
	}
	make1 := func() *watchers.EndpointSlice {
		got, err := kubeapi.EndpointSlice(slice(func(s *discoveryv1.EndpointSlice) {
			s.Namespace = string([]byte("ns"))
			e := discoveryv1.Endpoint{Addresses: []string{"10.1.0.1"}, NodeName: new(string([]byte("node-a")))}
			for range 3 {
				e.Hints = hints()
				s.Endpoints = append(s.Endpoints, e)
			}
		}))
		require.NoError(t, err)
		return got
	}
	a, b := make1(), make1()
	require.NotNil(t, a.Endpoints[1].Hints)
	require.Same(t, a.Endpoints[1].Hints, a.Endpoints[3].Hints)
	require.Same(t, unsafe.StringData(a.Endpoints[1].Node), unsafe.StringData(b.Endpoints[3].Node))
	require.Same(t, unsafe.StringData(a.Namespace), unsafe.StringData(b.Service.Namespace))
}
