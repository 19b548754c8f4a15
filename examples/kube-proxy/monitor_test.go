package main

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func service(name string, empty localsink.Verdict, endpoints ...string) *localsink.Service {
	pool := localsink.Pool{}
	for _, e := range endpoints {
		pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: netip.MustParseAddrPort(e)})
	}
	routes := []localsink.Route{{Empty: empty}}
	return &localsink.Service{Name: localsink.ServiceName{Name: name}, Ports: []localsink.Port{{
		Protocol: localsink.TCP, Pools: []localsink.Pool{pool},
		Frontends: []localsink.Frontend{
			{Kind: localsink.ClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: routes},
			{Kind: localsink.NodePort, Addr: netip.MustParseAddrPort("0.0.0.0:30080"), Routes: routes},
		},
	}}}
}

func TestMonitorCounts(t *testing.T) {
	var fail error
	m := newMonitor(localsink.Func(func(context.Context, *localsink.Update) error { return fail }))
	d := sinktest.Driver{Sink: m, Node: &localsink.Node{}}
	internal, external := m.noLocalEndpoints.WithLabelValues("internal"), m.noLocalEndpoints.WithLabelValues("external")

	require.NoError(t, d.Sync(t.Context(), sinktest.State(service("a", localsink.Drop), service("b", localsink.Reject))))
	require.EqualValues(t, 1, testutil.ToFloat64(internal))
	require.EqualValues(t, 1, testutil.ToFloat64(external))
	require.EqualValues(t, 2, testutil.ToFloat64(m.serviceChanges))

	fail = errors.New("injected")
	require.Error(t, d.Sync(t.Context(), sinktest.State(service("a", localsink.Drop, "10.0.0.1:80"))))
	require.EqualValues(t, 1, testutil.ToFloat64(m.failures))
	require.EqualValues(t, 2, testutil.ToFloat64(m.pending))
	require.EqualValues(t, 1, testutil.ToFloat64(internal), "nothing was applied")
	_, err := m.state()
	require.ErrorIs(t, err, fail)

	fail = nil
	faulty := service("a", localsink.Drop, "10.0.0.1:80")
	faulty.Problems = []localsink.Problem{{Object: "Service a"}}
	require.NoError(t, d.Sync(t.Context(), sinktest.State(faulty)))
	require.Zero(t, testutil.ToFloat64(internal))
	require.Zero(t, testutil.ToFloat64(external))
	require.Zero(t, testutil.ToFloat64(m.pending))
	require.EqualValues(t, 1, testutil.ToFloat64(m.endpointChanges))
	require.EqualValues(t, 3, testutil.ToFloat64(m.serviceChanges), "b was removed")
	require.EqualValues(t, 1, testutil.ToFloat64(m.services))
	require.EqualValues(t, 1, testutil.ToFloat64(m.faulty))
	problems, err := testutil.GatherAndLint(m.registry, "kpng_services", "kpng_services_with_problems")
	require.NoError(t, err)
	require.Empty(t, problems)
}

// TestMonitorMeasuresReactions: from the first cause to success, and only where there
// is one.
func TestMonitorMeasuresReactions(t *testing.T) {
	var fail error
	m := newMonitor(localsink.Func(func(context.Context, *localsink.Update) error { return fail }))
	sync := func(noticed time.Time, want error) {
		fail = want
		require.ErrorIs(t, m.Sync(t.Context(), &localsink.Update{Node: &localsink.Node{}, All: sinktest.State(), Noticed: noticed}), want)
	}
	count := func() (n uint64, sum float64) {
		families, err := m.registry.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == "kpng_reaction_duration_seconds" {
				h := f.GetMetric()[0].GetHistogram()
				n, sum = h.GetSampleCount(), h.GetSampleSum()
			}
		}
		return n, sum
	}
	sync(time.Time{}, nil)
	sync(time.Now().Add(-time.Hour), errors.New("injected"))
	n, _ := count()
	require.Zero(t, n)
	sync(time.Now().Add(-time.Hour), nil)
	n, sum := count()
	require.EqualValues(t, 1, n)
	require.InDelta(t, time.Hour.Seconds(), sum, 60)
}
