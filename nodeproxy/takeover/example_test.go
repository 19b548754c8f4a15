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

func ExampleNewSink() {
	rules := localsink.Func(func(context.Context, *localsink.Update) error { return fmt.Errorf("not programmed yet") })
	sink := nodeproxy.Sinks{Rules: rules, Takeover: takeover.NewSink()}.Chain()
	// The rules of kube-proxy stay until those of the new proxy are in place.
	fmt.Println(sink.Sync(context.Background(), &localsink.Update{NodeChanged: true}))
	// Output: not programmed yet
}
