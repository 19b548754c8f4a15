// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"sync"
	"time"
)

const (
	// minRecentTimes is the number of most recent revisions whose times are always kept; at
	// most twice as many are.
	minRecentTimes = 4096
	// maxTriggersPerRevision bounds the trigger times of a revision and of an update.
	maxTriggersPerRevision = 64
)

// revisionTimes are the published time and the trigger times of a revision.
type revisionTimes struct {
	revision  uint64
	published time.Time
	triggers  []time.Time
}

// A revisionLog holds the times of the most recent revisions.
type revisionLog struct {
	mu  sync.Mutex
	log []revisionTimes // ascending revisions
}

func (l *revisionLog) add(t revisionTimes) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.log) >= 2*minRecentTimes {
		l.log = append(l.log[:0], l.log[minRecentTimes:]...)
	}
	l.log = append(l.log, t)
}

// between returns the times of the revisions after old up to new, as far as they are kept.
func (l *revisionLog) between(old, new uint64) []revisionTimes {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := len(l.log)
	for end > 0 && l.log[end-1].revision > new {
		end--
	}
	start := end
	for start > 0 && l.log[start-1].revision > old {
		start--
	}
	return append([]revisionTimes(nil), l.log[start:end]...)
}
