// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command laptop serves the Services of a cluster, or of manifests, at ports of 127.0.0.1: like
// kubectl port-forward, but for all Services, load-balanced, and following changes. It needs
// neither root nor kernel rules, and runs on Linux, macOS and Windows.
//
//	laptop -kubeconfig ~/.kube/config -namespace default -map default/web:http=8080
//
// The laptop connects to the endpoints itself, so it needs a route to them: to the networks of
// pods (a VPN, or a cluster on this machine), or to nodes whose pods use hostNetwork.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"sigs.k8s.io/kpng/backends/userspace"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
	"sigs.k8s.io/kpng/watchers/kube"
)

// nodeName is the node whose state is served; the cluster has none of that name.
const nodeName = "laptop"

const usage = `Usage: laptop -kubeconfig FILE | -f FILE|DIRECTORY [FLAGS]

Serves Services at ports of 127.0.0.1 and prints them, until it is interrupted. Endpoints must
be reachable from this machine.

Flags:
`

type options struct {
	kubeconfig, manifests, namespace string
	address                          netip.Addr
	ports                            portMap
	verbose                          bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(command.ExitCode("laptop", err, os.Stderr))
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), ports: portMap{}}
	fs := flag.NewFlagSet("laptop", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` with the address and credentials of a cluster")
	fs.StringVar(&o.manifests, "f", "", "manifest `file`, or directory of manifests, with Services and EndpointSlices")
	fs.StringVar(&o.namespace, "namespace", "", "serve only the Services of this `namespace`; empty serves all")
	fs.TextVar(&o.address, "address", o.address, "local `address` of all ports")
	fs.Func("map", "local port of a Service port, as `NAMESPACE/NAME:PORT=LOCALPORT`, where PORT is a name or a number; "+
		"repeatable; other Service ports get free ports", func(s string) error { return o.ports.add(s) })
	fs.BoolVar(&o.verbose, "v", false, "log debug messages")
	if err := command.Parse(fs, args); err != nil {
		return o, err
	}
	return o, command.Conflicts(map[string]bool{
		"one of -kubeconfig and -f is required":  o.kubeconfig == "" && o.manifests == "",
		"-kubeconfig and -f exclude one another": o.kubeconfig != "" && o.manifests != "",
	})
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	logger := command.NewLogger(stderr, o.verbose)
	backend, err := userspace.New(userspace.Config{Map: o.localAddresses(), Logger: logger})
	if err != nil {
		return err
	}
	defer func() { _ = backend.Close() }() // returns nil
	source, err := o.watcher()
	if err != nil {
		return err
	}
	return nodelocal.Run(ctx, source, &printer{backend: backend, out: stdout}, nodelocal.Config{NodeName: nodeName, Logger: logger})
}

// watcher returns the source of Services.
func (o options) watcher() (watchers.Watcher, error) {
	if o.manifests != "" {
		return file.New(o.manifests, file.Config{})
	}
	client, err := kubeclient.New(kubeclient.Config{Kubeconfig: o.kubeconfig})
	if err != nil {
		return nil, err
	}
	return kube.New(client, kube.Config{Nodes: kube.NodesNone, Namespace: o.namespace})
}
