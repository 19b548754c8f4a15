// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kpng connects sources of Services with sinks, and answers questions about them. Package
// cli is the program; a distribution adds its own sources and sinks here. As kubectl-kpng it is a
// plugin of kubectl.
package main

import (
	"os"

	"sigs.k8s.io/kpng/nodeproxy/cli"
)

func main() {
	os.Exit(cli.Main(cli.Standard()))
}
