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

// A Proxy is a sink that wraps another sink and reports whether that sink applies updates
// in time. Healthy and the handlers may be called from any goroutine, at any time.
type Proxy struct {
	inner   localsink.Sink
	timeout time.Duration

	mu           sync.Mutex
	pendingSince time.Time // first attempt of the oldest update that is not applied; zero if all are
	lastApplied  time.Time // zero before the first applied update
}

// NewProxy returns a Proxy around inner. It is unhealthy while an update has not been
// applied within timeout of its first Sync, and while no update has been applied within
// timeout of NewProxy. inner must not be nil, and timeout must be positive.
func NewProxy(inner localsink.Sink, timeout time.Duration) (*Proxy, error) {
	if inner == nil {
		return nil, errors.New("healthcheck: NewProxy: inner: required")
	}
	if timeout <= 0 {
		return nil, fmt.Errorf("healthcheck: NewProxy: timeout: %v is not positive", timeout)
	}
	return &Proxy{inner: inner, timeout: timeout, pendingSince: time.Now()}, nil
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

// Healthy reports whether updates are applied in time.
func (p *Proxy) Healthy() bool {
	healthy, _ := p.state(time.Now())
	return healthy
}

func (p *Proxy) state(now time.Time) (healthy bool, lastApplied time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pendingSince.IsZero() || now.Sub(p.pendingSince) < p.timeout, p.lastApplied
}

// Livez returns a handler for supervisors that restart an unhealthy proxy: status 200 if
// the proxy is healthy, otherwise 503.
func (p *Proxy) Livez() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { p.respond(w, nil) })
}

// Healthz returns a handler for load balancers: status 200 if the proxy is healthy and the
// node is eligible for load balancers, otherwise 503. The handler calls eligible for each
// request, possibly from several goroutines; it returns false for a node that is being
// deleted.
func (p *Proxy) Healthz(eligible func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ok := eligible()
		p.respond(w, &ok)
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
func (p *Proxy) respond(w http.ResponseWriter, eligible *bool) {
	now := time.Now()
	healthy, lastApplied := p.state(now)
	family := familyBody{lastApplied, healthy}
	body := proxyBody{
		LastUpdated: lastApplied, CurrentTime: now, NodeEligible: eligible, Healthy: healthy,
		Status: map[string]familyBody{"IPv4": family, "IPv6": family},
	}
	ok := healthy && (eligible == nil || *eligible)
	if ok {
		body.LastUpdated = now
	}
	writeJSON(w, ok, body)
}
