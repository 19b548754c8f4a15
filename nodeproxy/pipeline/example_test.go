// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package pipeline_test

import (
	"context"
	"fmt"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
	"sigs.k8s.io/kpng/nodeproxy/pipeline"
)

func ExampleNew() {
	p, err := pipeline.New(pipeline.Config{
		Rules: localsink.Func(func(_ context.Context, u *localsink.Update) error {
			fmt.Println("node", u.Node.Name, "has", u.All.Len(), "Services")
			return nil
		}),
		Limiter: httpserver.NewLimiter(httpserver.LimiterConfig{}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { fmt.Println(p.Close()) }()
	// A program passes p to nodelocal.Run or node.Client.Run, and serves p.HealthHandler(),
	// p.StateHandler() and p.Collectors().
	fmt.Println(p.Sync(context.Background(), sinktest.NewUpdate(&localsink.Node{Name: "node-1"}, nil, sinktest.NewState())))
	// Output:
	// node node-1 has 0 Services
	// <nil>
	// <nil>
}
