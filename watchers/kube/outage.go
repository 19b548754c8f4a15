// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
)

// An outage tells once when requests for one kind begin to fail, and once when they
// no longer do.
type outage struct {
	what     string
	optional bool // nobody is hurt if it never ends
	logger   *slog.Logger

	mu    sync.Mutex
	since time.Time // the zero time when all is well
}

// failed takes a request that failed.
func (o *outage) failed(ctx context.Context, options *metav1.ListOptions, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ctx.Err() != nil || expected(options, err) || !o.since.IsZero() {
		return
	}
	o.since = time.Now()
	level := slog.LevelWarn
	if o.optional {
		level = slog.LevelInfo
	}
	o.logger.Log(ctx, level, "cannot read from the API server; keeping what is known and trying again",
		"kind", o.what, "err", err)
}

// over takes a watch that has begun: only then is there nothing more to try.
func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return
	}
	o.logger.Info("reading from the API server again", "kind", o.what, "after", time.Since(o.since))
	o.since = time.Time{}
}

// expected reports whether an error is part of the protocol: a history that is too
// old leads to a new list, and a server that cannot stream lists is asked for a
// plain one.
func expected(options *metav1.ListOptions, err error) bool {
	streamed := options.SendInitialEvents != nil
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) ||
		streamed && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err))
}

// An interruptible clock ends waiting when its context is done. The reflector sits
// out some of its pauses with no regard to its context, for up to a minute.
type interruptible struct {
	clock.RealClock
	ctx context.Context
}

// After is time.After, or sooner.
func (c interruptible) After(d time.Duration) <-chan time.Time {
	fired := make(chan time.Time, 1)
	go func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case now := <-timer.C:
			fired <- now
		case <-c.ctx.Done():
			fired <- time.Now()
		}
	}()
	return fired
}
