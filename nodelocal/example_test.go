// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// exampleService returns a Service default/web and its EndpointSlice, with one endpoint on
// node-1 and one on node-2.
func exampleService() (*watchers.Service, *watchers.EndpointSlice) {
	name := watchers.ServiceName{Namespace: "default", Name: "web"}
	svc := &watchers.Service{
		Name: name, ClusterIP: netip.MustParseAddr("10.96.0.10"),
		Ports: []watchers.ServicePort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}},
	}
	slice := &watchers.EndpointSlice{
		Namespace: "default", Name: "web-1", Service: name, Family: watchers.FamilyIPv4,
		Ports: []watchers.EndpointPort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 8080}},
		Endpoints: []watchers.Endpoint{
			{Addr: netip.MustParseAddr("10.244.1.4"), Node: "node-1", Ready: true, Serving: true},
			{Addr: netip.MustParseAddr("10.244.2.7"), Node: "node-2", Ready: false},
		},
	}
	return svc, slice
}

// A watcher fills the store, and a sink prints the desired state of node-1.
func ExampleRun() {
	ctx, cancel := context.WithCancel(context.Background())
	watcher := watchers.Func(func(_ context.Context, store *watchers.Store) error {
		store.Update(func(tx *watchers.Tx) {
			svc, slice := exampleService()
			tx.SetService(svc)
			tx.SetEndpointSlice(slice)
			tx.SetSynced()
		})
		return nil
	})
	sink := localsink.Func(func(_ context.Context, u *localsink.Update) error {
		for _, svc := range u.Changed {
			fmt.Print(svc.Text())
		}
		cancel() // the example ends after one update
		return nil
	})
	if err := nodelocal.Run(ctx, watcher, sink, nodelocal.Config{NodeName: "node-1"}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// default/web
	//   port "http" TCP
	//     ClusterIP 10.96.0.10:80
	//       Any -> 10.244.1.4:8080(local)
}

// A caller with a loop of its own refreshes the Resolver and applies what is pending.
func ExampleResolver() {
	store := watchers.NewStore()
	resolver, err := nodelocal.NewResolver(store, nodelocal.Config{NodeName: "node-1"})
	if err != nil {
		log.Fatal(err)
	}
	defer resolver.Close()
	svc, slice := exampleService()
	apply := func(change func(*watchers.Tx)) {
		store.Update(change)
		resolver.Refresh()
		if u := resolver.Pending(); u != nil {
			fmt.Printf("%d changed, %d removed, %d in total\n", len(u.Changed), len(u.Removed), u.All.Len())
			resolver.Acknowledge(u)
		}
	}
	apply(func(tx *watchers.Tx) { tx.SetService(svc); tx.SetEndpointSlice(slice) })
	apply(func(tx *watchers.Tx) { tx.SetService(svc) }) // no change, no update
	apply(func(tx *watchers.Tx) { tx.DeleteService(svc.Name) })
	// Output:
	// 1 changed, 0 removed, 1 in total
	// 0 changed, 1 removed, 0 in total
}

// A server resolves each Service once; nodes share the base and differ in their overlays.
func ExampleMultiNodeResolver() {
	store := watchers.NewStore()
	resolver, err := nodelocal.NewMultiNodeResolver(store, nodelocal.MultiNodeConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer resolver.Close()
	store.Update(func(tx *watchers.Tx) {
		svc, slice := exampleService()
		tx.SetService(svc)
		tx.SetEndpointSlice(slice)
	})
	for name, svc := range resolver.Refresh().Services {
		fmt.Println(name, svc.Base("").Ports[0].Endpoints[0].Addr)
		fmt.Println("local on node-1:", svc.Overlay("node-1").Endpoints[0].Local)
		fmt.Println("overlay of node-2 is empty:", svc.Overlay("node-2") == nil)
	}
	// Output:
	// default/web 10.244.1.4:8080
	// local on node-1: true
	// overlay of node-2 is empty: true
}

// An explanation has the reason for each endpoint.
func ExampleExplain() {
	store := watchers.NewStore()
	svc, slice := exampleService()
	snapshot := store.Update(func(tx *watchers.Tx) { tx.SetService(svc); tx.SetEndpointSlice(slice) })
	x, err := nodelocal.Explain(snapshot, nodelocal.Config{NodeName: "node-1"}, svc.Name)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range x.Endpoints {
		fmt.Println(e.Address, e.ClusterTraffic, e.Reasons)
	}
	// Output:
	// 10.244.1.4:8080 true []
	// 10.244.2.7:8080 false [it is not ready]
}
