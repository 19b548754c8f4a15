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

// A notifier tells that something in a directory has changed: not what, for renames
// and links make that hard to know, and reading all files is cheap.
type notifier struct {
	dir     string
	info    fs.FileInfo       // of the directory that is watched; nil when none is
	watcher *fsnotify.Watcher // nil when the system cannot notify
	failed  bool              // and it was said
	logger  *slog.Logger
	out     chan struct{}
	stop    chan struct{}
	ended   chan struct{}
}

// newNotifier watches path if it is a directory, and else the one that path is in:
// files are replaced rather than written.
func newNotifier(path string, none bool, logger *slog.Logger) *notifier {
	n := &notifier{dir: filepath.Clean(path), logger: logger, out: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		n.dir = filepath.Dir(path)
	}
	if !none {
		var err error
		if n.watcher, err = fsnotify.NewWatcher(); err != nil {
			n.logger.Warn("the system does not notify of changes; looking for them now and then", "err", err)
			n.watcher = nil
		}
	}
	if n.watcher == nil {
		close(n.ended)
		return n
	}
	n.renew()
	go n.drain()
	return n
}

// changed returns a channel that receives after something has changed.
func (n *notifier) changed() <-chan struct{} { return n.out }

// drain takes what is notified. Errors say that notifications were lost, which calls
// for a look as well.
func (n *notifier) drain() {
	defer close(n.ended)
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

// renew follows the directory's name to another directory, if it has come to mean
// one, and reports whether it has.
func (n *notifier) renew() bool {
	info, err := os.Stat(n.dir)
	if n.watcher == nil || err != nil {
		return false
	}
	// A deleted directory is not watched any more, even if its inode is used again.
	if n.info != nil && os.SameFile(info, n.info) && slices.Contains(n.watcher.WatchList(), n.dir) {
		return false
	}
	_ = n.watcher.Remove(n.dir)
	if err := n.watcher.Add(n.dir); err != nil {
		if !n.failed {
			n.logger.Warn("cannot be notified of changes; looking for them now and then", "path", n.dir, "err", err)
		}
		n.failed = true
		return false
	}
	n.info, n.failed = info, false
	return true
}

func (n *notifier) close() {
	close(n.stop)
	if n.watcher != nil {
		_ = n.watcher.Close()
	}
	<-n.ended
}
