// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kpng is the command line kpng with the sink xds, which is not in the kpng of examples/kpng
// because of its dependencies.
package main

import (
	"os"

	"sigs.k8s.io/kpng/export/xds/xdscli"
	"sigs.k8s.io/kpng/nodeproxy/cli"
)

func main() {
	os.Exit(cli.Main(cli.Standard(), xdscli.Sink()))
}
