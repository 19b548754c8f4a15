// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers/file"
)

// A pipeline is a running proxy that watches a manifest in a temporary directory.
type pipeline struct {
	dir     string
	cancel  context.CancelFunc
	done    chan struct{} // closed at the end
	err     error         // why it ended; set before done is closed
	applied chan applied
	last    applied
}

// An applied is a state that the sink has applied.
type applied struct {
	endpoints int
	latency   time.Duration // since the change was read
}

func startPipeline(ctx context.Context, sink localsink.Sink) (*pipeline, error) {
	dir, err := os.MkdirTemp("", "quickstart")
	if err != nil {
		return nil, err
	}
	p := &pipeline{dir: dir, done: make(chan struct{}), applied: make(chan applied, 16)}
	if err := p.writeManifests(manifests); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	watcher, err := file.New(dir, file.Config{})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, p.cancel = context.WithCancel(ctx)
	go func() {
		defer close(p.done)
		p.err = nodelocal.Run(ctx, watcher, p.observe(sink), nodelocal.Config{NodeName: nodeName})
	}()
	return p, nil
}

// observe returns a sink that reports each state which inner has applied.
func (p *pipeline) observe(inner localsink.Sink) localsink.Sink {
	return localsink.Func(func(ctx context.Context, u *localsink.Update) error {
		if err := inner.Sync(ctx, u); err != nil {
			return err
		}
		a := applied{latency: time.Since(u.ObservedTime)}
		for svc := range u.All.All() {
			a.endpoints += len(svc.Ports[0].Pools[0].Endpoints)
		}
		p.applied <- a
		return nil
	})
}

// writeManifests replaces the manifest by rename: the watcher reads all of it or nothing.
func (p *pipeline) writeManifests(data []byte) error {
	next := filepath.Join(p.dir, ".next")
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(p.dir, "manifests.yaml"))
}

// await waits until a state with the given number of endpoints is applied.
func (p *pipeline) await(ctx context.Context, endpoints int) error {
	for {
		select {
		case p.last = <-p.applied:
			if p.last.endpoints == endpoints {
				return nil
			}
		case <-p.done:
			return fmt.Errorf("proxy ended: %w", p.err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop ends the proxy and removes its directory.
func (p *pipeline) stop() {
	p.cancel()
	<-p.done
	_ = os.RemoveAll(p.dir)
}
