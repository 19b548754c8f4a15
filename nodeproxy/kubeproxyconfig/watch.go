// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// ErrFileChanged is wrapped by the error of [Config.WatchFile] after a change.
var ErrFileChanged = errors.New("configuration file changed")

const (
	// settleTime is the time between an event and reading the file: editors and kubelet
	// replace files in several steps.
	settleTime = 200 * time.Millisecond
	// missingTime is the time for which a file may be absent while it is replaced.
	missingTime = 2 * time.Second
	// pollInterval is the time between reads if the system has no notifications.
	pollInterval = 10 * time.Second
)

// WatchFile waits until the content of the configuration file is not what [Options.Load]
// has read, and returns an error that wraps [ErrFileChanged]: the program ends then, and its
// supervisor starts it with the new configuration. A file that is removed or renamed and not replaced has
// changed too; one that is written with the same content has not. It follows symbolic
// links, as those of a ConfigMap. It returns nil when ctx is done, and waits for that if there is
// no file. A nil logger is silent.
func (c *Config) WatchFile(ctx context.Context, logger *slog.Logger) error {
	if c.file == "" {
		<-ctx.Done()
		return nil
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = watcher.Close() }()
		err = watchDirectories(watcher, c.file)
	}
	if err != nil {
		logger.WarnContext(ctx, "Configuration file is read periodically, no notifications", "interval", pollInterval, "err", err)
		return c.pollFile(ctx)
	}
	return c.followFile(ctx, watcher, logger)
}

// followFile reads the file a little after the first of each series of events. A difference
// counts if the next read finds one too, so that a writer that truncates the file first
// has the time to complete it; a file that is absent, after missingTime.
func (c *Config) followFile(ctx context.Context, watcher *fsnotify.Watcher, logger *slog.Logger) error {
	read := time.After(0) // the file may have changed between Load and the watch
	var differs bool
	var missingSince time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Events:
			if read == nil {
				read = time.After(settleTime)
			}
			continue
		case err := <-watcher.Errors:
			logger.WarnContext(ctx, "Notifications about the configuration file were lost", "err", err)
		case <-read:
		}
		read = nil
		changed, missing := c.compareFile()
		if changed != nil && differs {
			return changed
		}
		differs = changed != nil
		if missing == nil {
			missingSince = time.Time{}
			missing = watchDirectories(watcher, c.file) // a link may lead to other directories now
		}
		if missing != nil && missingSince.IsZero() {
			missingSince = time.Now()
		}
		if missing != nil && time.Since(missingSince) >= missingTime {
			return missing
		}
		if differs || missing != nil {
			read = time.After(settleTime)
		}
	}
}

func (c *Config) pollFile(ctx context.Context) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if changed, missing := c.compareFile(); changed != nil || missing != nil {
				return errors.Join(changed, missing)
			}
		}
	}
}

// compareFile returns an error in changed if the content is another one, and in missing if
// the file cannot be read.
func (c *Config) compareFile() (changed, missing error) {
	content, err := os.ReadFile(c.file)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrFileChanged, err)
	case sha256.Sum256(content) != c.content:
		return fmt.Errorf("%w: %s", ErrFileChanged, c.file), nil
	}
	return nil, nil
}

// watchDirectories adds a watch for each directory whose entries determine which file path
// is: that of the file, and those of all symbolic links on the way. A replaced file or link has a
// new inode, so a watch of the file itself would miss it.
func watchDirectories(watcher *fsnotify.Watcher, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	const maxLinks = 40 // as the kernel
	rest := strings.Split(strings.TrimPrefix(path, "/"), "/")
	dir := "/"
	for links := 0; len(rest) > 0 && links <= maxLinks; {
		name := filepath.Join(dir, rest[0])
		target, err := os.Readlink(name)
		if err != nil { // no link
			if len(rest) == 1 {
				return watcher.Add(dir)
			}
			dir, rest = name, rest[1:]
			continue
		}
		links++
		if err := watcher.Add(dir); err != nil {
			return err
		}
		if filepath.IsAbs(target) {
			dir = "/"
		}
		rest = append(strings.Split(strings.Trim(filepath.Clean(target), "/"), "/"), rest[1:]...)
	}
	return fmt.Errorf("%s: too many symbolic links", path)
}
