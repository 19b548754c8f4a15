// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/pflag"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/readiness"
	"sigs.k8s.io/kpng/nodeproxy/servertier"
	"sigs.k8s.io/kpng/remote/node"
)

// readinessFlags are the flags of package readiness.
type readinessFlags struct {
	taint, condition, nodes string
	quantile                float64
}

// Values of --pod-nodes.
const (
	nodesExisting  = "existing"
	nodesConnected = "connected"
)

func (f *readinessFlags) define(fs *pflag.FlagSet) {
	fs.StringVar(&f.taint, "startup-taint", "",
		"`key` of a taint that is removed from a Node when the node has applied its first state: of each node with the sink serve-node, otherwise of --node")
	fs.StringVar(&f.condition, "pod-condition", "",
		"`type` of the condition that is set to True for pods with this readiness gate when nodes have applied their Services; needs the sink serve-node")
	fs.Float64Var(&f.quantile, "pod-quantile", 0, "share of nodes for --pod-condition, above 0 and up to 1 (default 0.9)")
	fs.StringVar(&f.nodes, "pod-nodes", nodesExisting,
		"`nodes` that --pod-quantile is a share of: existing, or connected to this server")
}

// validate returns an error for flags without effect.
func (f *readinessFlags) validate(p *plan, env *Env) error {
	serving := env.nodeServers()
	env.usesAPIServer = env.usesAPIServer || f.taint != "" || f.condition != ""
	if f.nodes != "" && f.nodes != nodesExisting && f.nodes != nodesConnected {
		return usagef("--pod-nodes: %q is not one of %s, %s", f.nodes, nodesExisting, nodesConnected)
	}
	return command.Conflicts(map[string]bool{
		"--startup-taint requires the sink serve-node, or one for a node": f.taint != "" && serving+len(p.groups) == 0,
		"--pod-condition requires the sink serve-node":                    f.condition != "" && serving == 0,
		"--pod-condition: serve-node has several addresses":               f.condition != "" && serving > 1,
		"--pod-quantile requires --pod-condition":                         f.quantile != 0 && f.condition == "",
		"--pod-nodes requires --pod-condition":                            f.nodes == nodesConnected && f.condition == "",
	})
}

// nodeServers returns the number of addresses that serve nodes.
func (e *Env) nodeServers() (n int) {
	for _, services := range e.servers {
		if *services&servertier.ServicesNodes != 0 {
			n++
		}
	}
	return n
}

// controller returns what runs beside a NodeService server.
func (f *readinessFlags) controller(env *Env, nodes *node.Server) (run func(ctx context.Context) error, err error) {
	cfg := readiness.Config{
		Server: nodes, StartupTaint: f.taint, PodCondition: f.condition, Quantile: f.quantile, Logger: env.Logger,
	}
	if f.nodes == nodesConnected {
		cfg.Nodes = readiness.NodesConnected
	}
	if cfg.Client, err = env.Client(); err != nil {
		return nil, err
	}
	controller, err := readiness.New(cfg)
	if err != nil {
		return nil, command.ReplaceInError(err, "readiness: StartupTaint:", "--startup-taint:", "readiness: PodCondition:", "--pod-condition:",
			"readiness: Quantile:", "--pod-quantile:")
	}
	return controller.Run, nil
}

// beside returns what runs beside a NodeService server; nil if the flags request nothing.
func (f *readinessFlags) beside(env *Env) func(nodes *node.Server) (func(ctx context.Context) error, error) {
	if f.taint == "" && f.condition == "" {
		return nil
	}
	return func(nodes *node.Server) (func(ctx context.Context) error, error) { return f.controller(env, nodes) }
}

// ownTaint returns a function to be called when all groups of sinks have applied their first state. If no
// NodeService server does it, the startup taint of the node is removed then.
func (f *readinessFlags) ownTaint(env *Env) (applied func(), err error) {
	if f.taint == "" || env.nodeServers() > 0 {
		return func() {}, nil
	}
	client, err := env.Client()
	if err != nil {
		return nil, err
	}
	taint, err := readiness.NewTaint(readiness.TaintConfig{Client: client, NodeName: env.NodeName, Key: f.taint, Logger: env.Logger})
	if err != nil {
		return nil, usageOf("--startup-taint", err)
	}
	env.Go(taint.Run)
	return taint.Applied, nil
}
