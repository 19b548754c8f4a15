// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command print-state prints the desired state of a node, and every change of it while
// the manifests in a directory change. It programs nothing.
//
//	print-state [-proxy-name NAME] [-copy-keys PATTERNS] DIRECTORY NODE
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/printer"
	"sigs.k8s.io/kpng/watchers/file"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func main() {
	proxyName := flag.String("proxy-name", "", "serve only Services with this `name` in the label service.kubernetes.io/service-proxy-name")
	var extend kubeapi.Extend
	flag.Func("copy-keys", "`patterns` (comma-separated) of labels and annotations to print as extensions, such as acme.example/*",
		func(s string) (err error) { extend, err = kubeapi.CopyKeys(command.SplitList(s)...); return err })
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: print-state [-proxy-name NAME] [-copy-keys PATTERNS] DIRECTORY NODE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, flag.Arg(0), flag.Arg(1), *proxyName, extend)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "print-state:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, directory, node, proxyName string, extend kubeapi.Extend) error {
	manifests, err := file.New(directory, file.Config{Filter: kubeapi.Filter{ProxyName: proxyName}, Extend: extend, Logger: slog.Default()})
	if err != nil {
		return err
	}
	return nodelocal.Run(ctx, manifests, printer.New(os.Stdout), nodelocal.Config{NodeName: node, ProxyName: proxyName})
}
