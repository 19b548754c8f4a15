// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"sigs.k8s.io/kpng/watchers"
)

// A clockedQuerier answers with one address, or fails, and records the times of queries.
type clockedQuerier struct {
	ttl   time.Duration
	err   error
	rcode dnsmessage.RCode
	times []time.Time
}

func (q *clockedQuerier) query(_ context.Context, name string, t dnsmessage.Type) (*response, error) {
	q.times = append(q.times, time.Now())
	switch {
	case q.err != nil:
		return nil, q.err
	case q.rcode != 0:
		return &response{rcode: q.rcode, negative: q.ttl}, nil
	}
	return &response{negative: -1, answers: []record{{name: name, recordType: t, ttl: q.ttl, addr: netip.MustParseAddr("10.0.0.1")}}}, nil
}

// delays returns the times between queries.
func (q *clockedQuerier) delays() (out []time.Duration) {
	for i := 1; i < len(q.times); i++ {
		out = append(out, q.times[i].Sub(q.times[i-1]))
	}
	return out
}

func webConfig(t *testing.T) Config {
	t.Helper()
	cfg, err := Config{
		Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")},
		Services: []Service{{
			Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
			Ports:     []Port{{Port: 80, TargetPort: 80, Records: "web.example.com"}},
		}},
	}.withDefaults()
	require.NoError(t, err)
	return cfg
}

// runFor runs a watcher for a time of the bubble.
func runFor(t *testing.T, cfg Config, q querier, d time.Duration) *watchers.Store {
	t.Helper()
	store := watchers.NewStore()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	require.NoError(t, (&Watcher{cfg: cfg, querier: q}).Run(ctx, store))
	return store
}

func TestRecordsAreReadWhenTheyExpire(t *testing.T) {
	for name, test := range map[string]struct {
		querier   clockedQuerier
		at, least time.Duration
	}{
		"TTL":                     {clockedQuerier{ttl: 30 * time.Second}, time.Hour, 30 * time.Second},
		"lower bound":             {clockedQuerier{ttl: 0}, time.Hour, DefaultMinTTL},
		"upper bound":             {clockedQuerier{ttl: 24 * time.Hour}, 10 * time.Hour, DefaultMaxTTL},
		"TTL of absence":          {clockedQuerier{rcode: dnsmessage.RCodeNameError, ttl: 20 * time.Second}, time.Hour, 20 * time.Second},
		"absence without its TTL": {clockedQuerier{rcode: dnsmessage.RCodeNameError, ttl: -1}, time.Hour, DefaultMinTTL},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runFor(t, webConfig(t), &test.querier, test.at)
				delays := map[time.Duration]bool{}
				for _, d := range test.querier.delays() {
					require.GreaterOrEqual(t, d, test.least)
					require.LessOrEqual(t, d, test.least+test.least/10)
					delays[d] = true
				}
				require.Greater(t, len(delays), 50, "delays have jitter")
			})
		})
	}
}

func TestFailuresBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &clockedQuerier{err: errors.New("server 192.0.2.1:53: SERVFAIL")}
		runFor(t, webConfig(t), q, 10*time.Minute)
		want := []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute, time.Minute}
		for i, d := range q.delays()[:len(want)] {
			require.GreaterOrEqual(t, d, want[i])
			require.LessOrEqual(t, d, want[i]+want[i]/10)
		}
	})
}

// A name that is not answered delays the first sync by SyncTimeout, and no more.
func TestSyncWaitsForNamesWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := webConfig(t)
		failing := &clockedQuerier{err: errors.New("SERVFAIL")}
		require.False(t, runFor(t, cfg, failing, DefaultSyncTimeout-time.Nanosecond).Snapshot().Synced())
		store := runFor(t, cfg, failing, DefaultSyncTimeout+time.Nanosecond)
		require.True(t, store.Snapshot().Synced())
		service := store.Snapshot().Service(cfg.Services[0].name())
		require.Equal(t, "DNS default/web.example.com: ports[0].records: A web.example.com. SERVFAIL; the last known addresses are kept", service.Problems[0].String())
	})
}

// An answer syncs at once.
func TestSyncWithTheFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.True(t, runFor(t, webConfig(t), &clockedQuerier{}, time.Nanosecond).Snapshot().Synced())
		require.True(t, runFor(t, webConfig(t), &clockedQuerier{rcode: dnsmessage.RCodeNameError}, time.Nanosecond).Snapshot().Synced())
	})
}

// A familyQuerier answers queries for AAAA records with none, and those for A records as another
// querier. A name has an SRV record if it begins with an underscore.
type familyQuerier struct{ a querier }

func (q familyQuerier) query(ctx context.Context, name string, t dnsmessage.Type) (*response, error) {
	switch t {
	case dnsmessage.TypeA:
		return q.a.query(ctx, name, t)
	case dnsmessage.TypeSRV:
		srv := dnsmessage.SRVResource{Port: 80, Target: dnsmessage.MustNewName("a.example.com.")}
		return &response{negative: -1, answers: []record{{name: name, recordType: t, ttl: time.Second, srv: srv}}}, nil
	default:
		return &response{negative: time.Second}, nil
	}
}

// A family without endpoints does not stand for the other, of which nothing is known.
func TestSyncWaitsForEachFamily(t *testing.T) {
	for _, records := range []string{"web.example.com", "_web._tcp.example.com"} {
		synctest.Test(t, func(t *testing.T) {
			cfg := webConfig(t)
			s := &cfg.Services[0]
			s.Addresses, s.Ports[0].Records = append(s.Addresses, netip.MustParseAddr("fd00::10")), records+"."
			if records[0] == '_' {
				s.Ports[0].TargetPort = 0
			}
			failing := familyQuerier{&clockedQuerier{err: errors.New("SERVFAIL")}}
			require.False(t, runFor(t, cfg, failing, DefaultSyncTimeout-time.Nanosecond).Snapshot().Synced(), records)
			require.True(t, runFor(t, cfg, familyQuerier{&clockedQuerier{ttl: time.Second}}, time.Second).Snapshot().Synced(), records)
		})
	}
}

// An aliasQuerier answers each name with an alias, without its records.
type aliasQuerier struct{ asked int }

func (q *aliasQuerier) query(_ context.Context, name string, _ dnsmessage.Type) (*response, error) {
	q.asked++
	return &response{negative: -1, answers: []record{{name: name, recordType: dnsmessage.TypeCNAME, alias: "x" + name, ttl: time.Second}}}, nil
}

func TestAliasesAreBounded(t *testing.T) {
	q := &aliasQuerier{}
	_, err := answersTo(t.Context(), q, "web.example.com.", dnsmessage.TypeA)
	require.ErrorContains(t, err, "chain of more than 8 aliases")
	require.Equal(t, 8, q.asked)

	// A loop within one response ends too.
	loop := &response{answers: []record{{name: "a.", alias: "b."}, {name: "b.", alias: "a."}}}
	found, _, _ := loop.follow("a.", dnsmessage.TypeA)
	require.Empty(t, found)
}
