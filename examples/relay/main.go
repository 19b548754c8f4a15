// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command relay receives the cluster state from servers above it and serves it again, as
// state-server does: for more nodes than a few servers can serve, and for distant zones.
// This file has the flags and signals; package remoteflags has the server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/remoteflags"
	"sigs.k8s.io/kpng/nodeproxy/servertier"
	"sigs.k8s.io/kpng/nodeproxy/tuning"
	"sigs.k8s.io/kpng/remote/cluster"
)

const usage = `Usage: relay -upstream ADDRESSES [FLAGS]

Serves nodes and further relays with the cluster state of the servers above it. The flags
of how Services are resolved must be equal on all servers: -proxy-name, -cluster-cidr,
-node-cidr, -nodeport-addresses, -masquerade-all and -ignore-external-ips.

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(command.ExitCode("relay", err, os.Stderr))
}

func run(ctx context.Context, args []string, stderr io.Writer) (err error) {
	fs := flag.NewFlagSet("relay", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	kubeconfig := fs.String("kubeconfig", "", "kubeconfig `file` for -token-review (default: the service account of the pod)")
	upstream := remoteflags.DefineWatcher(fs, "upstream", "upstream-")
	server := remoteflags.DefineServer(fs)
	if err := command.Parse(fs, args); err != nil {
		return err
	}
	if err := server.Validate(); err != nil {
		return err
	}
	if err := command.Conflicts(map[string]bool{"-kubeconfig without -token-review": *kubeconfig != "" && !server.TokenReview()}); err != nil {
		return err
	}
	logger, name := command.NewLogger(stderr, server.Verbose()), "relay "+command.Version()
	var client kubernetes.Interface
	if server.TokenReview() {
		var err error
		if client, err = kubeclient.New(kubeclient.Config{Kubeconfig: *kubeconfig, QPS: remoteflags.ReviewQPS}); err != nil {
			return err
		}
	}
	conns, err := upstream.Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conns.Close()) }()
	watcher, err := cluster.NewClient(cluster.ClientConfig{
		ClientName: name, ProxyName: server.ProxyName(), RebalanceInterval: upstream.RebalanceInterval(), Logger: logger,
	}, conns.Interfaces()...)
	if err != nil {
		return err
	}
	tuning.ServerGarbageCollection()
	return command.RunAll(ctx, conns.Run, func(ctx context.Context) error {
		return server.Run(ctx, remoteflags.ServerConfig{
			Name: name, Watcher: watcher, Client: client, Collectors: servertier.NewUpstream(watcher.Status), Logger: logger,
		})
	})
}
