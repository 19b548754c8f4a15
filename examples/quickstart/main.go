// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command quickstart serves real connections without a cluster: sample manifests, a
// network namespace of its own, real servers and the nftables backend. It needs only
// Go, ends by itself, and leaves nothing behind.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
)

//go:embed manifests.yaml
var manifests []byte

const (
	node        = "quickstart" // as in the manifests, like all addresses
	nodeIP      = "192.0.2.10"
	clusterIP   = "10.96.0.10:80"
	nodePort    = nodeIP + ":30080"
	connections = 3000
)

func pods() []string { return []string{"10.244.0.1", "10.244.0.2", "10.244.0.3"} }

// errNoPackets says that the machine does not allow what showing packets takes.
var errNoPackets = errors.New("no packets to see here")

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	inside, err := enter()
	if inside {
		err = demonstrate(ctx)
	}
	if errors.Is(err, errNoPackets) {
		fmt.Printf("%v.\nThis is what the node would do:\n\n", err)
		err = explain(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// demonstrate shows the pipeline at work: files, facts, what they mean, rules,
// packets.
func demonstrate(ctx context.Context) error {
	if err := furnish(append(pods(), nodeIP)...); err != nil {
		return fmt.Errorf("%w: the namespace: %w", errNoPackets, err)
	}
	for _, pod := range pods() {
		if err := echo(ctx, pod+":8080"); err != nil {
			return err
		}
	}
	backend, err := nftables.New(nftables.Config{})
	if err != nil {
		return fmt.Errorf("%w: %w", errNoPackets, err)
	}
	defer backend.Close()
	p, err := start(ctx, backend)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.await(ctx, 3); err != nil {
		return err
	}
	fmt.Println("A Service of three pods is in place. Who answers?")
	if err := show(ctx); err != nil {
		return err
	}
	fmt.Println("\nNow the third pod goes away.")
	begun := time.Now()
	if err := p.write(bytes.Replace(manifests, []byte("- {addresses: [10.244.0.3]}\n"), nil, 1)); err != nil {
		return err
	}
	if err := p.await(ctx, 2); err != nil {
		return err
	}
	fmt.Printf("The node followed %d µs after it knew (%d µs after the file was written). Who answers?\n",
		p.last.took.Microseconds(), time.Since(begun).Microseconds())
	return show(ctx)
}

// show dials the Service by both its addresses.
func show(ctx context.Context) error {
	for _, addr := range []string{clusterIP, nodePort} {
		begun := time.Now()
		answers, err := dial(ctx, addr, connections)
		if err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
		fmt.Printf("  %-17s %d connections in %d ms: %s\n", addr, connections, time.Since(begun).Milliseconds(), answers)
	}
	return nil
}

// explain prints the state that a backend would be given, and the rules that the
// nftables backend would make of it.
func explain(ctx context.Context) error {
	printed := localsink.Func(func(_ context.Context, u *localsink.Update) error {
		for svc := range u.All.All() {
			fmt.Print(svc.Text())
		}
		rules, err := nftables.Describe(nftables.Config{}, u)
		fmt.Printf("\nand these the rules of the nftables backend:\n\n%s", rules)
		return err
	})
	p, err := start(ctx, printed)
	if err != nil {
		return err
	}
	defer p.stop()
	return p.await(ctx, 3)
}

// A pipeline is a running proxy that follows a file in a directory of its own.
type pipeline struct {
	dir     string
	sink    localsink.Sink
	store   *watchers.Store
	cancel  context.CancelFunc
	done    chan error
	applied chan applied
	last    applied
}

// applied says that a state has arrived at the sink.
type applied struct {
	endpoints int
	took      time.Duration // since the process knew
}

func start(ctx context.Context, sink localsink.Sink) (*pipeline, error) {
	dir, err := os.MkdirTemp("", "quickstart")
	if err != nil {
		return nil, err
	}
	p := &pipeline{dir: dir, sink: sink, store: watchers.NewStore(), done: make(chan error, 2), applied: make(chan applied, 16)}
	if err := p.write(manifests); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	watcher, err := file.New(dir, file.Config{})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, p.cancel = context.WithCancel(ctx)
	go func() { p.done <- watcher.Run(ctx, p.store) }()
	go func() {
		p.done <- nodelocal.Follow(ctx, p.store, localsink.Func(p.sync), nodelocal.Config{NodeName: node})
	}()
	return p, nil
}

// sync passes an update on and says how it went.
func (p *pipeline) sync(ctx context.Context, u *localsink.Update) error {
	if err := p.sink.Sync(ctx, u); err != nil {
		return err
	}
	now := time.Now()
	n := 0
	for svc := range u.All.All() {
		n += len(svc.Ports[0].Pools[0].Endpoints)
	}
	p.applied <- applied{n, now.Sub(u.ObservedTime)}
	return nil
}

// write replaces the manifests at once, as an editor would.
func (p *pipeline) write(data []byte) error {
	next := filepath.Join(p.dir, ".next")
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(p.dir, "manifests.yaml"))
}

// await waits until the Service has that many endpoints at the sink.
func (p *pipeline) await(ctx context.Context, endpoints int) error {
	for {
		select {
		case p.last = <-p.applied:
			if p.last.endpoints == endpoints {
				return nil
			}
		case err := <-p.done:
			return fmt.Errorf("the pipeline has ended: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop ends the pipeline and removes its directory.
func (p *pipeline) stop() {
	p.cancel()
	<-p.done
	<-p.done
	_ = os.RemoveAll(p.dir)
}
