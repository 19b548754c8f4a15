// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
	"sigs.k8s.io/kpng/watchers"
)

// TestHC03HC04Health checks the sink of an agent, which sees no Node object: it is live
// for a minute while it waits for a server, and eligible when a state is applied and the
// node is not being deleted.
func TestHC03HC04Health(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fail error
		proxy := newProxy(t, localsink.Func(func(context.Context, *localsink.Update) error { return fail }), time.Minute)
		sink := NewEligibilitySink(proxy)
		handler := Handler(Config{Proxy: proxy, Eligible: sink.Eligible})
		expect := func(healthz, livez int) {
			t.Helper()
			require.Equal(t, healthz, get(handler, "/healthz"), "healthz")
			require.Equal(t, livez, get(handler, "/livez"), "livez")
		}
		sync := func(deleting bool) {
			t.Helper()
			require.ErrorIs(t, sink.Sync(t.Context(), &localsink.Update{Node: &localsink.Node{Deleting: deleting}}), fail)
		}
		expect(503, 200) // no update yet
		fail = errors.New("injected")
		sync(false)
		expect(503, 200) // nothing is applied
		fail = nil
		sync(false)
		expect(200, 200)
		sync(true)
		expect(503, 200)
		sync(false)
		expect(200, 200)
		fail = errors.New("injected")
		sync(true)
		expect(503, 200) // the deletion counts although the update is not applied
		time.Sleep(time.Minute)
		expect(503, 503)
	})
}

func TestNodeObjectDecidesEligibility(t *testing.T) {
	for _, row := range []struct {
		id    string
		node  *watchers.Node
		codes [2]int // of /healthz and /livez
	}{
		{"HC-04 no Node", nil, [2]int{503, 200}},
		{"HC-04 a Node", &watchers.Node{}, [2]int{200, 200}},
		{"HC-04 a Node that is being deleted", &watchers.Node{Deleting: true}, [2]int{503, 200}},
	} {
		t.Run(row.id, func(t *testing.T) {
			counters := metrics.NewHealthRequests()
			h := Handler(Config{
				Proxy:             newProxy(t, &sinktest.Recorder{}, time.Minute),
				Eligible:          func() bool { return NodeEligible(row.node) },
				InstrumentHealthz: counters.InstrumentHealthz, InstrumentLivez: counters.InstrumentLivez,
			})
			require.Equal(t, [2]int{get(h, "/healthz"), get(h, "/livez")}, row.codes)
			t.Run("HC-05 answers are counted by their code", func(t *testing.T) {
				require.EqualValues(t, 1, testutil.ToFloat64(counters.Healthz.WithLabelValues(fmt.Sprint(row.codes[0]))))
				require.EqualValues(t, 1, testutil.ToFloat64(counters.Livez.WithLabelValues("200")))
			})
		})
	}
}

func TestNodeIsEligibleByDefault(t *testing.T) {
	require.Equal(t, 200, get(Handler(Config{Proxy: newProxy(t, &sinktest.Recorder{}, time.Minute)}), "/healthz"))
}

func TestWalkFindsTheInnerSink(t *testing.T) {
	inner := &sinktest.Recorder{}
	found := false
	for s := range localsink.Walk(NewEligibilitySink(inner)) {
		found = found || s == localsink.Sink(inner)
	}
	require.True(t, found)
}

func get(h http.Handler, path string) (code int) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code
}

func newProxy(t *testing.T, inner localsink.Sink, timeout time.Duration) *healthcheck.Proxy {
	proxy, err := healthcheck.NewProxy(inner, timeout)
	require.NoError(t, err)
	return proxy
}
