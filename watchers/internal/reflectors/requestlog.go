// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reflectors

import (
	"context"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A requestLog logs once when the requests for one resource begin to fail, and once when
// a watch succeeds again.
type requestLog struct {
	resource string
	optional bool // failures are logged at level info instead of warn
	logger   *slog.Logger

	mu           sync.Mutex
	failingSince time.Time // the zero time while requests succeed
}

// failed records a failed request.
func (l *requestLog) failed(ctx context.Context, options *metav1.ListOptions, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil || expected(options, err) || !l.failingSince.IsZero() {
		return
	}
	l.failingSince = time.Now()
	level := slog.LevelWarn
	if l.optional {
		level = slog.LevelInfo
	}
	l.logger.Log(ctx, level, "API server request failed, retrying and keeping the last known objects",
		"resource", l.resource, "err", err)
}

// watching records a watch that was accepted. A successful list does not end an outage,
// because the reflector still needs the watch.
func (l *requestLog) watching() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failingSince.IsZero() {
		return
	}
	l.logger.Info("API server requests succeed again", "resource", l.resource, "duration", time.Since(l.failingSince))
	l.failingSince = time.Time{}
}

// expected reports whether err is part of the protocol: after an expired resource version
// the reflector lists again, and a server without streamed lists rejects the first
// request for one.
func expected(options *metav1.ListOptions, err error) bool {
	streamed := options.SendInitialEvents != nil
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) ||
		streamed && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err))
}
