// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command state-server watches a cluster, or manifests, and serves nodes and relays over
// gRPC: the desired state of each node, the cluster state, and the inspection service. This
// file has the flags and signals; package remoteflags has the server.
package main

import (
	"context"
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
	"sigs.k8s.io/kpng/nodeproxy/tuning"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

const usage = `Usage: state-server [FLAGS]

Serves nodes and relays with the state of a cluster: that of the API server, or of
manifests with -manifests.

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(command.ExitCode("state-server", err, os.Stderr))
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	fs := flag.NewFlagSet("state-server", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	manifests := fs.String("manifests", "", "`directory` of manifests to watch instead of an API server")
	kubeconfig := fs.String("kubeconfig", "", "kubeconfig `file` (default: the service account of the pod)")
	var extend kubeapi.Extend
	fs.Func("copy-keys", "`patterns` (comma-separated) of labels and annotations that backends read as extensions, "+
		"such as acme.example/* or service:annotation:acme.example/mode",
		func(s string) (err error) { extend, err = kubeapi.CopyKeys(command.SplitList(s)...); return err })
	var filter kubeapi.Filter
	fs.TextVar(&filter.Details, "details", kubeapi.Details(0),
		"`names` (comma-separated) of what to keep for clients of the cluster state that are not proxies: "+
			"headless, external-name, load-balancer-class, app-protocol, hostname, zone, target, or all")
	server := remoteflags.DefineServer(fs)
	if err := command.Parse(fs, args); err != nil {
		return err
	}
	if err := server.Validate(); err != nil {
		return err
	}
	if err := command.Conflicts(map[string]bool{
		"-kubeconfig and -manifests without -token-review": *kubeconfig != "" && *manifests != "" && !server.TokenReview(),
	}); err != nil {
		return err
	}
	logger := command.NewLogger(stderr, server.Verbose())
	var client kubernetes.Interface
	if *manifests == "" || server.TokenReview() {
		var err error
		if client, err = kubeclient.New(kubeclient.Config{Kubeconfig: *kubeconfig, QPS: remoteflags.ReviewQPS}); err != nil {
			return err
		}
	}
	kubeConfig := kube.Config{Nodes: kube.NodesAll, Filter: filter, Extend: extend, Logger: logger}
	kubeConfig.Filter.ProxyName = server.ProxyName()
	watcher, err := newWatcher(*manifests, client, kubeConfig)
	if err != nil {
		return err
	}
	tuning.ServerGarbageCollection()
	return server.Run(ctx, remoteflags.ServerConfig{
		Name: "state-server " + command.Version(), Watcher: watcher, Client: client, Logger: logger,
	})
}

// newWatcher returns a watcher of the API server, or of manifests, as cfg describes.
func newWatcher(manifests string, client kubernetes.Interface, cfg kube.Config) (watchers.Watcher, error) {
	if manifests != "" {
		return file.New(manifests, file.Config{Filter: cfg.Filter, Extend: cfg.Extend, Logger: cfg.Logger})
	}
	return kube.New(client, cfg)
}
