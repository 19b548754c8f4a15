// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command node-agent programs a node with the state that servers send: the client end of
// the gRPC API. It needs no access to the Kubernetes API.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/nodeagent"
	"sigs.k8s.io/kpng/nodeproxy/nodeips"
	"sigs.k8s.io/kpng/nodeproxy/printer"
	"sigs.k8s.io/kpng/nodeproxy/remoteflags"
	"sigs.k8s.io/kpng/nodeproxy/takeover"
	"sigs.k8s.io/kpng/nodeproxy/tuning"
	"sigs.k8s.io/kpng/remote/node"
)

const usage = `Usage: node-agent -server ADDRESSES [FLAGS]

Programs a node with the state that servers send. The rules stay when the agent ends and
while it cannot reach a server; -cleanup removes them.

Flags:
`

// printBackend is the backend that prints changes.
const printBackend = "print"

func main() {
	tuning.BeforeFirstSync()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(command.ExitCode("node-agent", err, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	host, _ := os.Hostname()
	fs := flag.NewFlagSet("node-agent", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	nodeName := fs.String("node", strings.ToLower(host), "`name` of the node")
	backend := fs.String("backend", "nftables", "`backend`: nftables, or print, which prints changes and programs nothing")
	healthAddress := fs.String("health", "", "`address` (host:port) that serves /healthz and /livez over HTTP; empty disables them")
	operatorAddress := fs.String("metrics", "", "`address` (host:port) that serves /metrics and /state over HTTP; empty disables them")
	counts := fs.String("count-connections", "",
		"count new connections, for /state, and for /metrics those of `services`, by frontend, or of endpoints too; empty counts none")
	cleanup := fs.Bool("cleanup", false, "remove all rules, and those that kube-proxy has left, and exit")
	verbose := fs.Bool("v", false, "log debug messages")
	servers := remoteflags.DefineWatcher(fs, "server", "")
	if err := command.Parse(fs, args); err != nil {
		return err
	}
	if err := command.Conflicts(map[string]bool{
		"-node: required": *nodeName == "",
		fmt.Sprintf("-backend %q: want nftables or print", *backend):                *backend != "nftables" && *backend != printBackend,
		"-health requires -backend nftables: the print backend has no health state": *backend == printBackend && *healthAddress != "",
		"-metrics requires -backend nftables: the print backend has no metrics":     *backend == printBackend && *operatorAddress != "",
		"-count-connections requires -metrics, which serves them":                   *counts != "" && *operatorAddress == "",
		"-cleanup requires -backend nftables: print leaves nothing to remove":       *backend == printBackend && *cleanup,
	}); err != nil {
		return err
	}
	if *cleanup {
		return errors.Join(nftables.Cleanup(""), takeover.Cleanup(ctx, command.NewLogger(stderr, *verbose)))
	}
	logger := command.NewLogger(stderr, *verbose)
	conns, err := servers.Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conns.Close()) }()
	cfg := node.ClientConfig{
		NodeName: *nodeName, AssumedIPs: nodeips.OfHost(ctx, *nodeName, logger), ClientName: "node-agent " + command.Version(),
		RebalanceInterval: servers.RebalanceInterval(), Logger: logger,
	}
	client, err := node.NewClient(cfg, conns.Interfaces()...)
	if err != nil {
		return err
	}
	if *backend == printBackend {
		return command.RunAll(ctx, conns.Run, func(ctx context.Context) error { return client.Run(ctx, printer.New(stdout)) })
	}
	return program(ctx, conns.Run, nodeagent.Config{
		Client: client, HealthAddress: *healthAddress, OperatorAddress: *operatorAddress, CountConnections: *counts, Logger: logger,
	})
}

// program programs the node with the state that the client of cfg receives.
func program(ctx context.Context, watchCredentials func(context.Context) error, cfg nodeagent.Config) (err error) {
	rules, err := nftables.New(nftables.Config{CountConnections: cfg.CountConnections != "", Logger: cfg.Logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rules.Close()) }()
	flows, err := conntrack.New(conntrack.Config{Logger: cfg.Logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flows.Close()) }()
	cfg.Rules, cfg.Flows, cfg.AfterFirstSync, cfg.Takeover = rules, flows, tuning.AfterFirstSync, takeover.New(cfg.Logger)
	return command.RunAll(ctx, watchCredentials, func(ctx context.Context) error {
		return command.ReplaceInError(nodeagent.Run(ctx, cfg),
			"HealthAddress:", "-health:", "OperatorAddress:", "-metrics:", "pipeline: CountConnections:", "-count-connections:")
	})
}
