// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command nft-script is a complete service proxy whose backend writes nft scripts: the
// backend of docs/writing-a-backend.md. It passes the packet conformance kit and serves
// small clusters; its work for one change grows with all Services.
//
//	nft-script [-proxy-name NAME] KUBECONFIG NODE
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	os.Exit(command.ExitCode("nft-script", err, os.Stderr))
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("nft-script", flag.ContinueOnError)
	proxyName := fs.String("proxy-name", "", "serve only Services with this `name` in the label "+kubeapi.LabelProxyName)
	args, err := command.ParseMixed(fs, args)
	if err != nil {
		return err
	}
	if len(args) != 2 {
		return fmt.Errorf("%w: nft-script [-proxy-name NAME] KUBECONFIG NODE", command.ErrUsage)
	}
	client, err := kubeclient.New(kubeclient.Config{Kubeconfig: args[0]})
	if err != nil {
		return err
	}
	watcher, err := kube.New(client, kube.Config{NodeName: args[1], Filter: kubeapi.Filter{ProxyName: *proxyName}, Logger: slog.Default()})
	if err != nil {
		return err
	}
	flows, err := conntrack.New(conntrack.Config{})
	if err != nil {
		return err
	}
	sink := localsink.Chain(&scriptSink{table: "nft-script"}, flows)
	return nodelocal.Run(ctx, watcher, sink, nodelocal.Config{NodeName: args[1], ProxyName: *proxyName, Logger: slog.Default()})
}
