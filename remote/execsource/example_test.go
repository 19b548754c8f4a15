// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsource_test

import (
	"context"
	"fmt"

	"sigs.k8s.io/kpng/remote/execsource"
	"sigs.k8s.io/kpng/watchers"
)

func ExampleNew() {
	program := `echo '{"full":true,"changed":[{"apiVersion":"v1","kind":"Node","metadata":{"name":"node-1"}}]}'; read -r answer; read -r end`
	source, err := execsource.New(execsource.Config{Command: []string{"sh", "-c", program}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	store := watchers.NewStore()
	done := make(chan error)
	go func() { done <- source.Run(ctx, store) }()
	for snapshot := store.Snapshot(); !snapshot.Synced(); snapshot = store.Snapshot() {
		<-snapshot.Newer()
	}
	for node := range store.Snapshot().Nodes() {
		fmt.Println(node.Name)
	}
	cancel()
	fmt.Println(<-done)
	// Output:
	// node-1
	// <nil>
}
