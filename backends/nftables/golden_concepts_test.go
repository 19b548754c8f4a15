// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// TestGoldenConcepts covers the verdict Pass, a share of refused connections, and masquerade
// exceptions.
func TestGoldenConcepts(t *testing.T) {
	runGoldenTest(t, "concepts", func(a *goldenTest) {
		pools := []localsink.Pool{a.pool(1, 2), {}}
		pass := localsink.Route{Pool: 1, EmptyVerdict: localsink.VerdictPass}
		s := a.service(pools, a.frontend(localsink.KindExternalIP, 1, localsink.Route{From: localsink.FromThisNode, Masquerade: true}, pass),
			a.frontend(localsink.KindExternalIP, 2, pass))
		a.mustStep("Pass", s)
		refusing := a.service(pools, a.frontend(localsink.KindClusterIP, 1), a.frontend(localsink.KindExternalIP, 2, localsink.Route{Masquerade: true}),
			a.frontend(localsink.KindExternalIP, 3, pass))
		refusing.Ports[0].RefusedPerMille = 800
		a.mustStep("800 of 1000 are refused", refusing)
		sticky := *refusing
		sticky.Ports = slices.Clone(refusing.Ports)
		sticky.Ports[0].Affinity = time.Hour
		a.mustStep("800 of 1000 clients without an affinity entry are refused", &sticky)
		sticky.Ports[0].Pools = []localsink.Pool{a.pool(1, 2), a.pool(2, 3)}
		pools2 := sticky
		a.mustStep("affinity with two pools", &pools2)
		a.mustStep("no affinity", refusing)
		exceptions := *a.node
		exceptions.NoMasquerade = []netip.Prefix{netip.PrefixFrom(a.addr(64), 26), netip.PrefixFrom(a.addr(7), a.f.addrLen*8)}
		a.node = &exceptions
		a.mustStep("masquerade exceptions", refusing)
		a.node = &localsink.Node{NoMasquerade: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
		a.mustStep("no masquerading", refusing)
		a.node = &localsink.Node{}
		a.mustStep("no exceptions", refusing)
	})
}

// TestGoldenSelection covers consistent selection: its chains and maps, shared tables, and changes
// of endpoints.
func TestGoldenSelection(t *testing.T) {
	runGoldenTest(t, "selection", func(a *goldenTest) {
		a.mustStep("no Services")
		service := func(name string, s localsink.Selection, pools ...localsink.Pool) *localsink.Service {
			svc := a.service(pools, a.frontend(localsink.KindClusterIP, name[0]), a.frontend(localsink.KindNodePort, name[0], localsink.Route{From: localsink.FromLocalPods},
				localsink.Route{Pool: len(pools) - 1, Masquerade: true}))
			svc.Name.Name, svc.Ports[0].Selection = name, s
			return svc
		}
		by := func(ids ...byte) *localsink.Service { return service("a", localsink.SelectionClient, a.pool(ids...)) }
		a.mustStep("by client", by(1, 2, 3))
		other := service("b", localsink.SelectionFlow, a.pool(1, 2, 3))
		a.mustStep("another Service with the same endpoints, by flow", by(1, 2, 3), other)
		a.mustStep("one changes: a table of its own", by(1, 2, 4), other)
		a.mustStep("another change: the table remains", by(1, 4, 5), other)
		two := service("a", localsink.SelectionClient, a.pool(1, 4, 5), a.pool(4, 5))
		a.mustStep("two pools", two, other)
		a.mustStep("one endpoint", by(4), other)
		sticky := by(1, 2, 3)
		sticky.Ports[0].Affinity = time.Hour
		a.mustStep("affinity", sticky)
		a.mustStep("no Services again")
	})
}

// TestGoldenWeights covers changes of weights, without and with affinity.
func TestGoldenWeights(t *testing.T) {
	runGoldenTest(t, "weights", func(a *goldenTest) {
		a.mustStep("no Services")
		apply := func(title string, affinity time.Duration, weights ...uint32) {
			p := a.pool(1, 3, 5)
			for i, w := range weights {
				p.Endpoints[i].Weight = w
			}
			s := a.service([]localsink.Pool{p}, a.frontend(localsink.KindClusterIP, 1))
			s.Ports[0].Affinity = affinity
			a.mustStep(title, s)
		}
		apply("different weights", 0, 1, 2, 3)
		apply("one is larger", 0, 1, 2, 4)
		apply("one is smaller", 0, 1, 1, 4)
		apply("equal weights", 0, 7, 7, 7)
		apply("affinity with different weights", time.Hour, 1, 2, 1)
		apply("one is smaller", time.Hour, 1, 1, 1)
		apply("one is larger", time.Hour, 1, 1, 3)
	})
}

// TestGoldenCounted covers tables that count connections: which sets have counters, and which
// elements are read before changes.
func TestGoldenCounted(t *testing.T) {
	runGoldenTestWith(t, "counted", Config{CountConnections: true}, func(a *goldenTest) {
		restricted := a.frontend(localsink.KindLoadBalancer, 2)
		restricted.SourceRanges = []netip.Prefix{netip.PrefixFrom(a.addr(0), 25)}
		web := func(ids ...byte) *localsink.Service {
			return a.service([]localsink.Pool{a.pool(ids...)}, a.frontend(localsink.KindClusterIP, 1), a.frontend(localsink.KindNodePort, 1), restricted)
		}
		sticky := web(1, 2)
		sticky.Ports[0].Affinity = time.Hour
		a.mustStep("two endpoints", web(1, 2))
		a.mustStep("one is replaced", web(2, 3))
		a.mustStep("one is added", web(2, 3, 4))
		a.mustStep("affinity", sticky)
		a.node = &localsink.Node{LocalPods: localsink.PodSources{Interface: "cni0"}}
		a.mustStep("another node", sticky)
		a.mustStep("no Services")
	})
}
