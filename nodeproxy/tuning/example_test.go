// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package tuning_test

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy"
	"sigs.k8s.io/kpng/nodeproxy/tuning"
)

func ExampleAfterFirstSync() {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	_ = os.Unsetenv("GOMAXPROCS") // set by an operator, it would win
	sink := nodeproxy.Sinks{AfterFirstSync: tuning.AfterFirstSync}.Chain()
	fmt.Println(runtime.GOMAXPROCS(0))
	_ = sink.Sync(context.Background(), &localsink.Update{})
	fmt.Println(runtime.GOMAXPROCS(0))
	// Output:
	// 4
	// 1
}
