// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kube-proxy is a drop-in replacement for kube-proxy with the nftables backend: an
// example of a complete distribution. This file has the signals, the exit codes
// and the choice of backend; the packages of nodeproxy have everything else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxy"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxyconfig"
	"sigs.k8s.io/kpng/nodeproxy/sysctl"
	"sigs.k8s.io/kpng/nodeproxy/takeover"
	"sigs.k8s.io/kpng/nodeproxy/tuning"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(command.ExitCode("kube-proxy", err, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	// 1. Flags and configuration file.
	fs := flag.NewFlagSet("kube-proxy", flag.ContinueOnError)
	fs.SetOutput(stderr)
	options, err := kubeproxyconfig.Parse(fs, args)
	if err != nil {
		return err
	}
	logger := command.NewLogger(stderr, options.Verbose())
	settings, err := options.Load(logger)
	if err != nil {
		return err
	}
	if options.Version {
		fmt.Fprintln(stdout, command.Version())
		return nil
	}
	if options.Cleanup {
		return errors.Join(nftables.Cleanup(""), takeover.Cleanup())
	}
	if ignored := settings.Ignored(); len(ignored) > 0 {
		logger.Info("Settings without effect", "settings", strings.Join(ignored, ", "))
	}

	// 2. The API server, and the backend that programs the node.
	client, err := kubeclient.New(settings.Client())
	if err != nil {
		return err
	}
	rules, err := nftables.New(settings.NFTables(logger))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rules.Close()) }()
	flows, err := conntrack.New(conntrack.Config{Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flows.Close()) }()
	settings.Conntrack(runtime.NumCPU()).Apply(sysctl.ConntrackDirectory, logger)

	// 3. The proxy around the backend. A backend of your own is another sink here.
	return kubeproxy.Run(ctx, kubeproxy.Config{
		Settings:       settings,
		Client:         client,
		Rules:          rules,
		Flows:          flows,
		Takeover:       takeover.NewSink(),
		AfterFirstSync: tuning.AfterFirstSync,
		Version:        command.Version(),
		Logger:         logger,
	})
}
