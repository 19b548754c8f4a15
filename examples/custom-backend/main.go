// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command custom-backend shows how little a vendor writes: a sink of its own, here one
// that keeps a load balancer's configuration file, and the library's watcher and
// meaning around it.
//
//	custom-backend KUBECONFIG NODE FILE
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers/kube"
)

// A configFile is a sink that keeps one line per address and endpoint.
type configFile string

// Sync writes the whole state anew: simple, and right after any failure.
func (f configFile) Sync(_ context.Context, u *localsink.Update) error {
	var b bytes.Buffer
	for svc := range u.All.All() {
		for _, port := range svc.Ports {
			for _, fe := range port.Frontends {
				anyone := fe.Routes[len(fe.Routes)-1]
				for _, e := range port.Pools[anyone.Pool].Endpoints {
					fmt.Fprintln(&b, port.Protocol, fe.Addr, e.Addr)
				}
			}
		}
	}
	return os.WriteFile(string(f), b.Bytes(), 0o644)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "custom-backend:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: custom-backend KUBECONFIG NODE FILE")
	}
	config, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(kube.Tuned(config))
	if err != nil {
		return err
	}
	node := args[1]
	watcher, err := kube.New(client, kube.Config{NodeName: node})
	if err != nil {
		return err
	}
	return nodelocal.Run(ctx, watcher, configFile(args[2]), nodelocal.Config{NodeName: node})
}
