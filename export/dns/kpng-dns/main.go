// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kpng-dns is kpng with the sink dns: DNS for the names of a cluster.
package main

import (
	"os"

	"sigs.k8s.io/kpng/export/dns/dnscli"
	"sigs.k8s.io/kpng/nodeproxy/cli"
)

func main() {
	os.Exit(cli.Main(cli.Standard(), dnscli.Sink()))
}
