// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/watchers"
)

// A generator makes random objects with few names and few addresses, so that conflicts are
// frequent.
type generator struct{ *rand.Rand }

func (g generator) name() watchers.ServiceName {
	name := watchers.ServiceName{Namespace: "ns", Name: fmt.Sprint("svc-", g.IntN(8))}
	if g.IntN(5) == 0 {
		name.Origin = "Route"
	}
	return name
}

func (g generator) ip(net string) netip.Addr {
	return netip.MustParseAddr(fmt.Sprint(net, 1+g.IntN(6)))
}

func (g generator) service() *watchers.Service {
	s := &watchers.Service{
		Name:           g.name(),
		Created:        time.Unix(int64(g.IntN(3)), 0),
		Type:           watchers.ServiceType(g.IntN(4)),
		ClusterIP:      g.ip("10.96.0."),
		InternalPolicy: watchers.TrafficPolicy(g.IntN(2)),
		ExternalPolicy: watchers.TrafficPolicy(g.IntN(2)),
		Affinity:       time.Duration(g.IntN(2)) * time.Hour,

		HealthCheckNodePort: uint16(30000 + g.IntN(4)),
	}
	s.ClusterIPs = []netip.Addr{s.ClusterIP, g.ip("fd00:96::")}
	s.IPFamilies = []watchers.IPFamily{watchers.FamilyIPv4, watchers.FamilyIPv6}[:1+g.IntN(2)]
	for i := range g.IntN(3) {
		s.Ports = append(s.Ports, watchers.ServicePort{
			Name: fmt.Sprint("p", i), Protocol: []localsink.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP}[g.IntN(2)],
			Port: uint16(80 + g.IntN(2)), NodePort: uint16(30000 + g.IntN(4)),
			Selection: localsink.Selection(g.IntN(2)), RefusedPerMille: uint16(g.IntN(2) * 300),
		})
	}
	s.Extensions = g.extensions("policy")
	for range g.IntN(3) {
		s.ExternalIPs = append(s.ExternalIPs, g.ip("192.0.2."))
		s.Ingress = append(s.Ingress, watchers.Ingress{IP: g.ip("192.0.2."), Proxy: g.IntN(3) == 0})
	}
	if g.IntN(3) == 0 {
		s.HasSourceRanges = true
		s.SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24")}
	}
	return s
}

func (g generator) slice() *watchers.EndpointSlice {
	s := &watchers.EndpointSlice{
		Namespace: "ns", Name: fmt.Sprint("slice-", g.IntN(12)), Service: g.name(), Family: watchers.FamilyIPv4,
	}
	for i := range 2 {
		s.Ports = append(s.Ports, watchers.EndpointPort{Name: fmt.Sprint("p", i), Protocol: localsink.ProtocolTCP, Port: uint16(8080 + i)})
	}
	for range g.IntN(5) {
		e := watchers.Endpoint{Addr: g.ip("10.1.0."), Node: fmt.Sprint("node-", g.IntN(3))}
		e.Ready, e.Serving, e.Terminating = g.IntN(3) > 0, g.IntN(2) > 0, g.IntN(4) == 0
		if g.IntN(2) == 0 {
			e.Hints = &watchers.Hints{Zones: []string{fmt.Sprint("zone-", g.IntN(2))}}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	if g.IntN(2) == 0 {
		s.Details = make([]watchers.EndpointDetails, len(s.Endpoints))
		for i := range s.Details {
			s.Details[i].Extensions = g.extensions("endpoint")
			if weight := uint32(g.IntN(4)); weight < 3 {
				s.Details[i].Weight = &weight
			}
		}
	}
	s.Extensions = g.extensions("slice")
	return s
}

// extensions returns a list with the given key, or an empty one.
func (g generator) extensions(key string) localsink.Extensions {
	if g.IntN(3) > 0 {
		return localsink.Extensions{}
	}
	return localsink.NewExtensions(localsink.Extension{Key: key, Value: fmt.Sprint(g.IntN(3))})
}

// policy changes everything that a policy may change, for Services with an extension.
func policy(svc *watchers.Service, port *PolicyPort) error {
	value, found := svc.Extensions.Get("policy")
	if !found {
		return nil
	}
	if value == "2" {
		port.Selection = 99 // fails, so that nothing else counts
	} else {
		port.Selection, port.PassExternal = localsink.SelectionFlow, value == "1"
	}
	port.RefusedPerMille = 100
	for i := range port.Endpoints {
		octet := port.Endpoints[i].Addr.Addr().As16()[15]
		port.Endpoints[i].Weight += uint32(octet % 3)
		port.Endpoints[i].Order = uint32(octet % 2)
	}
	return nil
}

func (g generator) node() *watchers.Node {
	return &watchers.Node{
		Name: "node-1", Zone: fmt.Sprint("zone-", g.IntN(3)), IPs: []netip.Addr{g.ip("192.168.0.")},
		PodCIDRs:   []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", g.IntN(2)))},
		Extensions: g.extensions("node"),
	}
}

// step returns a random change, which may be applied to several stores.
func (g generator) step() func(*watchers.Tx) {
	switch g.IntN(8) {
	case 0, 1, 2:
		s := g.service()
		return func(tx *watchers.Tx) { tx.SetService(s) }
	case 3:
		n := g.name()
		return func(tx *watchers.Tx) { tx.DeleteService(n) }
	case 4, 5:
		s := g.slice()
		return func(tx *watchers.Tx) { tx.SetEndpointSlice(s) }
	case 6:
		s := g.slice()
		return func(tx *watchers.Tx) { tx.DeleteEndpointSlice(s.Namespace, s.Name) }
	}
	n := g.node()
	return func(tx *watchers.Tx) { tx.SetNode(n) }
}

func config() Config {
	return Config{NodeName: "node-1", LocalPods: PodDetection{NodeCIDR: true}}
}

// configWithPolicy returns a configuration that uses everything vendors may set.
func configWithPolicy() Config {
	cfg := config()
	cfg.Policy = policy
	cfg.Scope.Skip = func(s *watchers.Service) bool { return s.Name.Name == "svc-7" && s.HasSourceRanges }
	return cfg
}

// text returns the whole desired state of a resolver.
func text(r *Resolver) string {
	r.Refresh()
	return updateText(r.FullUpdate())
}

func updateText(u *localsink.Update) string {
	var b strings.Builder
	node := *u.Node
	node.Extensions = localsink.Extensions{} // printed by content
	fmt.Fprintf(&b, "%+v %v\n", node, slices.Collect(u.Node.Extensions.All()))
	for svc := range u.All.All() {
		fmt.Fprintf(&b, "%s%v\n", svc.Text(), slices.Collect(svc.Extensions.All()))
		for i := range svc.Ports {
			for _, a := range slices.SortedFunc(maps.Keys(svc.Ports[i].EndpointExtensions), netip.AddrPort.Compare) {
				fmt.Fprintln(&b, a, slices.Collect(svc.Ports[i].EndpointExtensions[a].All()))
			}
		}
	}
	return b.String()
}

func newResolver(t *testing.T, store *watchers.Store) *Resolver {
	r, err := NewResolver(store, configWithPolicy())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// TestStateDoesNotDependOnHistory compares a resolver that followed every change with one
// that starts from the final snapshot.
func TestStateDoesNotDependOnHistory(t *testing.T) {
	for seed := range uint64(60) {
		g := generator{rand.New(rand.NewPCG(seed, 0))}
		store := watchers.NewStore()
		incremental := newResolver(t, store)
		for i := range 150 {
			store.Update(func(tx *watchers.Tx) {
				for range 1 + g.IntN(3) {
					g.step()(tx)
				}
			})
			if g.IntN(3) > 0 {
				continue // so that one refresh covers several transactions
			}
			fresh := newResolver(t, store)
			require.Equal(t, text(fresh), text(incremental), "seed %d, step %d", seed, i)
			require.NoError(t, fresh.Close())
		}
	}
}

// TestStateDoesNotDependOnOrder applies the same objects in several orders.
func TestStateDoesNotDependOnOrder(t *testing.T) {
	for seed := range uint64(60) {
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		var steps []func(*watchers.Tx)
		for i := range 8 { // one object of each name
			s, e := g.service(), g.slice()
			s.Name.Name, e.Name = fmt.Sprint("svc-", i), fmt.Sprint("slice-", i)
			steps = append(steps, func(tx *watchers.Tx) { tx.SetService(s) }, func(tx *watchers.Tx) { tx.SetEndpointSlice(e) })
		}
		n := g.node()
		steps = append(steps, func(tx *watchers.Tx) { tx.SetNode(n) })
		var want string
		for range 5 {
			store := watchers.NewStore()
			resolver := newResolver(t, store)
			for _, step := range steps {
				store.Update(step)
				resolver.Refresh()
			}
			got := text(resolver)
			if want == "" {
				want = got
			}
			require.Equal(t, want, got, "seed %d", seed)
			g.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		}
	}
}

// TestDP12NoTwoServicesShareAnAddress checks what the contract of localsink promises to
// backends.
func TestDP12NoTwoServicesShareAnAddress(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(7, 7))}
	store := watchers.NewStore()
	resolver := newResolver(t, store)
	conflicts := 0
	for range 2000 {
		store.Update(g.step())
		resolver.Refresh()
		owner := map[address]localsink.ServiceName{}
		for svc := range resolver.FullUpdate().All.All() {
			conflicts += strings.Count(svc.Text(), "belongs to Service")
			for _, p := range svc.Ports {
				for _, fe := range p.Frontends {
					key := newAddress(fe.Addr, p.Protocol)
					other, taken := owner[key]
					require.False(t, taken, "%v: %s and %s", key, other, svc.Name)
					owner[key] = svc.Name
				}
			}
			if svc.HealthCheck == nil {
				continue
			}
			for _, key := range healthCheckAddresses(svc.HealthCheck.Port) {
				other, taken := owner[key]
				require.False(t, taken, "%v: %s and the health check of %s", key, other, svc.Name)
				owner[key] = svc.Name
			}
		}
	}
	require.NotZero(t, conflicts, "no two Services requested one address")
}

// TestOP14FailedSyncsLoseNothing drives a sink that fails at random; the recorder checks
// that the delta of every update starts at the last applied one.
func TestOP14FailedSyncsLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := generator{rand.New(rand.NewPCG(3, 3))}
		coin := rand.New(rand.NewPCG(5, 5)) // used only by the sink
		rec := &sinktest.Recorder{Fail: func(*localsink.Update) error {
			if coin.IntN(2) == 0 {
				return errors.New("injected")
			}
			return nil
		}}
		store := watchers.NewStore()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Follow(ctx, store, rec, configWithPolicy()) }()
		time.Sleep(time.Minute)
		require.Empty(t, rec.Updates(), "Sync must not be called before the initial sync")
		store.Update((*watchers.Tx).SetSynced)
		for range 300 {
			store.Update(g.step())
			if g.IntN(2) == 0 {
				synctest.Wait()
			}
		}
		time.Sleep(10 * time.Minute) // of fake time, for the retries
		synctest.Wait()
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, rec.Err())
		updates := rec.Updates()
		require.Equal(t, text(newResolver(t, store)), updateText(updates[len(updates)-1]))
	})
}

// TestIN55TriggerTimesBelongToOneUpdate checks that trigger times are in the update that
// their change causes, and not in a later one.
func TestIN55TriggerTimesBelongToOneUpdate(t *testing.T) {
	store := watchers.NewStore()
	resolver := newResolver(t, store)
	name := watchers.ServiceName{Namespace: "ns", Name: "svc"}
	slice := func(addr string, ready bool, at time.Time) *watchers.EndpointSlice {
		return &watchers.EndpointSlice{Namespace: "ns", Name: "a", Service: name, Family: watchers.FamilyIPv4, TriggerTime: at,
			Ports:     []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 80}},
			Endpoints: []watchers.Endpoint{{Addr: netip.MustParseAddr(addr), Ready: ready}}}
	}
	set := func(s *watchers.EndpointSlice) *localsink.Update {
		store.Update(func(tx *watchers.Tx) {
			tx.SetService(&watchers.Service{Name: name, ClusterIP: netip.MustParseAddr("10.96.0.1"), Ports: []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80}}})
			tx.SetEndpointSlice(s)
		})
		resolver.Refresh()
		u := resolver.Pending()
		if u != nil {
			resolver.Acknowledge(u)
		}
		return u
	}
	later := time.Now().Add(time.Hour)
	require.Empty(t, set(slice("10.0.0.1", true, time.Now().Add(-time.Hour))).TriggerTimes, "older than the resolver")
	require.Equal(t, []time.Time{later}, set(slice("10.0.0.2", true, later)).TriggerTimes)
	require.NotNil(t, set(slice("10.0.0.3", false, later)))
	require.Nil(t, set(slice("10.0.0.4", false, later)), "an endpoint that is not ready is not in the state")
	require.Equal(t, []time.Time{later.Add(1)}, set(slice("10.0.0.4", true, later.Add(1))).TriggerTimes)
}

// TestRunReturns checks the results of Run when its context is cancelled, when the watcher
// fails, and when an argument is invalid.
func TestRunReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		waiting := watchers.Func(func(ctx context.Context, _ *watchers.Store) error { <-ctx.Done(); return nil })
		require.NoError(t, Run(ctx, waiting, &sinktest.Recorder{}, config()))

		broken := errors.New("broken")
		failing := watchers.Func(func(context.Context, *watchers.Store) error { return broken })
		require.ErrorIs(t, Run(t.Context(), failing, &sinktest.Recorder{}, config()), broken)

		require.ErrorContains(t, Run(t.Context(), waiting, &sinktest.Recorder{}, Config{}), "NodeName")
		require.ErrorContains(t, Run(t.Context(), waiting, nil, config()), "sink: must not be nil")
		early := watchers.Func(func(context.Context, *watchers.Store) error { return nil })
		require.ErrorContains(t, Run(t.Context(), early, &sinktest.Recorder{}, config()), "before the initial sync was complete")
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		usual := watchers.Func(func(ctx context.Context, _ *watchers.Store) error { <-ctx.Done(); return ctx.Err() })
		require.NoError(t, Run(ctx, usual, &sinktest.Recorder{}, config()))
	})
}

// TestUnsupportedFeaturesBecomeProblems: a Service that needs an unsupported feature has a
// problem.
func TestUnsupportedFeaturesBecomeProblems(t *testing.T) {
	store := watchers.NewStore()
	g := generator{rand.New(rand.NewPCG(1, 1))}
	svc := g.service()
	svc.Type, svc.Affinity = watchers.TypeClusterIP, time.Hour
	svc.Ports = []watchers.ServicePort{{Name: "p", Protocol: localsink.ProtocolTCP, Port: 80}}
	store.Update(func(tx *watchers.Tx) { tx.SetService(svc) })
	cfg := config()
	cfg.Unsupported = localsink.FeatureAffinity | localsink.FeatureSCTP
	resolver, err := NewResolver(store, cfg)
	require.NoError(t, err)
	defer resolver.Close()
	require.Contains(t, text(resolver), "does not support session affinity\n")
}
