// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"context"
	"log"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/localsink"
)

// The sink follows the one that programs the rules. The example needs the privilege to
// access the kernel's connection tracking, so it is compiled and not run.
func ExampleNew() { //nolint:testableexamples // needs root
	rules := localsink.Func(func(context.Context, *localsink.Update) error {
		return nil // program the rules
	})
	flows, err := conntrack.New(conntrack.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer flows.Close()

	sink := localsink.Chain(rules, flows)
	if err := sink.Sync(context.Background(), &localsink.Update{Node: &localsink.Node{Name: "node"}}); err != nil {
		log.Print(err)
	}
}
