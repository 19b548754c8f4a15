// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/watchers"
)

// A world makes random facts that often collide: few names, few addresses.
type world struct{ *rand.Rand }

func (w world) name() watchers.ServiceName {
	return watchers.ServiceName{Namespace: "ns", Name: fmt.Sprint("svc-", w.IntN(8))}
}

func (w world) ip(net string) netip.Addr { return netip.MustParseAddr(fmt.Sprint(net, 1+w.IntN(6))) }

func (w world) service() *watchers.Service {
	s := &watchers.Service{
		Name:           w.name(),
		Created:        time.Unix(int64(w.IntN(3)), 0),
		Type:           watchers.ServiceType(w.IntN(4)),
		ClusterIP:      w.ip("10.96.0."),
		InternalPolicy: watchers.TrafficPolicy(w.IntN(2)),
		ExternalPolicy: watchers.TrafficPolicy(w.IntN(2)),
		Affinity:       time.Duration(w.IntN(2)) * time.Hour,

		HealthCheckNodePort: uint16(30000 + w.IntN(4)),
	}
	s.ClusterIPs = []netip.Addr{s.ClusterIP, w.ip("fd00:96::")}
	s.IPFamilies = []watchers.IPFamily{watchers.IPv4, watchers.IPv6}[:1+w.IntN(2)]
	for i := range w.IntN(3) {
		s.Ports = append(s.Ports, watchers.ServicePort{
			Name: fmt.Sprint("p", i), Protocol: []localsink.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP}[w.IntN(2)],
			Port: uint16(80 + w.IntN(2)), NodePort: uint16(30000 + w.IntN(4)),
		})
	}
	for range w.IntN(3) {
		s.ExternalIPs = append(s.ExternalIPs, w.ip("192.0.2."))
		s.Ingress = append(s.Ingress, watchers.Ingress{IP: w.ip("192.0.2."), Proxy: w.IntN(3) == 0})
	}
	if w.IntN(3) == 0 {
		s.HasSourceRanges = true
		s.SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24")}
	}
	return s
}

func (w world) slice() *watchers.EndpointSlice {
	s := &watchers.EndpointSlice{
		Namespace: "ns", Name: fmt.Sprint("slice-", w.IntN(12)), Service: w.name(), Family: watchers.IPv4,
	}
	for i := range 2 {
		s.Ports = append(s.Ports, watchers.EndpointPort{Name: fmt.Sprint("p", i), Protocol: localsink.ProtocolTCP, Port: uint16(8080 + i)})
	}
	for range w.IntN(5) {
		e := watchers.Endpoint{Addr: w.ip("10.1.0."), Node: fmt.Sprint("node-", w.IntN(3))}
		e.Ready, e.Serving, e.Terminating = w.IntN(3) > 0, w.IntN(2) > 0, w.IntN(4) == 0
		if w.IntN(2) == 0 {
			e.Hints = &watchers.Hints{Zones: []string{fmt.Sprint("zone-", w.IntN(2))}}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func (w world) node() *watchers.Node {
	return &watchers.Node{
		Name: "node-1", Zone: fmt.Sprint("zone-", w.IntN(3)), IPs: []netip.Addr{w.ip("192.168.0.")},
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", w.IntN(2)))},
	}
}

// step changes a store at random, and can be repeated on another.
func (w world) step() func(*watchers.Tx) {
	switch w.IntN(8) {
	case 0, 1, 2:
		s := w.service()
		return func(tx *watchers.Tx) { tx.SetService(s) }
	case 3:
		n := w.name()
		return func(tx *watchers.Tx) { tx.DeleteService(n) }
	case 4, 5:
		s := w.slice()
		return func(tx *watchers.Tx) { tx.SetEndpointSlice(s) }
	case 6:
		s := w.slice()
		return func(tx *watchers.Tx) { tx.DeleteEndpointSlice(s.Namespace, s.Name) }
	}
	n := w.node()
	return func(tx *watchers.Tx) { tx.SetNode(n) }
}

func config() Config {
	return Config{NodeName: "node-1", LocalPods: PodDetection{NodeCIDR: true}}
}

func text(t *Resolver) string {
	t.Refresh()
	u := t.FullUpdate()
	var b strings.Builder
	fmt.Fprintf(&b, "%+v\n", *u.Node)
	for svc := range u.All.All() {
		b.WriteString(svc.Text())
	}
	return b.String()
}

func newTable(t *testing.T, store *watchers.Store) *Resolver {
	table, err := NewResolver(store, config())
	require.NoError(t, err)
	t.Cleanup(table.Close)
	return table
}

// TestHistoryDoesNotMatter: a table that followed every change says the same as one
// that has only seen the end.
func TestHistoryDoesNotMatter(t *testing.T) {
	for seed := range uint64(60) {
		w := world{rand.New(rand.NewPCG(seed, 0))}
		store := watchers.NewStore()
		followed := newTable(t, store)
		for i := range 150 {
			store.Update(func(tx *watchers.Tx) {
				for range 1 + w.IntN(3) {
					w.step()(tx)
				}
			})
			if w.IntN(3) > 0 {
				continue // several transactions may come together
			}
			fresh := newTable(t, store)
			require.Equal(t, text(fresh), text(followed), "seed %d, step %d", seed, i)
			fresh.Close()
		}
	}
}

// TestOrderDoesNotMatter: the same facts in any order mean the same.
func TestOrderDoesNotMatter(t *testing.T) {
	for seed := range uint64(60) {
		w := world{rand.New(rand.NewPCG(seed, 1))}
		var steps []func(*watchers.Tx)
		for i := range 8 { // one fact of each name
			s, e := w.service(), w.slice()
			s.Name.Name, e.Name = fmt.Sprint("svc-", i), fmt.Sprint("slice-", i)
			steps = append(steps, func(tx *watchers.Tx) { tx.SetService(s) }, func(tx *watchers.Tx) { tx.SetEndpointSlice(e) })
		}
		n := w.node()
		steps = append(steps, func(tx *watchers.Tx) { tx.SetNode(n) })
		var want string
		for range 5 {
			store := watchers.NewStore()
			table := newTable(t, store)
			for _, step := range steps {
				store.Update(step)
				table.Refresh()
			}
			got := text(table)
			if want == "" {
				want = got
			}
			require.Equal(t, want, got, "seed %d", seed)
			w.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		}
	}
}

// TestDP12NoTwoServicesShareAnAddress is what the contract promises to backends.
func TestDP12NoTwoServicesShareAnAddress(t *testing.T) {
	w := world{rand.New(rand.NewPCG(7, 7))}
	store := watchers.NewStore()
	table := newTable(t, store)
	contested := 0
	for range 2000 {
		store.Update(w.step())
		table.Refresh()
		owner := map[claim]localsink.ServiceName{}
		for svc := range table.FullUpdate().All.All() {
			contested += strings.Count(svc.Text(), "belongs to Service")
			for _, p := range svc.Ports {
				for _, fe := range p.Frontends {
					key := claim{fe.Addr, p.Protocol}
					other, taken := owner[key]
					require.False(t, taken, "%v: %s and %s", key, other, svc.Name)
					owner[key] = svc.Name
				}
			}
			if svc.HealthCheck == nil {
				continue
			}
			for _, key := range listeners(&ResolvedService{healthCheckPort: svc.HealthCheck.Port}) {
				other, taken := owner[key]
				require.False(t, taken, "%v: %s and the health check of %s", key, other, svc.Name)
				owner[key] = svc.Name
			}
		}
	}
	require.NotZero(t, contested, "the test never had a collision")
}

// TestOP14FailedSyncsLoseNothing drives a sink that fails at random; the recorder checks
// that every update is relative to the last accepted one.
func TestOP14FailedSyncsLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world{rand.New(rand.NewPCG(3, 3))}
		coin := rand.New(rand.NewPCG(5, 5)) // the sink's own
		rec := &sinktest.Recorder{Fail: func(*localsink.Update) error {
			if coin.IntN(2) == 0 {
				return errors.New("injected")
			}
			return nil
		}}
		store := watchers.NewStore()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Follow(ctx, store, rec, config()) }()
		time.Sleep(time.Minute)
		require.Empty(t, rec.Updates(), "nothing is programmed before the facts are complete")
		store.Update((*watchers.Tx).SetSynced)
		for range 300 {
			store.Update(w.step())
			if w.IntN(2) == 0 {
				synctest.Wait()
			}
		}
		time.Sleep(10 * time.Minute) // of retries, in no time
		synctest.Wait()
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, rec.Err())
		updates := rec.Updates()
		require.Equal(t, text(newTable(t, store)), func() string {
			var b strings.Builder
			u := updates[len(updates)-1]
			fmt.Fprintf(&b, "%+v\n", *u.Node)
			for svc := range u.All.All() {
				b.WriteString(svc.Text())
			}
			return b.String()
		}())
	})
}

// TestIN55TriggersOfOneUpdate: the times of changes are told with the update that they caused, and
// not with a later one.
func TestIN55TriggersOfOneUpdate(t *testing.T) {
	store := watchers.NewStore()
	table := newTable(t, store)
	name := watchers.ServiceName{Namespace: "ns", Name: "svc"}
	slice := func(addr string, ready bool, at time.Time) *watchers.EndpointSlice {
		return &watchers.EndpointSlice{Namespace: "ns", Name: "a", Service: name, Family: watchers.IPv4, TriggerTime: at,
			Ports:     []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 80}},
			Endpoints: []watchers.Endpoint{{Addr: netip.MustParseAddr(addr), Ready: ready}}}
	}
	set := func(s *watchers.EndpointSlice) *localsink.Update {
		store.Update(func(tx *watchers.Tx) {
			tx.SetService(&watchers.Service{Name: name, ClusterIP: netip.MustParseAddr("10.96.0.1"), Ports: []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80}}})
			tx.SetEndpointSlice(s)
		})
		table.Refresh()
		u := table.Pending()
		if u != nil {
			table.Acknowledge(u)
		}
		return u
	}
	later := time.Now().Add(time.Hour)
	require.Empty(t, set(slice("10.0.0.1", true, time.Now().Add(-time.Hour))).TriggerTimes, "before the table")
	require.Equal(t, []time.Time{later}, set(slice("10.0.0.2", true, later)).TriggerTimes)
	require.NotNil(t, set(slice("10.0.0.3", false, later)))
	require.Nil(t, set(slice("10.0.0.4", false, later)), "an endpoint that is not ready changes nothing")
	require.Equal(t, []time.Time{later.Add(1)}, set(slice("10.0.0.4", true, later.Add(1))).TriggerTimes)
}

// TestRunEnds: cancelling ends everything, and a watcher that gives up is heard.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		waiting := watchers.Func(func(ctx context.Context, _ *watchers.Store) error { <-ctx.Done(); return nil })
		require.NoError(t, Run(ctx, waiting, &sinktest.Recorder{}, config()))

		broken := errors.New("broken")
		failing := watchers.Func(func(context.Context, *watchers.Store) error { return broken })
		require.ErrorIs(t, Run(t.Context(), failing, &sinktest.Recorder{}, config()), broken)

		require.ErrorContains(t, Run(t.Context(), waiting, &sinktest.Recorder{}, Config{}), "NodeName")
		require.ErrorContains(t, Run(t.Context(), waiting, nil, config()), "no sink")
		early := watchers.Func(func(context.Context, *watchers.Store) error { return nil })
		require.ErrorContains(t, Run(t.Context(), early, &sinktest.Recorder{}, config()), "before the facts were complete")
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		usual := watchers.Func(func(ctx context.Context, _ *watchers.Store) error { <-ctx.Done(); return ctx.Err() })
		require.NoError(t, Run(ctx, usual, &sinktest.Recorder{}, config()))
	})
}

// TestLackingFeaturesAreReported: a Service that the backend cannot serve says so.
func TestLackingFeaturesAreReported(t *testing.T) {
	store := watchers.NewStore()
	w := world{rand.New(rand.NewPCG(1, 1))}
	svc := w.service()
	svc.Type, svc.Affinity = watchers.TypeClusterIP, time.Hour
	svc.Ports = []watchers.ServicePort{{Name: "p", Protocol: localsink.ProtocolTCP, Port: 80}}
	store.Update(func(tx *watchers.Tx) { tx.SetService(svc) })
	cfg := config()
	cfg.Unsupported = localsink.FeatureAffinity | localsink.FeatureSCTP
	table, err := NewResolver(store, cfg)
	require.NoError(t, err)
	defer table.Close()
	require.Contains(t, text(table), "does not support session affinity\n")
}
