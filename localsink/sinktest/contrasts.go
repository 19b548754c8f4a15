// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

// web is the name of the Service of most contrasts.
func web() localsink.ServiceName { return localsink.ServiceName{Namespace: "ns", Name: "web"} }

// withPort returns a desired state with one Service whose port is changed by change.
func (f fixture) withPort(change func(p *localsink.Port)) *desired {
	return &desired{f.node(nil), NewState(f.service(web(), 1, change))}
}

func weightContrasts(f fixture, _ Harness) []contrast {
	weights := func(first, second uint32) *desired {
		return f.withPort(func(p *localsink.Port) {
			p.Pools[0].Endpoints[0].Weight, p.Pools[0].Endpoints[1].Weight = first, second
		})
	}
	uneven := weights(1, 3)
	return []contrast{
		{"weights 1:1 become 1:3", localsink.FeatureWeights, weights(1, 1), uneven, supportingDiffer},
		{"weights 1:3 become 1:6", localsink.FeatureWeights, uneven, weights(1, 6), supportingDiffer},
		{"weights 1:3 become 3:1", localsink.FeatureWeights, uneven, weights(3, 1), supportingDiffer},
	}
}

func selectionContrasts(f fixture, _ Harness) []contrast {
	selection := func(s localsink.Selection) *desired {
		return f.withPort(func(p *localsink.Port) { p.Selection = s })
	}
	const client, flow = localsink.FeatureSelectionClient, localsink.FeatureSelectionFlow
	random, byClient, byFlow := selection(localsink.SelectionRandom), selection(localsink.SelectionClient), selection(localsink.SelectionFlow)
	return []contrast{
		{"random selection becomes selection by client", client, random, byClient, supportingDiffer},
		{"random selection becomes selection by flow", flow, random, byFlow, supportingDiffer},
		{"selection by client becomes selection by flow", client | flow, byClient, byFlow, supportingDiffer},
		// Least connections is a hint.
		{"random selection becomes selection by least connections", localsink.FeatureSelectionLeastConnections,
			random, selection(localsink.SelectionLeastConnections), noneDiffer},
	}
}

func refusedContrasts(f fixture, _ Harness) []contrast {
	refused := func(share uint16) *desired {
		return f.withPort(func(p *localsink.Port) { p.RefusedPerMille = share })
	}
	most, few := refused(800), refused(200)
	return []contrast{
		{"0 of 1000 refused connections become 800", localsink.FeatureRefusedShare, refused(0), most, supportingDiffer},
		{"800 of 1000 refused connections become 200", localsink.FeatureRefusedShare, most, few, supportingDiffer},
		{"200 of 1000 refused connections become 1000", localsink.FeatureRefusedShare, few, refused(1000), supportingDiffer},
	}
}

func passContrasts(f fixture, _ Harness) []contrast {
	empty := func(v localsink.Verdict) *desired {
		return f.withPort(func(p *localsink.Port) {
			p.Pools[0] = localsink.Pool{}
			for i := range p.Frontends {
				p.Frontends[i].Routes[0].EmptyVerdict = v
			}
		})
	}
	full := f.withPort(func(p *localsink.Port) {
		for i := range p.Frontends {
			p.Frontends[i].Routes[0].EmptyVerdict = localsink.VerdictPass
		}
	})
	pass := empty(localsink.VerdictPass)
	return []contrast{
		{"the verdict Drop becomes Pass", localsink.FeaturePass, empty(localsink.VerdictDrop), pass, supportingDiffer},
		{"the verdict Reject becomes Pass", localsink.FeaturePass, empty(localsink.VerdictReject), pass, supportingDiffer},
		{"a pool with the verdict Pass gets endpoints", localsink.FeaturePass, pass, full, supportingDiffer},
	}
}

// noMasqueradeContrasts change the Node only.
func noMasqueradeContrasts(f fixture, _ Harness) []contrast {
	state := NewState(f.service(web(), 1, nil))
	except := func(networks ...string) *desired {
		return &desired{f.node(func(n *localsink.Node) {
			for _, text := range networks {
				n.NoMasquerade = append(n.NoMasquerade, netip.MustParsePrefix(text))
			}
		}), state}
	}
	clients := except("192.0.2.0/24", "2001:db8::/32")
	return []contrast{
		{"the Node gets networks without masquerade", localsink.FeatureNoMasquerade, except(), clients, supportingDiffer},
		{"the Node gets other networks without masquerade", localsink.FeatureNoMasquerade, clients, except("198.51.100.0/24", "2001:db8:1::/48"), supportingDiffer},
		{"the Node gets more networks without masquerade", localsink.FeatureNoMasquerade, clients,
			except("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32", "fd00::/16"), supportingDiffer},
	}
}

// originContrasts have objects with equal names and different origins.
func originContrasts(f fixture, _ Harness) []contrast {
	imported := web()
	imported.Origin = "ServiceImport"
	service, other := f.service(web(), 1, nil), f.service(imported, 2, nil)
	fewer := f.service(imported, 2, func(p *localsink.Port) { p.Pools[0].Endpoints = p.Pools[0].Endpoints[:1] })
	state := func(services ...*localsink.Service) *desired { return &desired{f.node(nil), NewState(services...)} }
	alone, both := state(service), state(service, other)
	return []contrast{
		{"a ServiceImport with the name of a Service is added", 0, alone, both, supportingDiffer},
		{"a Service with the name of a ServiceImport is added", 0, state(other), both, supportingDiffer},
		{"a ServiceImport with the name of a Service loses an endpoint", 0, both, state(service, fewer), supportingDiffer},
		{"a ServiceImport takes the addresses of the Service with its name", 0, alone, state(f.service(imported, 1, nil)), noneDiffer},
	}
}

// extension returns a list with one extension.
func extension(key, value string) localsink.Extensions {
	return localsink.NewExtensions(localsink.Extension{Key: key, Value: value})
}

// extensionContrasts have extensions that most sinks do not read, and all those of the harness.
func extensionContrasts(f fixture, h Harness) []contrast {
	state := func(service, endpoint, node localsink.Extensions) *desired {
		svc := f.service(web(), 1, func(p *localsink.Port) {
			if endpoint.Len() > 0 {
				p.EndpointExtensions = map[netip.AddrPort]localsink.Extensions{p.Pools[0].Endpoints[0].Addr: endpoint}
			}
		})
		svc.Extensions = service
		return &desired{f.node(func(n *localsink.Node) { n.Extensions = node }), NewState(svc)}
	}
	var none localsink.Extensions
	bare, one, two := state(none, none, none), extension("example.com/a", "1"), extension("example.com/a", "2")
	service, endpoint, node := state(one, none, none), state(none, one, none), state(none, none, one)
	all := []contrast{
		{"the Service gets an extension", 0, bare, service, noneDiffer},
		{"the extension of the Service changes", 0, service, state(two, none, none), noneDiffer},
		{"an endpoint gets an extension", 0, bare, endpoint, noneDiffer},
		{"the extension of an endpoint changes", 0, endpoint, state(none, two, none), noneDiffer},
		{"the Node gets an extension", 0, bare, node, noneDiffer},
		{"the extension of the Node changes", 0, node, state(none, none, two), noneDiffer},
	}
	for _, e := range h.Extensions {
		x := extension(e.Key, e.Value)
		all = append(all, contrast{"Service, endpoint and Node get the extension " + e.Key, 0, bare, state(x, x, x), allDiffer})
	}
	return all
}
