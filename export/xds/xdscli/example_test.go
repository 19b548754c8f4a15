// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xdscli_test

import (
	"context"
	"fmt"
	"io"

	"sigs.k8s.io/kpng/export/xds/xdscli"
	"sigs.k8s.io/kpng/nodeproxy/cli"
)

// A distribution's main calls os.Exit(cli.Main(cli.Standard(), xdscli.Sink())).
func ExampleSink() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // a program runs until SIGTERM
	kpng := cli.Standard().With(xdscli.Sink())
	args := []string{"kpng", "run", "--from", "file:../../../testdata/example", "--node", "node-1", "--to", "xds:127.0.0.1:0?domain=example.org"}
	fmt.Println(kpng.Run(ctx, args, io.Discard, io.Discard))
	// Output: <nil>
}
