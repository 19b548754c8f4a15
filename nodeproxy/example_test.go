// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodeproxy_test

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy"
)

func ExampleSinks() {
	failing := errors.New("no access to the kernel")
	sink := nodeproxy.Sinks{
		Rules: localsink.Func(func(context.Context, *localsink.Update) error { return failing }),
		HealthChecks: localsink.Func(func(context.Context, *localsink.Update) error {
			fmt.Println("health checks answer")
			return nil
		}),
		AfterFirstSync: func() { fmt.Println("first state applied") },
	}.Chain()
	fmt.Println(sink.Sync(context.Background(), &localsink.Update{}))
	failing = nil
	fmt.Println(sink.Sync(context.Background(), &localsink.Update{}))
	// Output:
	// no access to the kernel
	// health checks answer
	// first state applied
	// <nil>
}
