// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"net/http"
	"sync"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Proxy is a sink around a sink: it judges by the inner one's success whether the
// node is kept in line. Its methods may be called from any goroutine.
type Proxy struct {
	inner   localsink.Sink
	timeout time.Duration

	mu        sync.Mutex
	since     time.Time // when the oldest update that is not in place came; zero if none
	succeeded time.Time
}

// NewProxy returns a Proxy that is unhealthy when an update has not come into place
// within timeout, or when none at all has within timeout from now: a proxy that never
// gets anywhere must not look healthy.
func NewProxy(inner localsink.Sink, timeout time.Duration) *Proxy {
	return &Proxy{inner: inner, timeout: timeout, since: time.Now()}
}

// Sinks lets localsink.Walk see inside.
func (p *Proxy) Sinks() []localsink.Sink { return []localsink.Sink{p.inner} }

// Sync implements localsink.Sink. What is outstanding counts from the first attempt,
// however often it is asked for again.
func (p *Proxy) Sync(ctx context.Context, u *localsink.Update) error {
	p.note(func(now time.Time) {
		if p.since.IsZero() {
			p.since = now
		}
	})
	err := p.inner.Sync(ctx, u)
	if err == nil {
		p.note(func(now time.Time) { p.since, p.succeeded = time.Time{}, now })
	}
	return err
}

func (p *Proxy) note(change func(now time.Time)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(time.Now())
}

// Healthy says whether the node is kept in line.
func (p *Proxy) Healthy() bool {
	healthy, _ := p.state(time.Now())
	return healthy
}

func (p *Proxy) state(now time.Time) (healthy bool, succeeded time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.since.IsZero() || now.Sub(p.since) < p.timeout, p.succeeded
}

// Livez answers whether the proxy is healthy: for whoever restarts it if not.
func (p *Proxy) Livez() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { p.answer(w, nil) })
}

// Healthz answers whether load balancers should send traffic here: when the proxy is
// healthy and the node is eligible, which it is not when it is about to vanish.
func (p *Proxy) Healthz(eligible func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ok := eligible()
		p.answer(w, &ok)
	})
}

// proxyBody is kube-proxy's; both families are brought in line as one.
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

func (p *Proxy) answer(w http.ResponseWriter, eligible *bool) {
	now := time.Now()
	healthy, succeeded := p.state(now)
	family := familyBody{succeeded, healthy}
	body := proxyBody{
		LastUpdated: succeeded, CurrentTime: now, NodeEligible: eligible, Healthy: healthy,
		Status: map[string]familyBody{"IPv4": family, "IPv6": family},
	}
	ok := healthy && (eligible == nil || *eligible)
	if ok {
		body.LastUpdated = now
	}
	respond(w, ok, body)
}
