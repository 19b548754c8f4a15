// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package servertier_test

import (
	"context"
	"fmt"

	"sigs.k8s.io/kpng/nodeproxy/servertier"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers/file"
)

func ExampleTier() {
	tier, err := servertier.New(servertier.Config{Name: "example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tier.Close()
	listener, err := transport.Listen(context.Background(), "127.0.0.1:0", transport.ListenConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	manifests, err := file.New("../../testdata/example", file.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // a program cancels ctx when it receives SIGTERM
	guard := transport.Guard{Authenticate: transport.AnonymousAuthenticator(""), Authorize: transport.Rules{}.Authorize}
	fmt.Println(tier.Run(ctx, manifests, listener, guard))
	// Output: <nil>
}
