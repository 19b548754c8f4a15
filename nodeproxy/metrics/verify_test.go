// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// alertAge is the age of the last sync above which operators of kube-proxy are alerted.
const alertAge = 5 * time.Minute

// A quietSource never has changes.
type quietSource struct{}

func (quietSource) Refresh(*reconciler.Tracker) <-chan struct{} { return nil }

// A ruleSink fails or hangs on demand.
type ruleSink struct {
	fails, hangs atomic.Bool
	synced       atomic.Int64
}

func (s *ruleSink) Sync(ctx context.Context, _ *localsink.Update) error {
	s.synced.Add(1)
	if s.hangs.Load() {
		<-ctx.Done()
	}
	if s.fails.Load() {
		return errors.New("injected")
	}
	return nil
}

// TestLastTimestampOfAQuietClusterShowsWhetherTheProxyWorks runs the proxy's loop without
// changes: the timestamp stays young while the sinks succeed, and grows old when they fail or
// hang.
func TestLastTimestampOfAQuietClusterShowsWhetherTheProxyWorks(t *testing.T) {
	for _, row := range []struct {
		name    string
		fault   func(s *ruleSink)
		alerted bool
	}{
		{"nothing happens", func(*ruleSink) {}, false},
		{"the sink fails", func(s *ruleSink) { s.fails.Store(true) }, true},
		{"the sink hangs", func(s *ruleSink) { s.hangs.Store(true) }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rules := &ruleSink{}
				sink := NewSink(rules, SinkConfig{VerifyInterval: time.Minute})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() {
					done <- reconciler.Run(ctx, reconciler.NewTracker(&localsink.Node{}), quietSource{}, sink, reconciler.Config{})
				}()
				alert := func() bool {
					synctest.Wait()
					return time.Since(time.Unix(int64(testutil.ToFloat64(sink.lastApplied[ipv6])), 0)) > alertAge
				}
				for range 60 {
					time.Sleep(time.Minute)
					require.False(t, alert())
				}
				require.LessOrEqual(t, rules.synced.Load(), int64(61))
				require.EqualValues(t, 1, samples(t, sink.duration[ipv4]), "verifications are not observed")
				row.fault(rules)
				time.Sleep(2 * alertAge)
				require.Equal(t, row.alerted, alert())
				cancel()
				require.NoError(t, <-done)
			})
		})
	}
}

// samples returns the number of observations of a histogram.
func samples(t *testing.T, o prometheus.Observer) uint64 {
	var m dto.Metric
	metric, ok := o.(prometheus.Metric)
	require.True(t, ok)
	require.NoError(t, metric.Write(&m))
	return m.GetHistogram().GetSampleCount()
}

// TestLatencyIsThatOfTheFamiliesThatChanged checks the label of the latencies.
func TestLatencyIsThatOfTheFamiliesThatChanged(t *testing.T) {
	sink := NewSink(&sinktest.Recorder{}, SinkConfig{})
	update := func(addrs ...string) *localsink.Update {
		svc := service("a", localsink.VerdictReject)
		svc.Ports[0].Frontends = nil
		for _, a := range addrs {
			svc.Ports[0].Frontends = append(svc.Ports[0].Frontends,
				localsink.Frontend{Addr: netip.MustParseAddrPort(a), Routes: []localsink.Route{{}}})
		}
		return &localsink.Update{
			Node: &localsink.Node{}, All: sinktest.NewState(svc), Changed: []*localsink.Service{svc},
			TriggerTimes: []time.Time{time.Now().Add(-time.Second)},
		}
	}
	expect := func(v4, v6 uint64) {
		t.Helper()
		require.Equal(t, [2]uint64{v4, v6}, [2]uint64{samples(t, sink.programmingLatency[ipv4]), samples(t, sink.programmingLatency[ipv6])})
	}
	require.NoError(t, sink.Sync(t.Context(), update("10.0.0.1:80")))
	expect(1, 0)
	require.NoError(t, sink.Sync(t.Context(), update("[fd00::1]:80")))
	expect(1, 1)
	require.NoError(t, sink.Sync(t.Context(), update("10.0.0.1:80", "[fd00::1]:80")))
	expect(2, 2)
	require.NoError(t, sink.Sync(t.Context(), update()))
	expect(3, 3)
	require.EqualValues(t, 1, samples(t, sink.fullDuration[ipv4]), "the first update")
	require.EqualValues(t, 3, samples(t, sink.partialDuration[ipv6]))
}

// BenchmarkSync measures what the metrics cost in a Sync of one changed Service.
func BenchmarkSync(b *testing.B) {
	svc := service("a", localsink.VerdictReject, "10.0.0.1:80")
	sink := NewSink(localsink.Func(func(context.Context, *localsink.Update) error { return nil }), SinkConfig{VerifyInterval: time.Minute})
	u := &localsink.Update{
		Node: &localsink.Node{}, All: sinktest.NewState(svc), Changed: []*localsink.Service{svc},
		TriggerTimes: []time.Time{time.Now()}, ObservedTime: time.Now(),
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := sink.Sync(b.Context(), u); err != nil {
			b.Fatal(err)
		}
	}
}
