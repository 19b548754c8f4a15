// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command custom-backend shows what a vendor writes: a sink, here one that maintains the
// configuration file of a load balancer. The library watches the cluster and resolves
// Services.
//
//	custom-backend [-proxy-name NAME] KUBECONFIG NODE FILE
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

const usage = "custom-backend [-proxy-name NAME] KUBECONFIG NODE FILE"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	os.Exit(command.ExitCode("custom-backend", err, os.Stderr))
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("custom-backend", flag.ContinueOnError)
	proxyName := fs.String("proxy-name", "", "serve only Services with this `name` in the label "+kubeapi.LabelProxyName)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "Usage: "+usage)
		fs.PrintDefaults()
	}
	args, err := command.ParseMixed(fs, args)
	if err != nil {
		return err
	}
	if len(args) != 3 {
		return fmt.Errorf("%w: %s", command.ErrUsage, usage)
	}
	kubeconfig, node, path := args[0], args[1], args[2]
	client, err := kubeclient.New(kubeclient.Config{Kubeconfig: kubeconfig})
	if err != nil {
		return err
	}
	watcher, err := kube.New(client, kube.Config{NodeName: node, Filter: kubeapi.Filter{ProxyName: *proxyName}})
	if err != nil {
		return err
	}
	return nodelocal.Run(ctx, watcher, newConfigFile(path), nodelocal.Config{NodeName: node, ProxyName: *proxyName})
}
