// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/examples/internal/cli"
	factsremote "sigs.k8s.io/kpng/remote/cluster"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/remote/node/nodemetrics"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// A Tier is what flags say of a server of the endpoints.
type Tier struct {
	// Verbose asks for a longer log.
	Verbose bool
	metrics string
	meaning meaning
	listen  listener
}

// Define defines the flags.
func (t *Tier) Define(fs *flag.FlagSet) {
	fs.StringVar(&t.metrics, "metrics", "", "the `address` to serve /metrics, /livez and /readyz on, over HTTP")
	fs.BoolVar(&t.Verbose, "v", false, "log more")
	t.meaning.define(fs)
	t.listen.define(fs)
}

// Parse is cli.ParseAll, and refuses flags of the tier that make no sense.
func (t *Tier) Parse(fs *flag.FlagSet, args []string, stderr io.Writer) error {
	if err := cli.ParseAll(fs, args, stderr); err != nil {
		return err
	}
	if err := t.listen.check(); err != nil {
		return err
	}
	_, err := t.meaning.config()
	return err
}

// TokenReview says whether the API server is needed to know clients.
func (t *Tier) TokenReview() bool { return t.listen.tokenReview }

// collectLess makes collecting garbage, which visits the stacks of every stream, a quarter
// of the work, for memory that is free when thousands connect at once. GOGC wins.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

// Run serves what watcher brings until ctx is done. client reviews tokens; it may be nil
// when they are not reviewed. name is for people. metrics are served beside the tier's own.
func (t *Tier) Run(ctx context.Context, name string, watcher watchers.Watcher, client kubernetes.Interface, log *slog.Logger, metrics ...prometheus.Collector) error {
	collectLess()
	meaning, err := t.meaning.config()
	if err != nil {
		return err
	}
	store, latencies, name := watchers.NewStore(), nodemetrics.NewLatencies(), name+" "+cli.Version()
	nodes, err := node.NewServer(store, node.ServerConfig{
		Resolver: meaning, Authorize: transport.AllowNode, AuthorizeInspect: transport.AllowInspect,
		OnAcknowledge: latencies.Observe, ServerName: name, Logger: log,
	})
	if err != nil {
		return err
	}
	defer nodes.Close()
	facts, err := factsremote.NewServer(store, factsremote.ServerConfig{Authorize: transport.AllowCluster, ServerName: name, Logger: log})
	if err != nil {
		return err
	}
	defer facts.Close()
	listener, guard, certificates, err := t.listen.open(ctx, client, log)
	if err != nil {
		return err
	}
	return cli.Together(ctx,
		certificates,
		func(ctx context.Context) error { return watcher.Run(ctx, store) },
		func(ctx context.Context) error {
			return transport.Serve(ctx, listener, transport.ServeConfig{Guard: guard, Register: nodes.RegisterInspect, Logger: log}, nodes, facts)
		},
		func(ctx context.Context) error {
			return observe(ctx, t.metrics, log, append(metrics, latencies, nodemetrics.NewNodes(nodes)), nodes.Ready())
		})
}
