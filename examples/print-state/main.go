// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command print-state prints the desired state of a node, and every change of it while
// the manifests in a directory change. It programs nothing.
//
//	print-state DIRECTORY NODE
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/printer"
	"sigs.k8s.io/kpng/watchers/file"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: print-state DIRECTORY NODE")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1], os.Args[2])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "print-state:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, directory, node string) error {
	manifests, err := file.New(directory, file.Config{Logger: slog.Default()})
	if err != nil {
		return err
	}
	return nodelocal.Run(ctx, manifests, printer.New(os.Stdout), nodelocal.Config{NodeName: node})
}
