// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestConfigViolations(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, ""},
		{Config{Scheduler: "mh", ServiceMarks: 0xff, TCPTimeout: time.Second, IPTables: "nft"}, ""},
		{Config{Device: "a-name-that-is-too-long"}, `Config.Device: "a-name-that-is-too-long" has more than 15 bytes`},
		{Config{Scheduler: "x"}, `Config.Scheduler: "x" must be one of`},
		{Config{MasqueradeMark: 3}, "Config.MasqueradeMark: 0x3 must be exactly one bit"},
		{Config{ServiceMarks: 0x7f}, "Config.ServiceMarks: 0x7f must be at least eight contiguous bits"},
		{Config{ServiceMarks: 0xff0ff}, "Config.ServiceMarks: 0xff0ff must be"},
		{Config{ServiceMarks: 0xff00}, "Config.ServiceMarks: 0xff00 contains the MasqueradeMark 0x4000"},
		{Config{ExcludeCIDRs: []netip.Prefix{{}}}, "Config.ExcludeCIDRs: invalid Prefix is not a network"},
		{Config{TCPFinTimeout: -1}, "Config.TCPFinTimeout: -1ns must be zero or at least one second"},
		{Config{IPTables: "new"}, `Config.IPTables: "new" is neither`},
	} {
		_, err := c.cfg.withDefaults()
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, "ipvs: "+c.want)
	}
}

func TestSchedulers(t *testing.T) {
	for _, c := range []struct {
		selection localsink.Selection
		cfg       Config
		weighted  bool
		want      string
		flags     schedulerFlags
	}{
		{localsink.SelectionRandom, Config{Scheduler: "rr"}, false, "rr", 0},
		{localsink.SelectionRandom, Config{Scheduler: "rr"}, true, "wrr", 0},
		{localsink.SelectionRandom, Config{Scheduler: "wrr"}, true, "wrr", 0},
		{localsink.SelectionRandom, Config{Scheduler: "lc"}, true, "wlc", 0},
		{localsink.SelectionRandom, Config{Scheduler: "sed"}, true, "sed", 0},
		{localsink.SelectionRandom, Config{Scheduler: "nq"}, false, "nq", 0},
		{localsink.SelectionRandom, Config{Scheduler: "dh"}, false, "dh", 0},
		{localsink.SelectionRandom, Config{Scheduler: "sh"}, false, "sh", flagFallback},
		{localsink.SelectionRandom, Config{Scheduler: "mh"}, false, "mh", flagFallback},
		{localsink.SelectionClient, Config{Scheduler: "rr"}, true, "mh", flagFallback},
		{localsink.SelectionFlow, Config{Scheduler: "rr"}, false, "mh", flagFallback | flagPort},
		{localsink.SelectionFlow, Config{Scheduler: "rr", withoutMaglev: true}, false, "sh", flagFallback | flagPort},
		{localsink.SelectionLeastConnections, Config{Scheduler: "rr"}, false, "lc", 0},
		{localsink.SelectionLeastConnections, Config{Scheduler: "rr"}, true, "wlc", 0},
	} {
		name, flags := schedulerOf(c.selection, &c.cfg, c.weighted)
		require.Equal(t, c.want, name, c)
		require.Equal(t, c.flags, flags, c)
	}
}

func TestDestinationWeights(t *testing.T) {
	for _, c := range []struct{ weights, want []uint32 }{
		{[]uint32{1, 1}, []uint32{1, 1}},
		{[]uint32{7, 7}, []uint32{1, 1}},
		{[]uint32{80, 20}, []uint32{4, 1}},
		{[]uint32{0, 2}, []uint32{1, 2}},
		{[]uint32{4294967295, 1}, []uint32{65535, 1}},
		{[]uint32{4000000000, 1000000001}, []uint32{65535, 16383}},
	} {
		var list []localsink.Endpoint
		for i, w := range c.weights {
			list = append(list, localsink.Endpoint{Addr: addrPort(fmt.Sprintf("10.0.0.%d:80", i+1)), Weight: w})
		}
		var got []uint32
		for _, d := range destinations(append(list, endpoints("[fd00::1]:80", "10.0.0.9:0")...), false) {
			got = append(got, d.weight)
		}
		require.Equal(t, c.want, got)
	}
}

func TestSetNetworks(t *testing.T) {
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	list := prefixes("0.0.0.0/0", "10.1.2.3/8", "::/0", "10.0.0.0/8")
	require.Equal(t, prefixes("0.0.0.0/1", "10.0.0.0/8", "128.0.0.0/1"), setNetworks(list, false))
	require.Equal(t, prefixes("::/1", "8000::/1"), setNetworks(list, true))
}

func TestMarks(t *testing.T) {
	m := newMarks(0xff00)
	used := map[uint32]bool{}
	for i := range 254 {
		value, err := m.assign(markedPool{pool: i})
		require.NoError(t, err)
		require.NotZero(t, value)
		require.Zero(t, value&^0xff00)
		require.NotEqual(t, m.drop(), value)
		require.False(t, used[value])
		used[value] = true
		again, err := m.assign(markedPool{pool: i})
		require.NoError(t, err)
		require.Equal(t, value, again)
	}
	_, err := m.assign(markedPool{pool: 254})
	require.ErrorContains(t, err, "all 254 marks")
	m.release(m.of[markedPool{pool: 3}])
	_, err = m.assign(markedPool{pool: 254})
	require.NoError(t, err)
}

func TestInvalidFrontendsAreReported(t *testing.T) {
	for _, c := range []struct {
		change func(p *localsink.Port)
		want   string
	}{
		{func(p *localsink.Port) { p.Protocol = 1 }, "protocol number 1"},
		{func(p *localsink.Port) { p.Frontends[0].Addr = addrPort("10.0.0.1:0") }, "port 0"},
		{func(p *localsink.Port) { p.Frontends[0].Addr = addrPort("0.0.0.0:80") }, "the address must not be unspecified"},
		{func(p *localsink.Port) { p.Frontends[0].Kind = localsink.KindNodePort }, "the address of a node port must be unspecified"},
		{func(p *localsink.Port) { p.Frontends[0].Routes = nil }, "routes must not be empty"},
		{func(p *localsink.Port) { p.Frontends[0].Routes[0].From = localsink.FromLocalPods }, "the last route must be for any client"},
		{func(p *localsink.Port) { p.Frontends[0].Routes[0].EmptyVerdict = 200 }, "routes[0].emptyVerdict: unknown verdict 200"},
		{func(p *localsink.Port) { p.Frontends[0].Routes[0].Pool = 1 }, "routes[0].pool: 1 is out of range [0,1)"},
	} {
		w := newFixture(t, Config{})
		web := service("web", "10.96.0.1:80", endpoints("10.244.0.1:80"), c.change)
		w.sync(web)
		require.ErrorContains(t, w.b.NotProgrammed()[web.Name], c.want)
		require.Empty(t, w.k.servers)
	}
}
