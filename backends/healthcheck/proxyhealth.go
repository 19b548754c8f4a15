// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A ProxyHealth is the health of a proxy, for /healthz, /livez and [Config.Healthy]. [Proxy]
// maintains one for a sink; a program without a sink calls Pending and Applied. All methods
// may be called from any goroutine, at any time.
//
// A proxy is live unless, for the timeout, an update has not been applied, none has been
// applied since the start, or drift that a [localsink.DriftReporter] reports has not been
// repaired. It is healthy if it is live and there is no drift that is not repaired. So load
// balancers avoid a node as soon as it is known to be broken, and a supervisor restarts it
// only if it does not repair itself.
type ProxyHealth struct {
	timeout time.Duration
	drift   []localsink.DriftReporter

	mu           sync.Mutex
	pendingSince time.Time // since when there is an update that is not applied; zero if all are
	lastApplied  time.Time // zero before the first applied update
}

// NewProxyHealth returns the health of a proxy that starts now and has applied nothing.
// timeout must be positive. drift lists what else can make the proxy unhealthy.
func NewProxyHealth(timeout time.Duration, drift ...localsink.DriftReporter) (*ProxyHealth, error) {
	return newProxyHealth("NewProxyHealth", timeout, drift)
}

func newProxyHealth(operation string, timeout time.Duration, drift []localsink.DriftReporter) (*ProxyHealth, error) {
	if timeout <= 0 {
		return nil, fmt.Errorf("healthcheck: %s: timeout: %v is not positive", operation, timeout)
	}
	return &ProxyHealth{timeout: timeout, drift: drift, pendingSince: time.Now()}, nil
}

// Pending records that there is an update to apply. Its timeout begins, unless that of an
// earlier update is running.
func (h *ProxyHealth) Pending() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pendingSince.IsZero() {
		h.pendingSince = time.Now()
	}
}

// Applied records that all pending updates have been applied.
func (h *ProxyHealth) Applied() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pendingSince, h.lastApplied = time.Time{}, time.Now()
}

// Healthy reports whether updates are applied in time and no drift is known.
func (h *ProxyHealth) Healthy() bool { return h.state(time.Now()).healthy }

// A proxyState is the state of a proxy at some time.
type proxyState struct {
	live, healthy bool
	lastApplied   time.Time
}

func (h *ProxyHealth) state(now time.Time) proxyState {
	drifted := h.driftedSince()
	h.mu.Lock()
	defer h.mu.Unlock()
	inTime := func(since time.Time) bool { return since.IsZero() || now.Sub(since) < h.timeout }
	live := inTime(h.pendingSince) && inTime(drifted)
	return proxyState{live: live, healthy: live && drifted.IsZero(), lastApplied: h.lastApplied}
}

// driftedSince returns when the oldest drift that is not repaired was detected.
func (h *ProxyHealth) driftedSince() (oldest time.Time) {
	for _, r := range h.drift {
		if since := r.DriftedSince(); !since.IsZero() && (oldest.IsZero() || since.Before(oldest)) {
			oldest = since
		}
	}
	return oldest
}

// Livez returns a handler for supervisors that restart a proxy which is not live: status 200
// if the proxy is live, otherwise 503.
func (h *ProxyHealth) Livez() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		s := h.state(now)
		s.healthy = s.live
		respond(w, now, s, nil)
	})
}

// Healthz returns a handler for load balancers: status 200 if the proxy is healthy and the
// node is eligible for load balancers, otherwise 503. The handler calls eligible for each
// request, possibly from several goroutines. kube-proxy's rule: the Node object exists, is not
// being deleted, and has no taint with the key ToBeDeletedByClusterAutoscaler.
func (h *ProxyHealth) Healthz(eligible func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ok, now := eligible(), time.Now()
		respond(w, now, h.state(now), &ok)
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
