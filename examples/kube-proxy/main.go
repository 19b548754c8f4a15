// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kube-proxy is a drop-in replacement for kube-proxy with the nftables backend: an
// example of a complete distribution. This file has the signals, the exit codes and the actions,
// proxy.go the choice of backend; the packages of nodeproxy have everything else.
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

	"github.com/spf13/pflag"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/dataplane"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxyconfig"
	"sigs.k8s.io/kpng/nodeproxy/logging"
	"sigs.k8s.io/kpng/nodeproxy/sysctl"
	"sigs.k8s.io/kpng/nodeproxy/tuning"
)

func main() {
	tuning.BeforeFirstSync()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(command.ExitCode("kube-proxy", err, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	// 1. Flags and configuration file.
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	fs.SetOutput(stderr)
	options, err := kubeproxyconfig.Parse(fs, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, "Usage: kube-proxy [FLAGS]\n\nPrograms the Services of a cluster on this node.\n\n", fs.FlagUsages())
	}
	if err != nil {
		return err
	}
	if done, err := options.PrintVersion(stdout, command.Version()); done || err != nil {
		return err
	}
	if options.Cleanup && options.WriteConfigTo == "" { // whatever the configuration file contains
		return dataplane.Cleanup(ctx, command.NewLogger(stderr, false))
	}
	settings, err := options.Load()
	if err != nil {
		return err
	}
	log, err := logging.New(stderr, logging.Config{Format: settings.Logging().Format, Verbosity: settings.Verbosity()})
	if err != nil {
		return err
	}
	logger := log.Logger()
	settings.Log(logger)

	// 2. Other actions than running a proxy.
	if options.WriteConfigTo != "" {
		return settings.WriteFile(options.WriteConfigTo)
	}
	kernelErr := settings.Conntrack(sysctl.OnlineCPUs(sysctl.Root)).Apply(sysctl.Root, logger)
	if options.InitOnly {
		return kernelErr
	}
	if err := tuning.OOMScore(settings.OOMScoreAdj()); err != nil {
		logger.Info("OOM score not set", "oomScoreAdj", settings.OOMScoreAdj(), "err", err)
	}

	// 3. The proxy, until SIGTERM or a change of the configuration file.
	return command.RunAll(ctx,
		func(ctx context.Context) error { return settings.WatchFile(ctx, logger) },
		func(ctx context.Context) error {
			return runProxy(ctx, settings, options.ReportedVersion(command.Version()), log)
		})
}
