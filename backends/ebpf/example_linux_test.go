// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/kpng/backends/ebpf"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// Both backends receive the same updates.
func ExampleNew() {
	serve := func(ctx context.Context, update *localsink.Update) error {
		rules, err := nftables.New(nftables.Config{})
		if err != nil {
			return err
		}
		defer rules.Close()
		sockets, err := ebpf.New(ebpf.Config{Combined: true})
		if errors.Is(err, errors.ErrUnsupported) {
			return rules.Sync(ctx, update) // an old kernel: the packet path serves all
		}
		if err != nil {
			return err
		}
		defer sockets.Close()
		return localsink.Chain(rules, sockets).Sync(ctx, update)
	}
	if os.Getenv("NODE_NAME") == "" {
		fmt.Println("not on a node")
		return
	}
	if err := serve(context.Background(), sinktest.NewUpdate(&localsink.Node{}, nil, sinktest.NewState())); err != nil {
		fmt.Println(err)
	}
	// Output: not on a node
}
