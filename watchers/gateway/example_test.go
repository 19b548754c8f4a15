// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	fakedynamic "k8s.io/client-go/dynamic/fake"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/gateway"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// A TCPRoute divides the connections to a Service: 3 of 4 to its own endpoints, and 1 of 4 to those
// of another. A fake client replaces that of the API server, and a memory the watcher of package kube.
func ExampleNew() {
	route := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "TCPRoute", "metadata": map[string]any{"namespace": "default", "name": "canary"},
		"spec": map[string]any{
			"parentRefs": []any{map[string]any{"group": "", "kind": "Service", "name": "web"}},
			"rules": []any{map[string]any{"backendRefs": []any{
				map[string]any{"name": "web", "port": int64(80), "weight": int64(3)},
				map[string]any{"name": "next", "port": int64(80), "weight": int64(1)},
			}}},
		},
	}}
	kinds := map[schema.GroupVersionResource]string{{Version: "v1", Resource: "namespaces"}: "NamespaceList"}
	for resource, kind := range map[string]string{"gatewayclasses": "GatewayClass", "gateways": "Gateway", "tcproutes": "TCPRoute", "udproutes": "UDPRoute"} {
		kinds[schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: resource}] = kind + "List"
	}
	kinds[schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1beta1", Resource: "referencegrants"}] = "ReferenceGrantList"
	objects := fakedynamic.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, route)

	services := watchertest.NewMemory()
	for name, addresses := range map[string][]string{"web": {"10.0.0.1", "10.0.0.2"}, "next": {"10.0.1.1"}} {
		id := watchers.ServiceName{Namespace: "default", Name: name}
		port := watchers.ServicePort{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}
		services.SetService(&watchers.Service{Name: id, ClusterIP: netip.MustParseAddr("10.96.0.1"), Ports: []watchers.ServicePort{port}})
		slice := &watchers.EndpointSlice{
			Namespace: "default", Name: name + "-1", Service: id, Family: watchers.FamilyIPv4,
			Ports: []watchers.EndpointPort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 8080}},
		}
		for _, a := range addresses {
			slice.Endpoints = append(slice.Endpoints, watchers.Endpoint{Addr: netip.MustParseAddr(a), Ready: true, Serving: true})
		}
		services.SetEndpointSlice(slice)
	}
	services.SetSynced()

	watcher, err := gateway.New(objects, services, gateway.Config{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	store, ended := watchers.NewStore(), make(chan error)
	go func() { ended <- watcher.Run(ctx, store) }()
	cluster := store.Snapshot()
	for ; !cluster.Synced(); cluster = store.Snapshot() {
		<-cluster.Newer()
	}
	for slice := range cluster.EndpointSlices(watchers.ServiceName{Namespace: "default", Name: "web"}) {
		for i, e := range slice.Endpoints {
			fmt.Println(e.Addr, "weight", *slice.Details[i].Weight)
		}
	}
	status, _ := watcher.Status()
	fmt.Println(status.Routes[0].Name, status.Routes[0].Parents[0].Conditions[0].Reason)
	stop()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// Output:
	// 10.0.1.1 weight 2
	// 10.0.0.1 weight 3
	// 10.0.0.2 weight 3
	// canary Accepted
}
