// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// invalidSuffix is in the name of slices that are invalid for a proxy.
const invalidSuffix = "invalid"

func newSlice(slot int, suffix string, family discoveryv1.AddressType) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: churnNamespace, Name: serviceName(slot) + "-" + suffix,
			Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(slot)},
		},
		AddressType: family,
	}
}

// putSlice creates or changes an EndpointSlice of a slot. The first one has IPv4 addresses, the
// second IPv6, the third one of both.
func (g *generator) putSlice(slot, number int) operation {
	is4 := number == 0 || number == 2 && slot%2 == 0
	family := discoveryv1.AddressTypeIPv6
	if is4 {
		family = discoveryv1.AddressTypeIPv4
	}
	s := newSlice(slot, fmt.Sprint(number), family)
	for i := range 3 {
		if g.chance(8) {
			continue
		}
		name, port := fmt.Sprintf("p%d", i), int32(8080+i)+100*g.rng.Int32N(2)
		protocol := g.protocol(slot, i)
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port, Protocol: &protocol})
	}
	hinted := g.chance(3)
	// Slices of a Service have different pods.
	for pod := 20 + 20*number; pod < 40+20*number; pod++ {
		if g.chance(5) {
			s.Endpoints = append(s.Endpoints, g.endpoint(pod, is4, hinted))
		}
	}
	return g.writeSlice(s)
}

// endpoint returns an endpoint in one of the states that the API describes.
func (g *generator) endpoint(pod int, is4, hinted bool) discoveryv1.Endpoint {
	node := 1 + g.rng.IntN(nodes+1) // the last has no proxy
	name, yes, no := nodeName(node), true, false
	e := discoveryv1.Endpoint{Addresses: []string{podAddr(node, pod, is4)}, NodeName: &name}
	switch g.rng.IntN(8) {
	case 0:
		e.Conditions = discoveryv1.EndpointConditions{Ready: &no}
	case 1:
		e.Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
	case 2:
		e.Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &no, Terminating: &yes}
	case 3: // no condition is known
	default:
		e.Conditions = discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no}
	}
	if hinted && !g.chance(20) {
		e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: choose(g, "a", "b")}}}
	}
	return e
}

func (g *generator) writeSlice(s *discoveryv1.EndpointSlice) operation {
	g.slices[s.Name] = true
	return operation{describe("put EndpointSlice", s), func(ctx context.Context, f *fixture) error { return f.putSlice(ctx, s) }}
}

func (g *generator) deleteSlice(slot int, suffix string) []operation {
	name := serviceName(slot) + "-" + suffix
	if !g.slices[name] {
		return nil
	}
	delete(g.slices, name)
	return []operation{{"delete EndpointSlice " + name, func(ctx context.Context, f *fixture) error {
		return ignoreNotFound(f.client.DiscoveryV1().EndpointSlices(churnNamespace).Delete(ctx, name, metav1.DeleteOptions{}))
	}}}
}

// putSlice creates or changes an EndpointSlice.
func (f *fixture) putSlice(ctx context.Context, s *discoveryv1.EndpointSlice) error {
	endpointSlices := f.client.DiscoveryV1().EndpointSlices(s.Namespace)
	old, err := endpointSlices.Get(ctx, s.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = endpointSlices.Create(ctx, s, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	changed := s.DeepCopy()
	changed.ResourceVersion = old.ResourceVersion
	_, err = endpointSlices.Update(ctx, changed, metav1.UpdateOptions{})
	return err
}

// invalid returns an operation with an object that is invalid for a proxy, or that the API server
// must refuse.
func (g *generator) invalid(slot int) operation {
	name, port, tcp := "p0", int32(8080), corev1.ProtocolTCP
	ports := []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}}
	hostile := newSlice(slot, invalidSuffix, discoveryv1.AddressTypeIPv4)
	switch g.rng.IntN(7) {
	case 0: // no ports
		hostile.Endpoints = []discoveryv1.Endpoint{g.endpoint(90, true, false)}
	case 1: // a port without a number
		hostile.Ports = []discoveryv1.EndpointPort{{Name: &name, Protocol: &tcp}}
		hostile.Endpoints = []discoveryv1.Endpoint{g.endpoint(90, true, false)}
	case 2: // names instead of addresses
		hostile = newSlice(slot, invalidSuffix+"-fqdn", discoveryv1.AddressTypeFQDN)
		hostile.Ports, hostile.Endpoints = ports, []discoveryv1.Endpoint{{Addresses: []string{"pod.example.com"}}}
	case 3: // endpoints of another slice, without a node
		hostile.Ports = ports
		for pod := 20; pod < 40; pod++ {
			e := g.endpoint(pod, true, false)
			e.NodeName = nil
			hostile.Endpoints = append(hostile.Endpoints, e)
		}
	case 4: // a Service that does not exist, and many endpoints
		hostile = newSlice(slot, invalidSuffix+"-orphan", discoveryv1.AddressTypeIPv4)
		hostile.Labels[discoveryv1.LabelServiceName] = "absent"
		hostile.Ports = ports
		for pod := range 250 {
			hostile.Endpoints = append(hostile.Endpoints, discoveryv1.Endpoint{Addresses: []string{podAddr(nodes+1, 1+pod, true)}})
		}
	case 5:
		hostile.Ports, hostile.Endpoints = ports, []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}}
		return refused(describe("refused EndpointSlice", hostile), func(ctx context.Context, f *fixture) error { return f.putSlice(ctx, hostile) })
	default:
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: churnNamespace, Name: "refused"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 70000}}}}
		return refused(describe("refused Service", s), func(ctx context.Context, f *fixture) error { return f.putService(ctx, s) })
	}
	return g.writeSlice(hostile)
}

// refused returns an operation that succeeds if the API server refuses the object.
func refused(text string, put func(ctx context.Context, f *fixture) error) operation {
	return operation{text, func(ctx context.Context, f *fixture) error {
		err := put(ctx, f)
		if err == nil {
			return errors.New("the API server accepts an invalid object")
		}
		if apierrors.IsInvalid(err) {
			return nil
		}
		return err
	}}
}

// changeNode changes the zone of a node, or the order of its addresses.
func (g *generator) changeNode() operation {
	number := 1 + g.rng.IntN(nodes)
	if g.chance(2) {
		return operation{fmt.Sprintf("first address of %s is %d", nodeName(number), g.flipAddress(number)), g.patchAddresses(number)}
	}
	zone := choose(g, `"a"`, `"b"`, "null")
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, corev1.LabelTopologyZone, zone)
	return operation{"zone of " + nodeName(number) + " is " + zone, func(ctx context.Context, f *fixture) error {
		_, err := f.client.CoreV1().Nodes().Patch(ctx, nodeName(number), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}}
}

func (g *generator) flipAddress(number int) int {
	g.primary[number] = 1 - g.primary[number]
	return g.primary[number]
}

// patchAddresses sets the addresses of a node, in the order that the generator has now.
func (g *generator) patchAddresses(number int) func(ctx context.Context, f *fixture) error {
	which := g.primary[number]
	return func(ctx context.Context, f *fixture) error {
		var status corev1.NodeStatus
		for _, w := range []int{which, 1 - which} {
			for _, a := range nodeAddrs(number, w) {
				status.Addresses = append(status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
			}
		}
		return f.putAddresses(ctx, nodeName(number), status.Addresses)
	}
}

// putAddresses replaces the addresses of a node.
func (f *fixture) putAddresses(ctx context.Context, name string, addrs []corev1.NodeAddress) error {
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/status/addresses", "value": addrs}})
	if err != nil {
		return err
	}
	_, err = f.client.CoreV1().Nodes().Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// changeExtraNode creates or deletes a node without a proxy.
func (g *generator) changeExtraNode() operation {
	number := g.rng.IntN(5)
	name := fmt.Sprintf("extra-%d", number)
	g.extra[number] = !g.extra[number]
	if !g.extra[number] {
		return operation{"delete Node " + name, func(ctx context.Context, f *fixture) error {
			return ignoreNotFound(f.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}))
		}}
	}
	return operation{"create Node " + name, func(ctx context.Context, f *fixture) error { return f.createNode(ctx, name, "") }}
}

// createNode creates a Node. Its network of pods may be empty.
func (f *fixture) createNode(ctx context.Context, name, podCIDRs string) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: "a"}}}
	if podCIDRs != "" {
		if err := json.Unmarshal([]byte(podCIDRs), &node.Spec.PodCIDRs); err != nil {
			return err
		}
		node.Spec.PodCIDR = node.Spec.PodCIDRs[0]
	}
	_, err := f.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
