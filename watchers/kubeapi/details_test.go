// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"flag"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// richService has all that a Converter can keep; it has a cluster IP.
func richService() *corev1.Service {
	return withMode(service(func(s *corev1.Service) {
		s.Labels = map[string]string{"app": "web"}
		s.Spec.ExternalName = "db.example.org"
		s.Spec.LoadBalancerClass = new("acme.example/lb")
		s.Spec.Ports = []corev1.ServicePort{{Port: 80}, {Port: 81, Name: "b", AppProtocol: new("kubernetes.io/h2c")}, {Port: 82, Name: "c"}}
	}), "dsr")
}

// richSlice has all that a Converter can keep.
func richSlice() *discoveryv1.EndpointSlice {
	return withMode(slice(func(s *discoveryv1.EndpointSlice) {
		s.Endpoints = nil
		for _, name := range []string{"web-0", "web-1", "web-2"} {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{"10.1.0." + name[4:]}, Hostname: new(name), Zone: new("z1"),
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: name, UID: "u"},
			})
		}
		s.Endpoints[0].Addresses[0] = "10.1.0.9"
	}), "dsr")
}

func withDetails[T watchers.Object](t *testing.T, d kubeapi.Details, in any) T {
	t.Helper()
	object, err := kubeapi.Filter{Details: d}.Object(in)
	require.NoError(t, err)
	require.IsType(t, *new(T), object)
	return stored(t, object.(T))
}

func TestDetailsOfServices(t *testing.T) {
	for details, want := range map[kubeapi.Details]*watchers.ServiceDetails{
		0:                               nil,
		kubeapi.DetailHeadless:          nil,
		kubeapi.DetailHostname:          nil,
		kubeapi.DetailExternalName:      {ExternalName: "db.example.org"},
		kubeapi.DetailLoadBalancerClass: {LoadBalancerClass: "acme.example/lb"},
		kubeapi.DetailAppProtocol:       {AppProtocols: []string{"", "kubernetes.io/h2c", ""}},
		kubeapi.DetailsAll:              {ExternalName: "db.example.org", LoadBalancerClass: "acme.example/lb", AppProtocols: []string{"", "kubernetes.io/h2c", ""}},
	} {
		require.Equal(t, want, withDetails[*watchers.Service](t, details, richService()).Details, details)
	}
	require.Nil(t, withDetails[*watchers.Service](t, kubeapi.DetailsAll, service(nil)).Details, "a Service without details")
	s := richService()
	s.Spec.Ports[0].Port = 0
	require.Equal(t, []string{"kubernetes.io/h2c", ""}, withDetails[*watchers.Service](t, kubeapi.DetailAppProtocol, s).Details.AppProtocols, "an invalid port is left out")
	s.Spec.Ports[0].Port, s.Spec.Ports[1].Port = 80, 0
	require.Nil(t, withDetails[*watchers.Service](t, kubeapi.DetailAppProtocol, s).Details)
}

func TestDetailsOfEndpoints(t *testing.T) {
	target := func(name string) watchers.ObjectReference {
		return watchers.ObjectReference{Kind: "Pod", Namespace: "ns", Name: name}
	}
	for details, want := range map[kubeapi.Details][]watchers.EndpointDetails{
		0:                          nil,
		kubeapi.DetailHeadless:     nil,
		kubeapi.DetailExternalName: nil,
		kubeapi.DetailHostname:     {{Hostname: "web-0"}, {Hostname: "web-1"}, {Hostname: "web-2"}},
		kubeapi.DetailZone:         {{Zone: "z1"}, {Zone: "z1"}, {Zone: "z1"}},
		kubeapi.DetailTarget:       {{Target: target("web-0")}, {Target: target("web-1")}, {Target: target("web-2")}},
		kubeapi.DetailsAll: {{Hostname: "web-0", Zone: "z1", Target: target("web-0")}, {Hostname: "web-1", Zone: "z1", Target: target("web-1")},
			{Hostname: "web-2", Zone: "z1", Target: target("web-2")}},
	} {
		require.Equal(t, want, withDetails[*watchers.EndpointSlice](t, details, richSlice()).Details, details)
	}
	require.Nil(t, withDetails[*watchers.EndpointSlice](t, kubeapi.DetailsAll, slice(nil)).Details, "endpoints without details")

	s := richSlice()
	s.Endpoints[0].Addresses, s.Endpoints[1].Hostname = nil, nil
	got := withDetails[*watchers.EndpointSlice](t, kubeapi.DetailHostname, s)
	require.Equal(t, []watchers.EndpointDetails{{}, {Hostname: "web-2"}}, got.Details, "an element for each valid endpoint")
	require.Len(t, got.Endpoints, 2)
}

// TestHeadlessOnRequest checks that selectors and predicates agree.
func TestHeadlessOnRequest(t *testing.T) {
	headless := service(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} })
	ofHeadless := slice(func(s *discoveryv1.EndpointSlice) { s.Labels[corev1.IsHeadlessService] = "" })
	for details, want := range map[kubeapi.Details]bool{0: false, kubeapi.DetailsAll &^ kubeapi.DetailHeadless: false, kubeapi.DetailHeadless: true, kubeapi.DetailsAll: true} {
		f := kubeapi.Filter{Details: details}
		require.Equal(t, want, f.Service(headless))
		require.Equal(t, want, f.EndpointSlice(ofHeadless))
		byField, err := fields.ParseSelector(f.ServiceFields())
		require.NoError(t, err)
		require.Equal(t, want, byField.Matches(fields.Set{"spec.clusterIP": "None"}))
		require.True(t, byField.Matches(fields.Set{"spec.clusterIP": "10.0.0.1"}))
		byLabel, err := labels.Parse(f.EndpointSliceLabels())
		require.NoError(t, err)
		require.Equal(t, want, byLabel.Matches(labels.Set(ofHeadless.Labels)))
		require.True(t, byLabel.Matches(labels.Set(slice(nil).Labels)))
	}
	got := withDetails[*watchers.Service](t, kubeapi.DetailHeadless, headless)
	require.Equal(t, &watchers.ServiceDetails{Headless: true}, got.Details)
	require.False(t, got.ClusterIP.IsValid())
	require.Nil(t, withDetails[*watchers.Service](t, kubeapi.DetailHeadless, service(func(s *corev1.Service) { s.Spec.ClusterIP = "" })).Details,
		"not yet allocated is not headless")
}

func TestDetailsText(t *testing.T) {
	for text, want := range map[string]kubeapi.Details{
		"": 0, "headless": kubeapi.DetailHeadless, "all": kubeapi.DetailsAll, "zone,,zone": kubeapi.DetailZone, "hostname, target": kubeapi.DetailHostname | kubeapi.DetailTarget,
		"headless,external-name,load-balancer-class,app-protocol,hostname,zone,target": kubeapi.DetailsAll,
	} {
		got := kubeapi.DetailZone // is replaced
		require.NoError(t, got.UnmarshalText([]byte(text)))
		require.Equal(t, want, got, text)
	}
	for d := range kubeapi.DetailsAll + 1 {
		var got kubeapi.Details
		require.NoError(t, got.UnmarshalText([]byte(d.String())))
		require.Equal(t, d, got)
	}
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var d kubeapi.Details
	fs.TextVar(&d, "details", kubeapi.DetailZone, "")
	require.Equal(t, "zone", fs.Lookup("details").DefValue)
	require.NoError(t, fs.Parse([]string{"-details=all"}))
	require.Equal(t, kubeapi.DetailsAll, d)
	require.ErrorContains(t, fs.Parse([]string{"-details=zone,headles"}),
		`-details: "headles" is not one of headless, external-name, load-balancer-class, app-protocol, hostname, zone, target, all`)
	require.Equal(t, kubeapi.DetailsAll, d, "an invalid text changes nothing")

	require.ErrorContains(t, kubeapi.Filter{Details: 1 << 7}.Validate(), "Details: 0x80 is unknown")
	require.NoError(t, kubeapi.Filter{Details: kubeapi.DetailsAll}.Validate())
}
