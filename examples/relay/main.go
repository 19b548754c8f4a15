// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command relay takes the facts of a cluster from servers above it, and serves both
// endpoints from them again, as state-server does: for more nodes than a few servers
// should have, and for zones that are far away.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/examples/internal/cli"
	"sigs.k8s.io/kpng/examples/internal/serving"
	"sigs.k8s.io/kpng/remote/cluster"
)

func main() { cli.Main("relay", run) }

const usage = `Usage: relay -upstream ADDRESSES [FLAGS]

Serves the facts that servers above it tell, and what they mean for nodes. The flags
that say what Services mean must be those of the servers above.

Flags:
`

func run(ctx context.Context, args []string, _, stderr io.Writer) error {
	var (
		upstream cli.Dialer
		tier     serving.Tier
		client   kubernetes.Interface
	)
	fs := flag.NewFlagSet("relay", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	kubeconfig := fs.String("kubeconfig", "", "a kubeconfig `file`, for -token-review only; without it, the pod's service account")
	upstream.Define(fs, "upstream", "upstream-", "")
	tier.Define(fs)
	err := tier.Parse(fs, args, stderr)
	if err == nil {
		err = cli.Refuse(map[string]bool{"-kubeconfig without -token-review": *kubeconfig != "" && !tier.TokenReview()})
	}
	if err != nil {
		return err
	}
	log := cli.Logger(stderr, tier.Verbose)
	if tier.TokenReview() {
		if client, err = serving.Kubernetes(*kubeconfig); err != nil {
			return err
		}
	}
	conns, err := upstream.Dial()
	if err != nil {
		return err
	}
	defer cli.Close(conns)
	watcher, err := cluster.NewClient(cluster.ClientConfig{ClientName: "relay " + cli.Version(), Logger: log}, cli.Interfaces(conns)...)
	if err != nil {
		return err
	}
	return cli.Together(ctx, upstream.Run, func(ctx context.Context) error {
		return tier.Run(ctx, "relay", watcher, client, log, upstreamMetrics(watcher.Status)...)
	})
}
