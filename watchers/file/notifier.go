// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// A notifier signals that something in a directory has changed. It does not say what:
// with renames and links this is difficult to determine, and reading all files is cheap.
//
// The goroutine of Run calls renew and close; it owns info and failed.
type notifier struct {
	dir     string
	info    fs.FileInfo       // of the directory that is watched; nil if none is
	watcher *fsnotify.Watcher // nil if the system has no notifications
	failed  bool              // watching the directory failed, and that has been logged
	logger  *slog.Logger
	out     chan struct{}
	stop    chan struct{}
	stopped chan struct{}
}

// newNotifier watches path if it is a directory, and its parent directory otherwise,
// because a file that is replaced by rename cannot be watched itself. With disabled, the
// notifier never signals a change.
func newNotifier(path string, disabled bool, logger *slog.Logger) *notifier {
	n := &notifier{dir: filepath.Clean(path), logger: logger, out: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		n.dir = filepath.Dir(path)
	}
	if !disabled {
		var err error
		if n.watcher, err = fsnotify.NewWatcher(); err != nil {
			n.logger.Warn("File notifications are not available, polling only", "err", err)
			n.watcher = nil
		}
	}
	if n.watcher == nil {
		close(n.stopped)
		return n
	}
	n.renew()
	go n.forward()
	return n
}

// changed returns a channel that receives after a change. Several changes may give one
// signal.
func (n *notifier) changed() <-chan struct{} { return n.out }

// forward turns events into signals. An error of the watcher means that events were
// lost, so it gives a signal too.
func (n *notifier) forward() {
	defer close(n.stopped)
	for {
		select {
		case <-n.stop:
			return
		case _, ok := <-n.watcher.Events:
			if !ok {
				return
			}
		case _, ok := <-n.watcher.Errors:
			if !ok {
				return
			}
		}
		select {
		case n.out <- struct{}{}:
		default:
		}
	}
}

// renew watches the directory that is at the path now, and reports whether that is
// another one than before.
func (n *notifier) renew() bool {
	info, err := os.Stat(n.dir)
	if n.watcher == nil || err != nil {
		return false
	}
	// WatchList is checked too: a deleted directory is not watched any more, even if a
	// new one has the same inode.
	if n.info != nil && os.SameFile(info, n.info) && slices.Contains(n.watcher.WatchList(), n.dir) {
		return false
	}
	_ = n.watcher.Remove(n.dir)
	if err := n.watcher.Add(n.dir); err != nil {
		if !n.failed {
			n.logger.Warn("Cannot watch directory, polling only", "path", n.dir, "err", err)
		}
		n.failed = true
		return false
	}
	n.info, n.failed = info, false
	return true
}

// close stops the notifier and waits for its goroutine.
func (n *notifier) close() {
	close(n.stop)
	if n.watcher != nil {
		_ = n.watcher.Close()
	}
	<-n.stopped
}
