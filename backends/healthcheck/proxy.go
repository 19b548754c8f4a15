// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"net/http"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Proxy is a sink that wraps another sink and reports whether that sink is in the desired
// state, with a [ProxyHealth]. Healthy and the handlers may be called from any goroutine, at
// any time.
type Proxy struct {
	inner  localsink.Sink
	health *ProxyHealth
}

// NewProxy returns a Proxy around inner. The timeout of an update begins with its first Sync.
// Drift that a sink inside reports ([localsink.DriftReporter]) makes the proxy unhealthy.
// inner must not be nil, and timeout must be positive.
func NewProxy(inner localsink.Sink, timeout time.Duration) (*Proxy, error) {
	if inner == nil {
		return nil, errors.New("healthcheck: NewProxy: inner: required")
	}
	var drift []localsink.DriftReporter
	for s := range localsink.Walk(inner) {
		if r, ok := s.(localsink.DriftReporter); ok {
			drift = append(drift, r)
		}
	}
	health, err := newProxyHealth("NewProxy", timeout, drift)
	if err != nil {
		return nil, err
	}
	return &Proxy{inner, health}, nil
}

// Sinks returns the wrapped sink, for localsink.Walk.
func (p *Proxy) Sinks() []localsink.Sink { return []localsink.Sink{p.inner} }

// Sync implements localsink.Sink: it calls Sync of the wrapped sink and returns its error.
// A repeated Sync after an error does not extend the timeout.
func (p *Proxy) Sync(ctx context.Context, u *localsink.Update) error {
	p.health.Pending()
	err := p.inner.Sync(ctx, u)
	if err == nil {
		p.health.Applied()
	}
	return err
}

// Healthy reports whether updates are applied in time and no drift is known.
func (p *Proxy) Healthy() bool { return p.health.Healthy() }

// Livez returns the handler of [ProxyHealth.Livez].
func (p *Proxy) Livez() http.Handler { return p.health.Livez() }

// Healthz returns the handler of [ProxyHealth.Healthz].
func (p *Proxy) Healthz(eligible func() bool) http.Handler { return p.health.Healthz(eligible) }
