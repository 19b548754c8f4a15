// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"context"
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A catalogue is a Watcher of one Service whose endpoints arrive as lists of addresses.
type catalogue struct{ endpoints <-chan []netip.Addr }

func (c catalogue) Run(ctx context.Context, store *watchers.Store) error {
	name := watchers.ServiceName{Namespace: "default", Name: "db"}
	service := &watchers.Service{
		Name:      name,
		ClusterIP: netip.MustParseAddr("10.96.0.20"),
		Ports:     []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 5432}},
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case addresses := <-c.endpoints:
			slice := &watchers.EndpointSlice{
				Namespace: name.Namespace, Name: "db-catalogue", Service: name, Family: watchers.FamilyIPv4,
				Ports: []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 5432}},
			}
			for _, a := range addresses {
				slice.Endpoints = append(slice.Endpoints, watchers.Endpoint{Addr: a, Ready: true, Serving: true})
			}
			store.Update(func(tx *watchers.Tx) {
				tx.SetService(service) // an equal object is no change
				tx.SetEndpointSlice(slice)
				tx.SetSynced() // the list is complete
			})
		}
	}
}

func ExampleWatcher() {
	endpoints := make(chan []netip.Addr)
	store := watchers.NewStore()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- catalogue{endpoints}.Run(ctx, store) }()
	endpoints <- []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	snap := store.Snapshot()
	for !snap.Synced() {
		<-snap.Newer()
		snap = store.Snapshot()
	}
	for slice := range snap.EndpointSlices(watchers.ServiceName{Namespace: "default", Name: "db"}) {
		fmt.Println(slice.Name, "has", len(slice.Endpoints), "endpoints")
	}
	cancel()
	fmt.Println("error:", <-done)
	// Output:
	// db-catalogue has 2 endpoints
	// error: <nil>
}
