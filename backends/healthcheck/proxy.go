// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Proxy is a sink that wraps another sink and reports whether that sink is in the desired
// state. Healthy and the handlers may be called from any goroutine, at any time.
//
// A proxy is live unless, for the timeout, an update has not been applied, none has been
// applied since NewProxy, or drift that a sink inside reports ([localsink.DriftReporter]) has
// not been repaired. It is healthy if it is live and there is no drift that is not repaired.
// So load balancers avoid a node as soon as it is known to be broken, and a supervisor restarts
// it only if it does not repair itself.
type Proxy struct {
	inner   localsink.Sink
	timeout time.Duration
	drift   []localsink.DriftReporter // inside inner

	mu           sync.Mutex
	pendingSince time.Time // first attempt of the oldest update that is not applied; zero if all are
	lastApplied  time.Time // zero before the first applied update
}

// NewProxy returns a Proxy around inner. The timeout of an update begins with its first Sync.
// inner must not be nil, and timeout must be positive.
func NewProxy(inner localsink.Sink, timeout time.Duration) (*Proxy, error) {
	if inner == nil {
		return nil, errors.New("healthcheck: NewProxy: inner: required")
	}
	if timeout <= 0 {
		return nil, fmt.Errorf("healthcheck: NewProxy: timeout: %v is not positive", timeout)
	}
	p := &Proxy{inner: inner, timeout: timeout, pendingSince: time.Now()}
	for s := range localsink.Walk(inner) {
		if r, ok := s.(localsink.DriftReporter); ok {
			p.drift = append(p.drift, r)
		}
	}
	return p, nil
}

// Sinks returns the wrapped sink, for localsink.Walk.
func (p *Proxy) Sinks() []localsink.Sink { return []localsink.Sink{p.inner} }

// Sync implements localsink.Sink: it calls Sync of the wrapped sink and returns its error.
// A repeated Sync after an error does not extend the timeout.
func (p *Proxy) Sync(ctx context.Context, u *localsink.Update) error {
	p.setPending()
	err := p.inner.Sync(ctx, u)
	if err == nil {
		p.setApplied()
	}
	return err
}

func (p *Proxy) setPending() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pendingSince.IsZero() {
		p.pendingSince = time.Now()
	}
}

func (p *Proxy) setApplied() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pendingSince, p.lastApplied = time.Time{}, time.Now()
}

// Healthy reports whether updates are applied in time and no drift is known.
func (p *Proxy) Healthy() bool { return p.state(time.Now()).healthy }

// A proxyState is the state of a Proxy at some time.
type proxyState struct {
	live, healthy bool
	lastApplied   time.Time
}

func (p *Proxy) state(now time.Time) proxyState {
	drifted := p.driftedSince()
	p.mu.Lock()
	defer p.mu.Unlock()
	inTime := func(since time.Time) bool { return since.IsZero() || now.Sub(since) < p.timeout }
	live := inTime(p.pendingSince) && inTime(drifted)
	return proxyState{live: live, healthy: live && drifted.IsZero(), lastApplied: p.lastApplied}
}

// driftedSince returns when the oldest drift that is not repaired was detected.
func (p *Proxy) driftedSince() (oldest time.Time) {
	for _, r := range p.drift {
		if since := r.DriftedSince(); !since.IsZero() && (oldest.IsZero() || since.Before(oldest)) {
			oldest = since
		}
	}
	return oldest
}

// Livez returns a handler for supervisors that restart a proxy which is not live: status 200
// if the proxy is live, otherwise 503.
func (p *Proxy) Livez() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		s := p.state(now)
		s.healthy = s.live
		respond(w, now, s, nil)
	})
}

// Healthz returns a handler for load balancers: status 200 if the proxy is healthy and the
// node is eligible for load balancers, otherwise 503. The handler calls eligible for each
// request, possibly from several goroutines; it returns false for a node that is being
// deleted.
func (p *Proxy) Healthz(eligible func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ok, now := eligible(), time.Now()
		respond(w, now, p.state(now), &ok)
	})
}

// proxyBody is the response body of kube-proxy. Both address families have the same status,
// because one update covers both.
type proxyBody struct {
	LastUpdated  time.Time             `json:"lastUpdated"`
	CurrentTime  time.Time             `json:"currentTime"`
	NodeEligible *bool                 `json:"nodeEligible,omitempty"`
	Healthy      bool                  `json:"healthy"`
	Status       map[string]familyBody `json:"status"`
}

type familyBody struct {
	LastUpdated time.Time `json:"lastUpdated"`
	Healthy     bool      `json:"healthy"`
}

// respond writes the state of the proxy. eligible is nil for a response without
// nodeEligible.
func respond(w http.ResponseWriter, now time.Time, s proxyState, eligible *bool) {
	family := familyBody{s.lastApplied, s.healthy}
	body := proxyBody{
		LastUpdated: s.lastApplied, CurrentTime: now, NodeEligible: eligible, Healthy: s.healthy,
		Status: map[string]familyBody{"IPv4": family, "IPv6": family},
	}
	ok := s.healthy && (eligible == nil || *eligible)
	if ok {
		body.LastUpdated = now
	}
	writeJSON(w, ok, body)
}
