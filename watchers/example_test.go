// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/watchers"
)

func ExampleStore() {
	store := watchers.NewStore()
	reader := store.Reader()
	defer reader.Close()

	web := watchers.ServiceName{Namespace: "default", Name: "web"}
	store.Update(func(tx *watchers.Tx) {
		tx.SetService(&watchers.Service{Name: web, ClusterIP: netip.MustParseAddr("10.96.0.10")})
		tx.SetEndpointSlice(&watchers.EndpointSlice{Namespace: "default", Name: "web-x", Service: web})
		tx.SetSynced()
	})
	snap := store.Snapshot()
	fmt.Println("synced:", snap.Synced(), "- cluster IP:", snap.Service(web).ClusterIP)

	synced, _ := reader.Pending()
	reader.Acknowledge(synced)
	store.Update(func(tx *watchers.Tx) { tx.DeleteEndpointSlice("default", "web-x") })
	_, changes := reader.Pending()
	for c := range changes {
		fmt.Println("EndpointSlice", c.Key.Slice, "of Service", c.Key.Service(), "deleted:", c.Deleted)
	}
	// Output:
	// synced: true - cluster IP: 10.96.0.10
	// EndpointSlice web-x of Service default/web deleted: true
}
