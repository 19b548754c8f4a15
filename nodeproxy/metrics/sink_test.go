// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

func service(name string, empty localsink.Verdict, endpoints ...string) *localsink.Service {
	pool := localsink.Pool{}
	for _, e := range endpoints {
		pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: netip.MustParseAddrPort(e), Weight: 1})
	}
	routes := []localsink.Route{{EmptyVerdict: empty}}
	return &localsink.Service{Name: localsink.ServiceName{Name: name}, Ports: []localsink.Port{{
		Protocol: localsink.ProtocolTCP, Pools: []localsink.Pool{pool},
		Frontends: []localsink.Frontend{
			{Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: routes},
			{Kind: localsink.KindNodePort, Addr: netip.MustParseAddrPort("0.0.0.0:30080"), Routes: routes},
		},
	}}}
}

func TestChangesAndServicesAreCounted(t *testing.T) {
	var fail error
	sink := NewSink(localsink.Func(func(context.Context, *localsink.Update) error { return fail }), SinkConfig{})
	d := sinktest.Driver{Sink: sink, Node: &localsink.Node{}}
	internal, external := sink.noInternal[ipv4], sink.noExternal[ipv4]

	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(service("a", localsink.VerdictDrop), service("b", localsink.VerdictReject))))
	require.EqualValues(t, 1, testutil.ToFloat64(internal))
	require.EqualValues(t, 1, testutil.ToFloat64(external))
	require.EqualValues(t, 2, testutil.ToFloat64(sink.serviceChanges))

	fail = errors.New("injected")
	require.Error(t, d.Sync(t.Context(), sinktest.NewState(service("a", localsink.VerdictDrop, "10.0.0.1:80"))))
	require.EqualValues(t, 1, testutil.ToFloat64(sink.failures))
	require.EqualValues(t, 1, testutil.ToFloat64(sink.servicesPending), "b is removed")
	require.EqualValues(t, 1, testutil.ToFloat64(sink.endpointsPending), "a has an endpoint")
	require.EqualValues(t, 1, testutil.ToFloat64(internal), "the update was not applied")

	fail = nil
	invalid := service("a", localsink.VerdictDrop, "10.0.0.1:80")
	invalid.Problems = []localsink.Problem{{Object: "Service a"}}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(invalid)))
	require.Zero(t, testutil.ToFloat64(internal))
	require.Zero(t, testutil.ToFloat64(external))
	require.Zero(t, testutil.ToFloat64(sink.servicesPending))
	require.Zero(t, testutil.ToFloat64(sink.endpointsPending))
	require.EqualValues(t, 1, testutil.ToFloat64(sink.endpointChanges))
	require.EqualValues(t, 3, testutil.ToFloat64(sink.serviceChanges), "b was removed")
	require.EqualValues(t, 1, testutil.ToFloat64(sink.services))
	require.EqualValues(t, 1, testutil.ToFloat64(sink.problems))
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(sink))
	problems, err := testutil.GatherAndLint(registry, "kpng_services", "kpng_services_with_problems")
	require.NoError(t, err)
	require.Empty(t, problems)
}

// TestServicesWithoutLocalEndpointsAreCounted counts Services whose traffic this node
// drops although they have endpoints on other nodes.
func TestServicesWithoutLocalEndpointsAreCounted(t *testing.T) {
	for _, row := range []struct {
		id                 string
		internal, external bool // which traffic policies are Local
		endpoints          []string
		want               [2]float64
	}{
		{"6.2 NoEndpointsMetric internal, one here", true, false, []string{"here", "there"}, [2]float64{0, 0}},
		{"6.2 NoEndpointsMetric external, one here", false, true, []string{"here", "there"}, [2]float64{0, 0}},
		{"6.2 NoEndpointsMetric both, one here", true, true, []string{"here", "there"}, [2]float64{0, 0}},
		{"6.2 NoEndpointsMetric internal, none here", true, false, []string{"there"}, [2]float64{1, 0}},
		{"6.2 NoEndpointsMetric external, none here", false, true, []string{"there"}, [2]float64{0, 1}},
		{"6.2 NoEndpointsMetric both, none here", true, true, []string{"there"}, [2]float64{1, 1}},
		{"6.2 NoEndpointsMetric both, none at all", true, true, nil, [2]float64{0, 0}},
		{"6.2 NoEndpointsMetric neither, none here", false, false, []string{"there"}, [2]float64{0, 0}},
	} {
		t.Run(row.id, func(t *testing.T) {
			svc := &watchers.Service{Name: watchers.ServiceName{Namespace: "ns", Name: "svc"}, Type: watchers.TypeNodePort,
				ClusterIP: netip.MustParseAddr("10.96.0.1"), Ports: []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80, NodePort: 30080}}}
			if row.internal {
				svc.InternalPolicy = watchers.PolicyLocal
			}
			if row.external {
				svc.ExternalPolicy = watchers.PolicyLocal
			}
			slice := &watchers.EndpointSlice{Namespace: "ns", Name: "a", Service: svc.Name, Family: watchers.FamilyIPv4,
				Ports: []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 80}}}
			for i, node := range row.endpoints {
				slice.Endpoints = append(slice.Endpoints, watchers.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Node: node, Ready: true})
			}
			store := watchers.NewStore()
			resolver, err := nodelocal.NewResolver(store, nodelocal.Config{NodeName: "here"})
			require.NoError(t, err)
			defer resolver.Close()
			store.Update(func(tx *watchers.Tx) { tx.Set(svc); tx.Set(slice) })
			resolver.Refresh()
			sink := NewSink(&sinktest.Recorder{}, SinkConfig{})
			require.NoError(t, sink.Sync(t.Context(), resolver.Pending()))
			require.Equal(t, row.want, [2]float64{
				testutil.ToFloat64(sink.noInternal[ipv4]),
				testutil.ToFloat64(sink.noExternal[ipv4]),
			})
		})
	}
}

// TestReactionIsMeasured checks that the time runs from the first change to success, and
// that an update without a known change does not count.
func TestReactionIsMeasured(t *testing.T) {
	var fail error
	sink := NewSink(localsink.Func(func(context.Context, *localsink.Update) error { return fail }), SinkConfig{})
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(sink))
	sync := func(observed time.Time, want error) {
		fail = want
		require.ErrorIs(t, sink.Sync(t.Context(), &localsink.Update{Node: &localsink.Node{}, All: sinktest.NewState(), ObservedTime: observed}), want)
	}
	count := func() (n uint64, sum float64) {
		families, err := registry.Gather()
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
