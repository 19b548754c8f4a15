// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsource_test

import (
	"strings"
	"sync"
)

// A lockedLog collects text from several goroutines.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
