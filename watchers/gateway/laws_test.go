// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

// randomObject returns an object of a few names, with random fields, as YAML.
func randomObject(r *rand.Rand) (key, text string) {
	pick := func(options ...string) string { return options[r.IntN(len(options))] }
	namespace, name := pick("default", "shop"), pick("a", "b", "c")
	backend := func() string {
		return fmt.Sprintf("{name: %s, namespace: %s, port: %s, weight: %d}", pick("a", "b", "c"), pick("default", "shop"), pick("80", "81"), r.IntN(4))
	}
	endpoint := func() string {
		return fmt.Sprintf("{addresses: [10.0.0.%d], conditions: {%s}}", r.IntN(9)+1, pick("ready: true", "ready: true", "ready: false, serving: true, terminating: true", "ready: false"))
	}
	kind := pick("GatewayClass", "Gateway", "TCPRoute", "TCPRoute", "UDPRoute", "ReferenceGrant", "Namespace", "Service", "Service", "EndpointSlice", "EndpointSlice")
	switch kind {
	case "GatewayClass":
		namespace, text = "", fmt.Sprintf("spec: {controllerName: %s}", pick(DefaultControllerName, "other.example/x"))
	case "Namespace":
		name = pick("default", "shop")
		return kind + name, fmt.Sprintf("{kind: Namespace, metadata: {name: %s, labels: {tier: %s}}}", name, pick("front", "back"))
	case "Gateway":
		text = fmt.Sprintf("spec: {gatewayClassName: %s, addresses: [{value: 192.0.2.%d}], listeners: [{name: t, port: %s, protocol: TCP, allowedRoutes: {namespaces: {from: %s, selector: {matchLabels: {tier: front}}}}}, {name: u, port: 53, protocol: %s}]}",
			pick("a", "b"), r.IntN(3)+1, pick("80", "81"), pick("All", "Same", "Selector"), pick("UDP", "TCP"))
	case "TCPRoute", "UDPRoute":
		text = fmt.Sprintf("spec: {parentRefs: [{name: %s}, {name: %s, namespace: %s, sectionName: t}, {group: '', kind: Service, name: %s}], rules: [{backendRefs: [%s, %s]}]}",
			pick("a", "b"), pick("a", "b", "c"), pick("default", "shop"), pick("a", "b", "c"), backend(), backend())
	case "ReferenceGrant":
		text = fmt.Sprintf("spec: {from: [{group: gateway.networking.k8s.io, kind: %s, namespace: %s}], to: [{group: '', kind: Service}]}", pick("TCPRoute", "UDPRoute"), pick("default", "shop"))
	case "Service":
		text = fmt.Sprintf("spec: {clusterIP: 10.96.0.%d, ports: [{name: p, port: 80}, {name: q, port: 81, protocol: %s}]}", r.IntN(200)+1, pick("TCP", "UDP"))
	case "EndpointSlice":
		text = fmt.Sprintf("addressType: IPv4, ports: [{name: p, port: 8080}, {name: q, port: 8081, protocol: %s}], endpoints: [%s, %s, %s]", pick("TCP", "UDP"), endpoint(), endpoint(), endpoint())
		return kind + namespace + name, fmt.Sprintf("{kind: %s, metadata: {name: %s-s, namespace: %s, labels: {kubernetes.io/service-name: %s}}, %s}", kind, name, namespace, pick("a", "b", "c"), text)
	}
	metadata := fmt.Sprintf("name: %s", name)
	if namespace != "" {
		metadata += ", namespace: " + namespace
	}
	if r.IntN(2) == 0 {
		metadata += fmt.Sprintf(", creationTimestamp: '2026-01-0%dT00:00:00Z'", r.IntN(3)+1)
	}
	return kind + namespace + name, fmt.Sprintf("{kind: %s, metadata: {%s}, %s}", kind, metadata, text)
}

// The store and the status depend on the current objects only: not on the order in which they
// arrived, and not on objects that were changed or deleted.
func TestOrderAndHistoryHaveNoEffect(t *testing.T) {
	t.Parallel()
	shared := 0
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := newFixture(t)
		objects := map[string]string{}
		for range 60 {
			key, text := randomObject(r)
			if old, exists := objects[key]; exists && r.IntN(3) == 0 {
				f.delete(old)
				delete(objects, key)
				continue
			}
			f.apply(text)
			objects[key] = text
		}
		fresh := newFixture(t)
		for _, text := range objects { // in the random order of maps
			fresh.apply(text)
		}
		require.Equal(t, fresh.text(), f.text(), "seed %d", seed)
		require.Equal(t, fresh.statusText(), f.statusText(), "seed %d", seed)
		for service := range f.engine.target.Snapshot().Services() {
			if service.Name.Origin == Origin && len(service.Ports) > 0 {
				shared++
			}
		}
	}
	require.Greater(t, shared, 20, "the random objects have Gateways with routes")
}

// One change costs one change: an endpoint of a backend changes the slices with it, of its parents
// only, and no more.
func TestWorkIsThatOfTheChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const n = 50
	for i := range n {
		f.apply(fmt.Sprintf(`{kind: Service, metadata: {name: s%[1]d}, spec: {clusterIP: 10.96.1.%[1]d, ports: [{name: p, port: 80}]}}
---
{kind: EndpointSlice, metadata: {name: s%[1]d-1, labels: {kubernetes.io/service-name: s%[1]d}}, addressType: IPv4, ports: [{name: p, port: 80}], endpoints: [{addresses: [10.0.0.1]}]}
---
{kind: Gateway, metadata: {name: g%[1]d}, spec: {gatewayClassName: kpng, addresses: [{value: 192.0.2.%[1]d}], listeners: [{name: t, port: 80, protocol: TCP}]}}
---
{kind: TCPRoute, metadata: {name: r%[1]d}, spec: {parentRefs: [{name: g%[1]d}], rules: [{backendRefs: [{name: s%[1]d, port: 80}]}]}}`, i+1))
	}
	reader := f.engine.target.Reader()
	defer reader.Close()
	acknowledge := func() (keys []watchers.Key) {
		snapshot, changes := reader.Pending()
		for c := range changes {
			keys = append(keys, c.Key)
		}
		reader.Acknowledge(snapshot)
		return keys
	}
	acknowledge()
	f.apply(`{kind: EndpointSlice, metadata: {name: s7-1, labels: {kubernetes.io/service-name: s7}}, addressType: IPv4, ports: [{name: p, port: 80}], endpoints: [{addresses: [10.0.0.2]}]}`)
	require.ElementsMatch(t, []watchers.Key{
		{Kind: watchers.KindEndpointSlice, Namespace: "default", Name: "s7", Slice: "s7-1"},
		{Kind: watchers.KindEndpointSlice, Namespace: "default", Name: "g7", Slice: "g7:t:80:default:s7-1", Origin: Origin},
	}, acknowledge())

	c := &change{parents: set{}, routes: set{}}
	f.engine.setObject(c, f.engine.routes[objectID{kindTCPRoute, "default", "r7"}])
	require.Equal(t, set{objectID{kindGateway, "default", "g7"}: {}}, c.parents)
	f.apply(`{kind: TCPRoute, metadata: {name: r7}, spec: {parentRefs: [{name: g7}], rules: [{backendRefs: [{name: s8, port: 80}]}]}}`)
	require.Len(t, acknowledge(), 2, "one slice is added and one is deleted")
	f.apply(`{kind: TCPRoute, metadata: {name: r7, generation: 5}, spec: {parentRefs: [{name: g7}], rules: [{backendRefs: [{name: s8, port: 80}]}]}}`)
	require.Empty(t, acknowledge(), "the generation is no content")
}
