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
	backend, err := nftables.New(nftables.Config{}) //nolint:contextcheck // Close ends what New starts
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
	fmt.Println("In a namespace of its own, the Service default/web has three endpoints.")
	if err := printResponses(ctx); err != nil {
		return err
	}
	start := time.Now()
	if err := p.writeManifests(bytes.Replace(manifests, []byte("- {addresses: [10.244.0.3]}\n"), nil, 1)); err != nil {
		return err
	}
	if err := p.await(ctx, 2); err != nil {
		return err
	}
	fmt.Printf(`
One endpoint is removed from the manifest. New rules: %.1f ms after the file
was written, %.1f ms after the watcher observed the change.
`, milliseconds(time.Since(start)), milliseconds(p.last.latency))
	if err := printResponses(ctx); err != nil {
		return err
	}
	fmt.Println("\nThe namespace ends with this program: nothing is left behind.")
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
