// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command state-server watches a cluster, or manifests, and tells nodes over gRPC what
// they must do, and relays the facts. It answers kpngctl, and serves health and
// reflection beside it. It knows flags and signals; all else is in the library.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"

	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/examples/internal/cli"
	"sigs.k8s.io/kpng/examples/internal/serving"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
	"sigs.k8s.io/kpng/watchers/kube"
)

func main() { cli.Main("state-server", run) }

type options struct {
	manifests, kubeconfig string
	tier                  serving.Tier
}

const usage = `Usage: state-server [FLAGS]

Tells nodes over gRPC what they must do for Services. The facts come from the API
server, by -kubeconfig or as the pod that this runs in, or from -manifests.

Flags:
`

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("state-server", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	fs.StringVar(&o.manifests, "manifests", "", "a `directory` of manifests to follow, instead of an API server")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "a kubeconfig `file`; without it, the pod's service account")
	o.tier.Define(fs)
	if err := o.tier.Parse(fs, args, stderr); err != nil {
		return nil, err
	}
	return o, cli.Refuse(map[string]bool{
		"-kubeconfig and -manifests, and no -token-review to use it for": o.kubeconfig != "" && o.manifests != "" && !o.tier.TokenReview(),
	})
}

func run(ctx context.Context, args []string, _, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	log := cli.Logger(stderr, o.tier.Verbose)
	var client kubernetes.Interface
	if o.manifests == "" || o.tier.TokenReview() {
		if client, err = serving.Kubernetes(o.kubeconfig); err != nil {
			return err
		}
	}
	watcher, err := o.watcher(client, log)
	if err != nil {
		return err
	}
	return o.tier.Run(ctx, "state-server", watcher, client, log)
}

func (o *options) watcher(client kubernetes.Interface, log *slog.Logger) (watchers.Watcher, error) {
	if o.manifests != "" {
		return file.New(o.manifests, file.Config{Logger: log})
	}
	return kube.New(client, kube.Config{Nodes: kube.NodesAll, Logger: log})
}
