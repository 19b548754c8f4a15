// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command quickstart serves real connections without a cluster: with sample manifests, a
// network namespace of its own, TCP servers in place of pods, and the nftables backend. It
// needs only Go, ends by itself, and changes nothing on the machine.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"time"

	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
)

//go:embed manifests.yaml
var manifests []byte

// The node and its addresses, as in the manifests.
const (
	nodeName    = "quickstart"
	nodeIP      = "192.0.2.10"
	clusterIP   = "10.96.0.10:80"
	nodePort    = nodeIP + ":30080"
	connections = 3000
)

func pods() []string { return []string{"10.244.0.1", "10.244.0.2", "10.244.0.3"} }

// errNotPermitted reports that this machine does not permit a network namespace or
// nftables.
var errNotPermitted = errors.New("a network namespace with nftables cannot be created on this machine")

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	err := run(ctx)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	inside, err := runInNamespace(ctx)
	if inside {
		err = demonstrate(ctx)
	}
	if errors.Is(err, errNotPermitted) {
		fmt.Printf("%v.\nThis is the desired state of the node:\n\n", err)
		err = explain(ctx)
	}
	return err
}

// demonstrate runs the pipeline: manifests, cluster state, desired state, rules, packets.
func demonstrate(ctx context.Context) (err error) {
	if err := configureNamespace(append(pods(), nodeIP)...); err != nil {
		return fmt.Errorf("%w: network namespace: %w", errNotPermitted, err)
	}
	for _, pod := range pods() {
		if err := serveAddress(ctx, pod+":8080"); err != nil {
			return err
		}
	}
	backend, err := nftables.New(nftables.Config{})
	if err != nil {
		return fmt.Errorf("%w: %w", errNotPermitted, err)
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	p, err := startPipeline(ctx, backend)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.await(ctx, 3); err != nil {
		return err
	}
	fmt.Println("A Service with three pods is programmed. Responses by pod:")
	if err := printResponses(ctx); err != nil {
		return err
	}
	fmt.Println("\nNow the third pod is deleted.")
	start := time.Now()
	if err := p.writeManifests(bytes.Replace(manifests, []byte("- {addresses: [10.244.0.3]}\n"), nil, 1)); err != nil {
		return err
	}
	if err := p.await(ctx, 2); err != nil {
		return err
	}
	fmt.Printf("The rules changed %d µs after the change was read (%d µs after the file was written). Responses by pod:\n",
		p.last.latency.Microseconds(), time.Since(start).Microseconds())
	return printResponses(ctx)
}

// explain prints the desired state, and the rules that the nftables backend would write.
func explain(ctx context.Context) error {
	p, err := startPipeline(ctx, localsink.Func(func(_ context.Context, u *localsink.Update) error {
		for svc := range u.All.All() {
			fmt.Print(svc.Text())
		}
		rules, err := nftables.Describe(nftables.Config{}, u)
		fmt.Printf("\nThese are the rules of the nftables backend:\n\n%s", rules)
		return err
	}))
	if err != nil {
		return err
	}
	defer p.stop()
	return p.await(ctx, 3)
}
