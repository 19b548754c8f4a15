// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/ebpf"
	"sigs.k8s.io/kpng/nodeproxy/backendmetrics"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/dataplane"
	"sigs.k8s.io/kpng/nodeproxy/printer"
	"sigs.k8s.io/kpng/nodeproxy/remoteflags"
	"sigs.k8s.io/kpng/nodeproxy/servertier"
	"sigs.k8s.io/kpng/remote/execsink"
	"sigs.k8s.io/kpng/watchers"
)

func standardSinks() []Sink {
	modes := map[string]string{
		dataplane.ModeNFTables: "nftables rules", dataplane.ModeIPTables: "iptables rules",
		dataplane.ModeEBPF: "nftables rules, and BPF programs at the sockets of clients",
		dataplane.ModeIPVS: "IPVS virtual servers", dataplane.ModeUserspace: "connections relayed by this process",
	}
	var all []Sink
	for _, mode := range dataplane.Modes() {
		all = append(all, Sink{Name: mode, Help: modes[mode] + " (Linux, root)", Node: func(_ context.Context, env *Env, _ string) (NodeSink, error) {
			return newDataplane(env, mode)
		}})
	}
	return append(all,
		Sink{Name: "conntrack", Help: "deletes stale connection tracking entries, after the rules (Linux, root)", Node: newConntrack},
		Sink{Name: "healthcheck", Help: "health checks of Services, and what --health and --metrics serve", Node: newHealthChecks},
		Sink{
			Name: "serve-node", Argument: "ADDR", Help: "serves the state of each node, and kpng state, over gRPC",
			Cluster: serve(servertier.ServicesNodes), ManyClients: true,
		},
		Sink{
			Name: "serve-cluster", Argument: "ADDR", Help: "serves the cluster state over gRPC, for relays; ADDR can be that of serve-node",
			Cluster: serve(servertier.ServicesClusters), ManyClients: true,
		},
		Sink{Name: "text", Help: "prints the state of the node and its changes", Node: func(_ context.Context, env *Env, _ string) (NodeSink, error) {
			return NodeSink{Sink: printer.New(env.Stdout), Repairs: noRepairs}, nil
		}},
		Sink{
			Name: "json", Help: "prints lines of JSON: those that the program of an exec: sink receives",
			Node: func(_ context.Context, env *Env, _ string) (NodeSink, error) {
				return NodeSink{Sink: execsink.NewPrinter(env.Stdout), Repairs: noRepairs}, nil
			},
		},
		Sink{Name: "exec", Argument: "CMD", Commas: true, Help: "a program that reads lines of JSON; see docs/exec.md", Node: newExecSink},
	)
}

func newDataplane(env *Env, mode string) (NodeSink, error) {
	d, err := dataplane.New(mode, dataplane.Config{
		NoFlows: true, NFTables: nftablesConfig(env), EBPF: ebpf.Config{RecentRewrites: env.recentRewrites, Devices: env.devices}, Logger: env.Logger,
	})
	if err != nil {
		return NodeSink{}, command.ReplaceInError(err, "ebpf: RecentRewrites:", "--recent-rewrites:", "ebpf: Devices:", "--ebpf-devices:")
	}
	env.usesEBPF = env.usesEBPF || mode == dataplane.ModeEBPF
	env.OnClose(d.Close)
	return NodeSink{
		Sink: d.Rules, Takeover: d.Takeover, NoLoopbackListeners: d.NoLoopbackListeners,
		InterfaceAddrs: d.InterfaceAddrs, Repairs: d.Repairs, Collectors: d.Collectors,
	}, nil
}

func newConntrack(_ context.Context, env *Env, _ string) (NodeSink, error) {
	collector, observe := backendmetrics.NewConntrack()
	flows, err := conntrack.New(conntrack.Config{OnReconcile: observe, Repairs: env.repairs.count, Logger: env.Logger})
	if err != nil {
		return NodeSink{}, err
	}
	env.OnClose(flows.Close)
	return NodeSink{Flows: flows, Collectors: []prometheus.Collector{collector}}, nil
}

func newHealthChecks(context.Context, *Env, string) (NodeSink, error) {
	return NodeSink{HealthChecks: true}, nil
}

func newExecSink(_ context.Context, env *Env, program string) (NodeSink, error) {
	sink, err := execsink.New(execsink.Config{Command: shell(program), Stderr: env.Stderr, Logger: env.Logger})
	if err != nil {
		return NodeSink{}, err
	}
	env.OnClose(sink.Close)
	return NodeSink{Sink: sink}, nil
}

// shell returns the command that runs a program as a shell does.
func shell(program string) []string {
	if runtime.GOOS == "windows" {
		return []string{"cmd", "/c", program}
	}
	return []string{"/bin/sh", "-c", program}
}

// serve returns a sink that serves some services. Sinks with one address share a server.
func serve(services servertier.Services) func(ctx context.Context, env *Env, address string) (ClusterSink, error) {
	return func(_ context.Context, env *Env, address string) (ClusterSink, error) {
		env.serves = true
		if shared := env.servers[address]; shared != nil {
			*shared |= services
			return func(ctx context.Context, _ *watchers.Store) error {
				<-ctx.Done()
				return nil
			}, nil
		}
		all := services
		env.servers[address] = &all
		env.addresses = append(env.addresses, address)
		client, err := env.reviewer()
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, store *watchers.Store) error {
			cfg := remoteflags.ServerConfig{
				Name: clientName(), Store: store, Listen: address, NoMetrics: address != env.observed(), Services: all, Client: client,
				Collectors: env.collectors(), Logger: env.Logger,
			}
			if all&servertier.ServicesNodes != 0 {
				cfg.Beside = env.readiness.beside(env)
			}
			err := env.server.Run(ctx, cfg)
			if err != nil {
				return fmt.Errorf("serve %s: %w", address, err)
			}
			return nil
		}, nil
	}
}

// observed returns the address of the server that --metrics and --state are about: the first one for
// nodes, or else the first one.
func (e *Env) observed() string {
	for _, address := range e.addresses {
		if *e.servers[address]&servertier.ServicesNodes != 0 {
			return address
		}
	}
	return e.addresses[0]
}

// errNoNode means that a sink needs cluster state.
var errNoNode = errors.New("a source of the state of one node has no cluster state")
