// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command node-agent is one node's end of the gRPC endpoint: it programs the node with
// what servers say. It knows flags, files, signals and ports; what Services mean it does
// not know, and Kubernetes it does not reach.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/examples/internal/cli"
	"sigs.k8s.io/kpng/examples/internal/modest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/node"
)

func main() { cli.Main("node-agent", run) }

type options struct {
	node, backend, health string
	cleanup, verbose      bool
	dialer                cli.Dialer
}

const usage = `Usage: node-agent -server ADDRESSES [FLAGS]

Programs a node with what servers say. Rules stay when it ends, and while no server can
be reached; --cleanup removes them.

Flags:
`

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	host, _ := os.Hostname()
	fs := flag.NewFlagSet("node-agent", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	fs.StringVar(&o.node, "node", strings.ToLower(host), "the `name` of the node")
	fs.StringVar(&o.backend, "backend", "nftables", "`how` to program the node: nftables, or print, which programs nothing")
	fs.StringVar(&o.health, "health", "", "the `address` to serve /healthz and /livez on, over HTTP")
	fs.BoolVar(&o.cleanup, "cleanup", false, "remove all rules and exit")
	fs.BoolVar(&o.verbose, "v", false, "log more")
	o.dialer.Define(fs, "server", "", "")
	if err := cli.ParseAll(fs, args, stderr); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"nftables", "print"}, o.backend) {
		return nil, fmt.Errorf("%w: -backend %q: there are nftables and print", cli.ErrUsage, o.backend)
	}
	return o, cli.Refuse(map[string]bool{
		"-node: required": o.node == "",
		"-health goes with -backend nftables: print programs nothing that could be healthy": o.backend == "print" && o.health != "",
		"-cleanup goes with -backend nftables: print leaves nothing to remove":              o.backend == "print" && o.cleanup,
	})
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	switch {
	case err != nil:
		return err
	case o.cleanup:
		return nftables.Cleanup("")
	}
	log := cli.Logger(stderr, o.verbose)
	conns, err := o.dialer.Dial()
	if err != nil {
		return err
	}
	defer cli.Close(conns)
	client, err := node.NewClient(node.ClientConfig{
		NodeName: o.node, ClientName: "node-agent " + cli.Version(), Logger: log,
	}, cli.Interfaces(conns)...)
	if err != nil {
		return err
	}
	if o.backend == "print" {
		return o.follow(ctx, client, cli.Printer(stdout), nil, log)
	}
	return o.program(ctx, client, log)
}

// program makes the node do what client hears.
func (o *options) program(ctx context.Context, client *node.Client, log *slog.Logger) error {
	rules, err := nftables.New(nftables.Config{Logger: log})
	if err != nil {
		return err
	}
	defer rules.Close()
	flows, err := conntrack.New(conntrack.Config{Logger: log})
	if err != nil {
		return err
	}
	defer flows.Close()
	health, err := healthcheck.NewProxy(rules, time.Minute)
	if err != nil {
		return err
	}
	n := &eligibility{inner: health}
	checks, err := healthcheck.NewServices(healthcheck.Config{Healthy: health.Healthy, Logger: log})
	if err != nil {
		return err
	}
	defer checks.Close()
	mux := http.NewServeMux()
	mux.Handle("/healthz", health.Healthz(n.eligible))
	mux.Handle("/livez", health.Livez())
	// Nothing runs ahead of the rules: health checks, and what cleans up behind them.
	return o.follow(ctx, client, localsink.Chain(n, checks, flows, modest.NewSink()), mux, log)
}

// follow feeds sink until ctx is done.
func (o *options) follow(ctx context.Context, client *node.Client, sink localsink.Sink, h http.Handler, log *slog.Logger) error {
	return cli.Together(ctx, o.dialer.Run,
		func(ctx context.Context) error { return client.Run(ctx, sink) },
		func(ctx context.Context) error {
			if o.health == "" || h == nil {
				return nil
			}
			return cli.ServeHTTP(ctx, "health", o.health, h, log)
		})
}
