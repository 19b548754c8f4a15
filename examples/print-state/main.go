// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command print-state prints what a node must do, and every change of it, as the
// manifests in a directory change. It programs nothing.
//
//	print-state DIRECTORY NODE
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers/file"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: print-state DIRECTORY NODE")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	manifests, err := file.New(os.Args[1], file.Config{Logger: slog.Default()})
	if err != nil {
		fmt.Fprintln(os.Stderr, "print-state:", err)
		os.Exit(1)
	}
	printer := localsink.Func(func(_ context.Context, u *localsink.Update) error {
		for _, svc := range u.Changed {
			fmt.Print("+ ", svc.Text())
		}
		for _, svc := range u.Removed {
			fmt.Println("-", svc.Name)
		}
		return nil
	})
	if err := nodelocal.Run(ctx, manifests, printer, nodelocal.Config{NodeName: os.Args[2]}); err != nil {
		fmt.Fprintln(os.Stderr, "print-state:", err)
		os.Exit(1)
	}
}
