// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"slices"

	"sigs.k8s.io/kpng/backends/backendtest"
	"sigs.k8s.io/kpng/localsink"
)

// supportedIDs returns the behaviours of which some variant could be checked: nftables may not
// have the features of all.
func supportedIDs(report *backendtest.Report, ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return !slices.ContainsFunc(report.Result(id).Cells, func(c backendtest.Cell) bool {
			return c.Outcome == backendtest.OutcomePassed || c.Outcome == backendtest.OutcomeFailed
		})
	})
}

// conceptMistakes ignore or confuse what few Services have.
func conceptMistakes() []mistake {
	return slices.Concat(weightMistakes(), selectionMistakes(), refusedMistakes(), passMistakes(), masqueradeExceptionMistakes())
}

// eachPool returns a function that alters the endpoints of pools.
func eachPool(f func(p *localsink.Port, endpoints []localsink.Endpoint)) func(*localsink.Node, *localsink.Service) {
	return eachPort(func(_ *localsink.Service, p *localsink.Port) {
		for i := range p.Pools {
			p.Pools[i].Endpoints = slices.Clone(p.Pools[i].Endpoints)
			f(p, p.Pools[i].Endpoints)
		}
	})
}

func weightMistakes() []mistake {
	return []mistake{
		alter("ignores weights", eachPool(func(_ *localsink.Port, endpoints []localsink.Endpoint) {
			for i := range endpoints {
				endpoints[i].Weight = 1
			}
		}), "DP-16", "DP-16-change", "DP-17-weights", "DP-17-algorithm", "DP-18-algorithm"),
		alter("has only the weights 1 and 2", eachPool(func(_ *localsink.Port, endpoints []localsink.Endpoint) {
			for i := range endpoints {
				endpoints[i].Weight = min(endpoints[i].Weight, 2)
			}
		}), "DP-16", "DP-16-change"),
		alter("sends new connections to draining endpoints", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			for _, e := range p.Draining {
				p.Pools[0].Endpoints = append(slices.Clip(p.Pools[0].Endpoints), localsink.Endpoint{Addr: e, Weight: 1})
			}
			slices.SortFunc(p.Pools[0].Endpoints, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
			p.Draining = nil
		}), "DP-16-drain"),
	}
}

func selectionMistakes() []mistake {
	return []mistake{
		alter("selects at random instead of consistently", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			p.Selection = localsink.SelectionRandom
		}), "DP-17", "DP-17-algorithm", "DP-17-removal", "DP-17-change", "DP-18", "DP-18-algorithm", "DP-18-removal"),
		alter("selects by client instead of by flow", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			p.Selection = min(p.Selection, localsink.SelectionClient)
		}), "DP-18", "DP-18-algorithm"),
		alter("selects by flow instead of by client", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			if p.Selection == localsink.SelectionClient {
				p.Selection = localsink.SelectionFlow
			}
		}), "DP-17", "DP-17-algorithm", "DP-17-removal", "DP-17-change"),
		alter("sends most clients to one endpoint after a removal", eachPool(func(p *localsink.Port, endpoints []localsink.Endpoint) {
			if p.Selection != localsink.SelectionRandom && len(endpoints) == 3 {
				endpoints[0].Weight = 1000
			}
		}), "DP-17-removal", "DP-18-removal"),
		alter("ignores affinity with consistent selection", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			if p.Selection != localsink.SelectionRandom {
				p.Affinity = 0
			}
		}), "DP-17-affinity"),
	}
}

func refusedMistakes() []mistake {
	return []mistake{
		alter("ignores the refused share", eachPort(func(_ *localsink.Service, p *localsink.Port) { p.RefusedPerMille = 0 }),
			"DP-19", "DP-19-all", "DP-19-affinity"),
		alter("refuses all instead of a share", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			p.RefusedPerMille = min(p.RefusedPerMille, 1) * 1000
		}), "DP-19"),
		alter("takes a tenth for a thousandth", eachPort(func(_ *localsink.Service, p *localsink.Port) { p.RefusedPerMille /= 10 }), "DP-19", "DP-19-all"),
		alter("refuses connections to an empty pool that its verdict drops", eachFrontend(func(p *localsink.Port, fe *localsink.Frontend) {
			if p.RefusedPerMille > 0 && len(p.Pools[0].Endpoints) == 0 {
				fe.Routes[0].EmptyVerdict = localsink.VerdictReject
			}
		}), "DP-19-empty"),
		alter("refuses clients that have an affinity entry", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			if p.RefusedPerMille > 0 {
				p.Affinity = 0
			}
		}), "DP-19-affinity"),
	}
}

func passMistakes() []mistake {
	passes := func(p *localsink.Port, r localsink.Route) bool {
		return r.EmptyVerdict == localsink.VerdictPass && len(p.Pools[r.Pool].Endpoints) == 0
	}
	return []mistake{
		alter("drops instead of passing", eachRoute(func(r *localsink.Route) {
			if r.EmptyVerdict == localsink.VerdictPass {
				r.EmptyVerdict = localsink.VerdictDrop
			}
		}), "DP-27", "DP-27-networks", "DP-27-routes", "DP-27-change", "CT-11"),
		alter("rejects instead of passing", eachRoute(func(r *localsink.Route) {
			if r.EmptyVerdict == localsink.VerdictPass {
				r.EmptyVerdict = localsink.VerdictReject
			}
		}), "DP-27", "DP-27-networks", "DP-27-routes", "DP-27-change", "CT-11"),
		alter("leaves out frontends that pass", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			p.Frontends = slices.DeleteFunc(slices.Clone(p.Frontends), func(fe localsink.Frontend) bool { return passes(p, fe.Routes[0]) })
		}), "DP-27", "DP-27-networks", "DP-27-routes"),
		alter("passes the packets of all clients if it passes those of some", eachFrontend(func(p *localsink.Port, fe *localsink.Frontend) {
			if slices.ContainsFunc(fe.Routes, func(r localsink.Route) bool { return passes(p, r) }) {
				pass := slices.IndexFunc(fe.Routes, func(r localsink.Route) bool { return passes(p, r) })
				fe.Routes = []localsink.Route{{Pool: fe.Routes[pass].Pool, EmptyVerdict: localsink.VerdictPass}}
			}
		}), "DP-27-routes"),
		{"removes no passed UDP flows", brokenBackend{}, newRules, []string{"CT-11"}},
	}
}

func masqueradeExceptionMistakes() []mistake {
	return []mistake{
		alter("ignores NoMasquerade", func(n *localsink.Node, _ *localsink.Service) { n.NoMasquerade = nil }, "DP-26", "DP-26-change"),
		{"uses NoMasquerade of the first Node only", brokenBackend{keepsNoMasquerade: true}, newRulesAndFlows, []string{"DP-26-change"}},
	}
}
