// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package xdscli is package xds as a sink of the command line kpng: kpng run --to xds:ADDR. It has
// flags and metrics; package xds has the protocol.
package xdscli

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/export/xds"
	"sigs.k8s.io/kpng/nodeproxy/cli"
	"sigs.k8s.io/kpng/nodeproxy/command"
)

// Sink returns the sink xds:ADDR[?domain=NAME][&prefer-local].
func Sink() cli.Sink {
	return cli.Sink{
		Name: "xds", Argument: "ADDR[?domain=NAME&prefer-local]", Help: "serves xDS to gRPC clients and proxies; see docs/xds.md", Node: newSink, ManyClients: true,
	}
}

func newSink(ctx context.Context, env *cli.Env, argument string) (cli.NodeSink, error) {
	address, cfg, err := parse(argument)
	if err != nil {
		return cli.NodeSink{}, fmt.Errorf("%w: %w", command.ErrUsage, err)
	}
	cfg.Logger = env.Logger
	sink, err := xds.New(cfg)
	if err != nil {
		return cli.NodeSink{}, fmt.Errorf("%w: %w", command.ErrUsage, err)
	}
	listener, err := env.Listen(ctx, address)
	if err != nil {
		return cli.NodeSink{}, err
	}
	env.Go(func(ctx context.Context) error {
		return sink.Serve(ctx, listener.Socket, xds.ServeConfig{Guard: listener.Guard, NodeName: env.NodeName, Limits: listener.Limits})
	})
	return cli.NodeSink{Sink: sink, Collectors: []prometheus.Collector{newCollector(sink)}}, nil
}

// parse returns the address and the options of an argument.
func parse(argument string) (address string, cfg xds.Config, err error) {
	address, query, _ := strings.Cut(argument, "?")
	options, err := url.ParseQuery(query)
	if err != nil {
		return "", cfg, fmt.Errorf("options %q: %w", query, err)
	}
	for name, values := range options {
		value := values[len(values)-1]
		switch {
		case name == "domain":
			cfg.ClusterDomain = value
		case name == "prefer-local" && (value == "" || value == "true"):
			cfg.PreferLocal = true
		case name == "prefer-local" && value == "false":
		default:
			return "", cfg, fmt.Errorf("option %q with value %q: want domain=NAME or prefer-local", name, value)
		}
	}
	return address, cfg, nil
}
