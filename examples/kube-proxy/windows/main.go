// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kube-proxy is the drop-in replacement of kube-proxy for Windows, with its flags, as a
// service or in a terminal or container. It is a module of its own, because only it needs the modules
// of package hcn. This file has the signals, the service and the actions, proxy.go the backend.
//
//	GOOS=windows GOARCH=amd64 go build -o kube-proxy.exe .
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/pflag"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxyconfig"
	"sigs.k8s.io/kpng/nodeproxy/logging"
	"sigs.k8s.io/kpng/nodeproxy/tuning"
	"sigs.k8s.io/kpng/nodeproxy/winservice"
)

// serviceName is the name of the service and of the source of events, as in kube-proxy.
const serviceName = "kube-proxy"

func main() {
	tuning.BeforeFirstSync()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr, host{open: openHNS})
	stop()
	os.Exit(command.ExitCode("kube-proxy", err, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer, h host) error {
	// 1. Flags and configuration file.
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	fs.SetOutput(stderr)
	options, err := kubeproxyconfig.ParseFor(fs, args, "windows")
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, "Usage: kube-proxy [FLAGS]\n\nPrograms the Services of a cluster on this Windows node.\n\n", fs.FlagUsages())
	}
	if err != nil {
		return err
	}
	if done, err := options.PrintVersion(stdout, command.Version()); done || err != nil {
		return err
	}
	settings, err := options.Load()
	if err != nil {
		return err
	}

	// 2. Other actions than running a proxy.
	switch {
	case options.WriteConfigTo != "":
		return settings.WriteFile(options.WriteConfigTo)
	case options.InitOnly:
		return errors.New("--init-only: Windows has no kernel parameters to set")
	case options.Cleanup:
		return cleanup(ctx, settings, h, command.NewLogger(stderr, false))
	}

	// 3. The proxy, until it is stopped or the configuration file changes.
	serve := func(ctx context.Context, w io.Writer) error {
		log, err := logging.New(w, logging.Config{Format: settings.Logging().Format, Verbosity: settings.Verbosity()})
		if err != nil {
			return err
		}
		settings.Log(log.Logger())
		return command.RunAll(ctx,
			func(ctx context.Context) error { return settings.WatchFile(ctx, log.Logger()) },
			func(ctx context.Context) error {
				return runProxy(ctx, settings, h, options.ReportedVersion(command.Version()), log)
			})
	}
	if !settings.RunsAsService() {
		return serve(ctx, stderr)
	}
	events, err := winservice.OpenEventLog(serviceName)
	if err != nil {
		return err
	}
	err = winservice.Run(ctx, serviceName, func(ctx context.Context) error { return serve(ctx, events) })
	return errors.Join(err, events.Close())
}
