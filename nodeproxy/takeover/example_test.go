// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover_test

import (
	"context"
	"fmt"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy"
	"sigs.k8s.io/kpng/nodeproxy/takeover"
)

// The rules of kube-proxy stay until those of the new proxy are in place.
func ExampleTakeover_Run() {
	ctx, cancel := context.WithCancel(context.Background())
	old := takeover.New(takeover.Config{})
	synced := make(chan struct{})
	sink := nodeproxy.Sinks{
		Rules:          localsink.Func(func(context.Context, *localsink.Update) error { return nil }),
		AfterFirstSync: func() { close(synced) },
	}.Chain()
	if err := sink.Sync(ctx, &localsink.Update{NodeChanged: true}); err != nil {
		fmt.Println(err)
	}

	cancel() // so that this example removes nothing
	<-synced
	old.Run(ctx)
	fmt.Println(old.Failures(), "failures")
	// Output: 0 failures
}
