// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/test/cluster"
)

const namespace = "default"

// A service is a short description of a dual-stack Service and its EndpointSlices.
type service struct {
	name string
	kind corev1.ServiceType // default ClusterIP
	// ports have the form "[name:]number/protocol". The default name is protocol and
	// number, as in "tcp80".
	ports  []string
	labels map[string]string
	// externalIPs and ingress hold addresses; ipMode is the mode of all ingress addresses.
	externalIPs, ingress []string
	ipMode               corev1.LoadBalancerIPMode
	// edit changes other fields; nil changes none.
	edit   func(*corev1.ServiceSpec)
	slices []slice
}

// A slice is a short description of two EndpointSlices, one for each address family.
type slice struct {
	// ports have the form of service.ports. The default is the ports of the service with
	// the number [cluster.ServerPort].
	ports []string
	// endpoints have the form "place [condition] [zone=a,b] [node=x,y]", see parseEndpoint.
	endpoints []string
	labels    map[string]string
}

// endpoints returns a single slice with default ports.
func endpoints(list ...string) []slice { return []slice{{endpoints: list}} }

type port struct {
	name     string
	number   int32
	protocol corev1.Protocol
}

func parsePort(s string) port {
	spec, proto, _ := strings.Cut(s, "/")
	name, number, named := strings.Cut(spec, ":")
	if !named {
		name, number = proto+spec, spec
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		panic(fmt.Sprintf("port %q: %v", s, err))
	}
	return port{name: name, number: int32(n), protocol: protocol(proto)}
}

func (s service) object() *corev1.Service {
	policy := corev1.IPFamilyPolicyRequireDualStack
	o := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: s.name, Labels: s.labels},
		Spec:       corev1.ServiceSpec{Type: s.kind, ExternalIPs: s.externalIPs, IPFamilyPolicy: &policy},
	}
	for _, text := range s.ports {
		p := parsePort(text)
		o.Spec.Ports = append(o.Spec.Ports, corev1.ServicePort{Name: p.name, Port: p.number, Protocol: p.protocol})
	}
	if s.kind == corev1.ServiceTypeExternalName {
		o.Spec.IPFamilyPolicy, o.Spec.ExternalName = nil, "elsewhere.example"
	}
	if s.edit != nil {
		s.edit(&o.Spec)
	}
	return o
}

func (s service) status() corev1.ServiceStatus {
	var status corev1.ServiceStatus
	for _, ip := range s.ingress {
		ingress := corev1.LoadBalancerIngress{IP: ip}
		if s.ipMode != "" {
			ingress.IPMode = &s.ipMode
		}
		status.LoadBalancer.Ingress = append(status.LoadBalancer.Ingress, ingress)
	}
	return status
}

// sliceObjects returns the EndpointSlices by name.
func (s service) sliceObjects(fx *fixture) map[string]*discoveryv1.EndpointSlice {
	objects := map[string]*discoveryv1.EndpointSlice{}
	for n, sl := range s.slices {
		for f, kind := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			o := &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d-v%s", s.name, n, family(f)), Labels: map[string]string{discoveryv1.LabelServiceName: s.name}},
				AddressType: kind,
			}
			maps.Copy(o.Labels, sl.labels)
			for _, p := range s.slicePorts(sl) {
				o.Ports = append(o.Ports, discoveryv1.EndpointPort{Name: &p.name, Port: &p.number, Protocol: &p.protocol})
			}
			for _, text := range sl.endpoints {
				o.Endpoints = append(o.Endpoints, parseEndpoint(fx, text, f))
			}
			objects[o.Name] = o
		}
	}
	return objects
}

func (s service) slicePorts(sl slice) []port {
	var ports []port
	for _, text := range sl.ports {
		ports = append(ports, parsePort(text))
	}
	if sl.ports == nil {
		for _, text := range s.ports {
			p := parsePort(text)
			p.number = cluster.ServerPort
			ports = append(ports, p)
		}
	}
	return ports
}

// parseEndpoint parses "place [unready|terminating|dead|published] [zone=...] [node=...]".
func parseEndpoint(fx *fixture, text string, f int) discoveryv1.Endpoint {
	words := strings.Fields(text)
	place, ok := fx.Places[words[0]]
	if !ok {
		panic("unknown place " + words[0])
	}
	var hints discoveryv1.EndpointHints
	e := discoveryv1.Endpoint{Addresses: []string{place.Addrs[f].String()}, NodeName: &place.Node}
	ready, serving, terminating := true, true, false
	for _, word := range words[1:] {
		key, values, _ := strings.Cut(word, "=")
		switch key {
		case "unready":
			ready, serving = false, false
		case "terminating":
			ready, terminating = false, true
		case "dead":
			ready, serving, terminating = false, false, true
		case "published": // of a Service with publishNotReadyAddresses
			serving, terminating = false, true
		case "zone":
			for z := range strings.SplitSeq(values, ",") {
				hints.ForZones = append(hints.ForZones, discoveryv1.ForZone{Name: z})
			}
			e.Hints = &hints
		case "node":
			for n := range strings.SplitSeq(values, ",") {
				hints.ForNodes = append(hints.ForNodes, discoveryv1.ForNode{Name: n})
			}
			e.Hints = &hints
		default:
			panic("invalid endpoint " + text)
		}
	}
	e.Conditions = discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
	return e
}

// apply creates, updates and deletes objects until those of old have become those of
// desired. It returns the Services as the API server has stored them.
func (fx *fixture) apply(t testing.TB, old, desired []service) map[string]*corev1.Service {
	t.Helper()
	before := map[string]service{}
	slicesBefore := map[string]*discoveryv1.EndpointSlice{}
	for _, s := range old {
		before[s.name] = s
		maps.Copy(slicesBefore, s.sliceObjects(fx))
	}
	created := map[string]*corev1.Service{}
	for _, s := range desired {
		_, exists := before[s.name]
		delete(before, s.name)
		created[s.name] = fx.write(t, s, exists)
		for name, o := range s.sliceObjects(fx) {
			_, exists := slicesBefore[name]
			delete(slicesBefore, name)
			fx.writeSlice(t, o, exists)
		}
	}
	for name := range before {
		require.NoError(t, fx.client.CoreV1().Services(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}))
	}
	for name := range slicesBefore {
		err := fx.client.DiscoveryV1().EndpointSlices(namespace).Delete(t.Context(), name, metav1.DeleteOptions{})
		require.True(t, err == nil || apierrors.IsNotFound(err), err)
	}
	return created
}

func (fx *fixture) write(t testing.TB, s service, exists bool) *corev1.Service {
	t.Helper()
	services := fx.client.CoreV1().Services(namespace)
	var o *corev1.Service
	var err error
	if exists {
		o, err = services.Update(t.Context(), s.object(), metav1.UpdateOptions{})
	} else {
		o, err = services.Create(t.Context(), s.object(), metav1.CreateOptions{})
	}
	require.NoError(t, err)
	if len(s.ingress)+len(o.Status.LoadBalancer.Ingress) > 0 {
		o.Status = s.status()
		o, err = services.UpdateStatus(t.Context(), o, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	return o
}

func (fx *fixture) writeSlice(t testing.TB, o *discoveryv1.EndpointSlice, exists bool) {
	t.Helper()
	slices := fx.client.DiscoveryV1().EndpointSlices(namespace)
	var err error
	if exists {
		_, err = slices.Update(t.Context(), o, metav1.UpdateOptions{})
	} else {
		_, err = slices.Create(t.Context(), o, metav1.CreateOptions{})
	}
	require.NoError(t, err)
}

// An addressBook holds the addresses of the Services of a case, including deleted ones. The
// keys have the form "name/kind<family>:port/protocol".
type addressBook map[string]netip.AddrPort

// add adds the addresses of a Service.
func (b addressBook) add(fx *fixture, o *corev1.Service) {
	set := func(kind, ip string, portOf corev1.ServicePort, number int32) {
		addr := netip.MustParseAddr(ip)
		f := family(0)
		if addr.Is6() {
			f = family(1)
		}
		key := fmt.Sprintf("%s/%s%s:%d/%s", o.Name, kind, f, portOf.Port, strings.ToLower(string(portOf.Protocol)))
		b[key] = netip.AddrPortFrom(addr, uint16(number))
	}
	for _, p := range o.Spec.Ports {
		for _, ip := range o.Spec.ClusterIPs {
			set("cluster", ip, p, p.Port)
		}
		for _, ip := range o.Spec.ExternalIPs {
			set("external", ip, p, p.Port)
		}
		for _, ingress := range o.Status.LoadBalancer.Ingress {
			set("lb", ingress.IP, p, p.Port)
		}
		for f, addr := range fx.Node.Addrs {
			if p.NodePort != 0 {
				set("nodeport", addr.String(), p, p.NodePort)
				set("inner", fx.Node.Aliases[f].String(), p, p.NodePort)
			}
			if o.Spec.HealthCheckNodePort != 0 {
				set("health", addr.String(), p, o.Spec.HealthCheckNodePort)
			}
		}
		if p.NodePort != 0 {
			set("loop", "127.0.0.1", p, p.NodePort)
			set("loop", "::1", p, p.NodePort)
		}
	}
}

// find returns the address and port of a Service. For a port that the Service never had, it
// uses the address of another port of the same kind.
func (b addressBook) find(name, kind, f string, number uint16, proto string) (netip.AddrPort, bool) {
	at, ok := b[fmt.Sprintf("%s/%s%s:%d/%s", name, kind, f, number, proto)]
	if ok {
		return at, true
	}
	if kind == "nodeport" || kind == "inner" || kind == "loop" || kind == "health" {
		return at, false
	}
	for key, at := range b {
		if strings.HasPrefix(key, name+"/"+kind+f+":") {
			return netip.AddrPortFrom(at.Addr(), number), true
		}
	}
	return at, false
}
