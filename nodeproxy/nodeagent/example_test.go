// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodeagent_test

import (
	"context"
	"fmt"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/nodeagent"
)

// A fixedClient delivers one state. A program uses node.NewClient of package remote/node.
type fixedClient struct{ state *localsink.Update }

func (c fixedClient) Run(ctx context.Context, sink localsink.Sink) error {
	if err := sink.Sync(ctx, c.state); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func ExampleRun() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := nodeagent.Run(ctx, nodeagent.Config{
		Client: fixedClient{sinktest.NewUpdate(&localsink.Node{Name: "node-1"}, nil, sinktest.NewState())},
		Rules: localsink.Func(func(_ context.Context, u *localsink.Update) error {
			fmt.Println("node", u.Node.Name, "has", u.All.Len(), "Services")
			return nil
		}),
		AfterFirstSync: cancel, // a program runs until SIGTERM
	})
	fmt.Println(err)
	// Output:
	// node node-1 has 0 Services
	// <nil>
}
