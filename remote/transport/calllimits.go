// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// CallLimits bound the rate of calls of one identity: a number of calls at once, and then
// calls per second. Further calls are rejected with ResourceExhausted and a RetryInfo, which
// the clients of this library obey.
type CallLimits struct {
	// NodeBurst and NodeRate apply to each identity that is bound to a node; 0 means 20 and 1
	// per second. An agent that reconnects makes fewer calls.
	NodeBurst, NodeRate int
	// Burst and Rate apply to each other identity and IP address; 0 means 2,000 and 200 per
	// second: relays and anonymous peers may share them.
	Burst, Rate int
}

func (l *CallLimits) setDefaults() {
	setDefault(&l.NodeBurst, 20)
	setDefault(&l.NodeRate, 1)
	setDefault(&l.Burst, 2_000)
	setDefault(&l.Rate, 200)
}

// callRates are the token buckets of identities.
type callRates struct {
	limits CallLimits

	mu      sync.Mutex
	buckets map[identityKey]*bucket
	sweepAt int // number of buckets at which full ones are removed
}

// A bucket holds tokens, of which each call takes one.
type bucket struct {
	tokens  float64
	updated time.Time
}

const minSweep = 1000

func newCallRates(limits CallLimits) *callRates {
	limits.setDefaults()
	return &callRates{limits: limits, buckets: map[identityKey]*bucket{}, sweepAt: minSweep}
}

func (r *callRates) of(key identityKey) (burst, perSecond float64) {
	if key.node != "" {
		return float64(r.limits.NodeBurst), float64(r.limits.NodeRate)
	}
	return float64(r.limits.Burst), float64(r.limits.Rate)
}

// take takes a token of an identity. It returns 0, or the time until there is one again.
func (r *callRates) take(key identityKey) (wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	burst, perSecond := r.of(key)
	now := time.Now()
	b := r.buckets[key]
	if b == nil {
		r.sweep(now)
		b = &bucket{tokens: burst, updated: now}
		r.buckets[key] = b
	}
	b.tokens = min(burst, b.tokens+now.Sub(b.updated).Seconds()*perSecond)
	b.updated = now
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) / perSecond * float64(time.Second))
	}
	b.tokens--
	return 0
}

// sweep removes the buckets that are full again.
func (r *callRates) sweep(now time.Time) {
	if len(r.buckets) < r.sweepAt {
		return
	}
	for key, b := range r.buckets {
		if burst, perSecond := r.of(key); b.tokens+now.Sub(b.updated).Seconds()*perSecond >= burst {
			delete(r.buckets, key)
		}
	}
	r.sweepAt = max(minSweep, 2*len(r.buckets))
}

// errTooManyCalls returns the status error of a call above the limits.
func errTooManyCalls(name string, wait time.Duration) error {
	st := status.Newf(codes.ResourceExhausted, "%q makes too many calls", name)
	if detailed, err := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}); err == nil {
		st = detailed
	}
	return st.Err()
}
