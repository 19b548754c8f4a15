// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
)

// explain prints the desired state, and the rules that the nftables backend would write.
func explain(ctx context.Context) error {
	p, err := startPipeline(ctx, localsink.Func(func(_ context.Context, u *localsink.Update) error {
		for svc := range u.All.All() {
			fmt.Print(svc.Text())
		}
		rules, err := nftables.Describe(nftables.Config{}, u)
		fmt.Printf("\nThese are the rules of the nftables backend:\n\n%s", rules)
		return err
	}))
	if err != nil {
		return err
	}
	defer p.stop()
	return p.await(ctx, 3)
}
