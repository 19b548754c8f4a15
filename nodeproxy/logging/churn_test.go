// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package logging_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/logging"
	"sigs.k8s.io/kpng/nodeproxy/problems"
	"sigs.k8s.io/kpng/watchers"
)

// A churnFixture is a proxy whose Services have invalid objects.
type churnFixture struct {
	t        *testing.T
	store    *watchers.Store
	resolver *nodelocal.Resolver
	reporter *problems.Reporter
	out      bytes.Buffer
	random   *rand.Rand
}

// restart starts the proxy again, with an empty log.
func (f *churnFixture) restart() {
	if f.resolver != nil {
		require.NoError(f.t, f.resolver.Close())
	}
	f.out.Reset()
	log, err := logging.New(&f.out, logging.Config{Verbosity: 2})
	require.NoError(f.t, err)
	f.resolver, err = nodelocal.NewResolver(f.store, nodelocal.Config{NodeName: "node-1", Logger: log.Logger()})
	require.NoError(f.t, err)
	f.reporter = problems.NewReporter(log.Logger(), nil)
}

func (f *churnFixture) sync() {
	f.resolver.Refresh()
	if u := f.resolver.Pending(); u != nil {
		require.NoError(f.t, f.reporter.Sync(f.t.Context(), u))
		f.resolver.Acknowledge(u)
	}
}

// change replaces the objects of a random Service: they are absent, valid or invalid, with
// or without the Service.
func (f *churnFixture) change() {
	name := watchers.ServiceName{Namespace: "ns", Name: fmt.Sprint("s", f.random.IntN(300))}
	slice := &watchers.EndpointSlice{
		Namespace: "ns", Name: name.Name, Service: name, Family: watchers.FamilyIPv4,
		Ports: []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 80}},
	}
	svc := &watchers.Service{
		Name: name, Type: watchers.TypeNodePort, ClusterIP: netip.AddrFrom4([4]byte{10, 96, 0, byte(f.random.IntN(200))}),
		Ports: []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80}},
	}
	if f.random.IntN(2) == 0 {
		slice.Problems = []localsink.Problem{{
			Object: "EndpointSlice ns/" + name.Name, Field: "endpoints[0].addresses[0]", Message: fmt.Sprint("invalid address ", f.random.IntN(4)),
		}}
	}
	f.store.Update(func(tx *watchers.Tx) {
		switch f.random.IntN(5) {
		case 0:
			tx.DeleteService(name)
		default:
			tx.Set(svc)
		}
		tx.Set(slice)
	})
}

// TestLogOfInvalidObjectsStaysSmall changes 300 Services, half of them invalid at any time,
// ten times a second for ten minutes, and restarts the proxy.
func TestLogOfInvalidObjectsStaysSmall(t *testing.T) {
	for seed := range uint64(2) {
		synctest.Test(t, func(t *testing.T) {
			f := &churnFixture{t: t, store: watchers.NewStore(), random: rand.New(rand.NewPCG(seed, 1))}
			f.restart()
			defer func() { require.NoError(t, f.resolver.Close()) }()
			for range 1000 {
				f.change()
			}
			f.sync()
			lines := func() int { return strings.Count(f.out.String(), "\n") }
			require.Less(t, lines(), 60, "seed %d, first sync:\n%s", seed, f.out.String())
			require.Contains(t, f.out.String(), "Services not programmed as specified", "seed %d", seed)
			f.out.Reset()
			for range 10 * 60 * 10 {
				f.change()
				f.sync()
				time.Sleep(100 * time.Millisecond)
			}
			perMinute := float64(lines()) / 10
			t.Logf("seed %d: %.1f lines a minute", seed, perMinute)
			require.Less(t, perMinute, 8.0, "seed %d", seed)
			f.restart()
			f.sync()
			t.Logf("seed %d: %d lines after a restart", seed, lines())
			require.Less(t, lines(), 60, "seed %d, restart", seed)
		})
	}
}
