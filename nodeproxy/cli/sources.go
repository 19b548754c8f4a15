// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/nodeips"
	"sigs.k8s.io/kpng/remote/cluster"
	"sigs.k8s.io/kpng/remote/execsource"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
	"sigs.k8s.io/kpng/watchers/gateway"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/mcs"
)

// Standard returns the sources and sinks of this module.
func Standard() Registry {
	return Registry{Sources: standardSources(), Sinks: standardSinks()}
}

func standardSources() []Source {
	return []Source{
		{Name: "kube", Help: "the API server of --kubeconfig and --context, or of the pod", Watcher: newKube},
		{Name: "mcs", Argument: "[CLUSTER]", Help: "ServiceImports of the same API server; CLUSTER is the name of this cluster in its ClusterSet", Watcher: newMCS},
		{
			Name: "gateway", Argument: "[CONTROLLER]", Help: "as kube, with TCPRoutes and UDPRoutes; CONTROLLER is that of the GatewayClasses",
			Includes: "kube", Watcher: newGateway,
		},
		{
			Name: "dnssrv", Argument: "NAMES", Help: "endpoints from SRV, A and AAAA records: NAME=ADDRESS:PORT[,NAME...], or @FILE; see docs/dnssrv.md",
			Watcher: newDNSSRV,
		},
		{Name: "file", Argument: "DIR", Help: "a manifest, or the manifests in a directory, as they change", Watcher: newFile},
		{Name: "cluster", Argument: "ADDR", Help: "the cluster state of servers (comma-separated, host:port or unix:///path)", Watcher: newClusterClient},
		{Name: "node", Argument: "ADDR", Help: "the state of --node from servers; no other source can be added", Node: newNodeClient},
		{Name: "exec", Argument: "CMD", Help: "a program that prints objects as lines of JSON; see docs/exec.md", Watcher: newExecSource},
	}
}

func newKube(_ context.Context, env *Env, _ string) (watchers.Watcher, error) {
	client, err := env.Client()
	if err != nil {
		return nil, err
	}
	nodes := kube.NodesOwn
	if env.allNodes {
		nodes = kube.NodesAll
	}
	return kube.New(client, kube.Config{Nodes: nodes, NodeName: env.NodeName, Filter: env.Filter, Extend: env.Extend, Logger: env.Logger})
}

func newMCS(_ context.Context, env *Env, cluster string) (watchers.Watcher, error) {
	client, err := env.Client()
	if err != nil {
		return nil, err
	}
	objects, err := kubeclient.NewDynamic(env.client)
	if err != nil {
		return nil, err
	}
	return mcs.New(objects, client, mcs.Config{Cluster: cluster, Details: env.Filter.Details, Extend: env.Extend, Logger: env.Logger})
}

func newGateway(ctx context.Context, env *Env, controller string) (watchers.Watcher, error) {
	services, err := newKube(ctx, env, "")
	if err != nil {
		return nil, err
	}
	objects, err := kubeclient.NewDynamic(env.client)
	if err != nil {
		return nil, err
	}
	return gateway.New(objects, services, gateway.Config{ControllerName: controller, Logger: env.Logger})
}

func newFile(_ context.Context, env *Env, path string) (watchers.Watcher, error) {
	return file.New(path, file.Config{Filter: env.Filter, Extend: env.Extend, Logger: env.Logger})
}

func newClusterClient(_ context.Context, env *Env, addresses string) (watchers.Watcher, error) {
	conns, err := env.Dial(addresses)
	if err != nil {
		return nil, err
	}
	client, err := cluster.NewClient(cluster.ClientConfig{
		ClientName: clientName(), ProxyName: env.Filter.ProxyName, AllProxies: env.Filter.AllProxies,
		RebalanceInterval: env.upstream.RebalanceInterval(), Logger: env.Logger,
	}, conns.Interfaces()...)
	if err != nil {
		return nil, err
	}
	env.upstreams = append(env.upstreams, client.Status)
	return client, nil
}

func newNodeClient(ctx context.Context, env *Env, addresses string) (NodeSource, error) {
	if env.NodeName == "" {
		return nil, fmt.Errorf("%w: --node: required", command.ErrUsage)
	}
	conns, err := env.Dial(addresses)
	if err != nil {
		return nil, err
	}
	return node.NewClient(node.ClientConfig{
		NodeName: env.NodeName, AssumedIPs: nodeips.OfHost(ctx, env.NodeName, env.Logger), ClientName: clientName(),
		RebalanceInterval: env.upstream.RebalanceInterval(), Logger: env.Logger,
	}, conns.Interfaces()...)
}

func newExecSource(_ context.Context, env *Env, program string) (watchers.Watcher, error) {
	return execsource.New(execsource.Config{
		Command: shell(program), Filter: env.Filter, Extend: env.Extend, Stderr: env.Stderr, Logger: env.Logger,
	})
}
