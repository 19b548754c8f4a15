// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// Config configures a [Watcher].
type Config struct {
	// Filter selects Services and EndpointSlices, and the properties that are kept.
	Filter kubeapi.Filter
	// Extend attaches extensions to Services, EndpointSlices and Nodes; nil attaches none.
	// The goroutine of Run calls it, once each time that an object is read.
	Extend kubeapi.Extend
	// OnErrors receives all errors of the files, in the order of files and lines, each
	// time that they change; an empty list means that there are none any more. The
	// goroutine of Run calls it, so calls do not overlap. It may be nil.
	OnErrors func([]*Error)
	// Poll is the interval of looking for changes without a notification; 0 is 10
	// seconds.
	Poll time.Duration
	// Logger receives each error of the files once, and which kinds of objects are
	// ignored. nil disables logging.
	Logger *slog.Logger
}

const (
	defaultPoll = 10 * time.Second
	// Changes come in bursts. The files are read after settleTime without a change, and
	// at the latest maxDelay after the first one.
	settleTime = 50 * time.Millisecond
	maxDelay   = 500 * time.Millisecond
)

// A Watcher writes the objects of manifests into a store.
type Watcher struct {
	path     string
	cfg      Config
	logger   *slog.Logger
	pollOnly bool // disables notifications, for tests
}

var _ watchers.Watcher = (*Watcher)(nil)

// New returns a watcher of a file, or of the files in a directory whose names end in
// .yaml, .yml or .json and do not begin with a dot, except those of Helm and Kustomize.
// Subdirectories are not read. The path need not exist before Run.
func New(path string, cfg Config) (*Watcher, error) {
	if path == "" {
		return nil, errors.New("watchers/file: path is empty")
	}
	if cfg.Poll < 0 {
		return nil, fmt.Errorf("watchers/file: Config.Poll: %v is negative", cfg.Poll)
	}
	if err := cfg.Filter.Validate(); err != nil {
		return nil, fmt.Errorf("watchers/file: Config.Filter: %w", err)
	}
	if cfg.Poll == 0 {
		cfg.Poll = defaultPoll
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Watcher{path: path, cfg: cfg, logger: logger}, nil
}

// Run keeps store equal to the files until ctx is done, and then returns nil. It may be
// called again after it has returned; calls must not overlap.
//
// The store is synced after the first reading, even if the files have errors or the
// directory is empty. Run returns an error only if the path does not exist or cannot be
// read when Run is called. If that happens later, or if the directory loses all its files
// at once, the store keeps its objects until there are files again. A path that is a pipe
// is read once, to its end.
func (w *Watcher) Run(ctx context.Context, store *watchers.Store) error {
	converter := kubeapi.Converter{Filter: w.cfg.Filter, Extend: w.cfg.Extend}
	decoder := &decoder{converter: converter, logger: w.logger, seed: maphash.MakeSeed(), loggedKinds: map[string]bool{}}
	p := publisher{path: w.path, store: store, onErrors: w.cfg.OnErrors, logger: w.logger}
	if info, err := os.Stat(w.path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return w.runPipe(ctx, info, decoder, &p)
	}
	// Notifications start before the first reading, so no change in between is lost.
	n := newNotifier(w.path, w.pollOnly, w.logger)
	defer n.close()
	files := fileSet{path: w.path, decoder: decoder}
	if _, err := files.scan(ctx, true); ctx.Err() != nil {
		return nil
	} else if err != nil {
		return fmt.Errorf("watchers/file: %w", err)
	}
	p.publish(files.merge())
	rescan := func(force bool) {
		if changed, _ := files.scan(ctx, force); changed { // merge returns the error too
			p.publish(files.merge())
		}
	}

	poll := time.NewTicker(w.cfg.Poll)
	defer poll.Stop()
	var burst time.Time // the first change that has not been read; zero if there is none
	settled := time.NewTimer(0)
	settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.changed():
			now := time.Now()
			if burst.IsZero() {
				burst = now
			}
			settled.Reset(min(settleTime, burst.Add(maxDelay).Sub(now)))
		case <-settled.C:
			burst = time.Time{}
			rescan(true)
		case <-poll.C:
			rescan(n.renew())
		}
	}
}

// runPipe reads the objects of a pipe once.
func (w *Watcher) runPipe(ctx context.Context, info fs.FileInfo, decoder *decoder, p *publisher) error {
	if info.Mode()&fs.ModeNamedPipe == 0 {
		return fmt.Errorf("watchers/file: %s: %w", w.path, errNotRegular(info))
	}
	data, err := readPipe(ctx, w.path)
	if err != nil {
		return fmt.Errorf("watchers/file: %s: %w", w.path, err)
	}
	if ctx.Err() == nil {
		state := newFileState(decoder.decode(w.path, data), &fileState{})
		files := fileSet{path: w.path, decoder: decoder, files: map[string]*fileState{w.path: &state}}
		p.publish(files.merge())
		<-ctx.Done()
	}
	return nil
}
