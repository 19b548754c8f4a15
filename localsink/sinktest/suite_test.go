// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// A deltaSink is a sink that reads only the delta of its updates. Each of its faults breaks
// a law.
type deltaSink struct {
	node     string
	services map[localsink.ServiceName]*localsink.Service // as programmed
	log      []string
	// Faults:
	ignoresRemoved, appendsToLog, keepsFirstNode, hidesCutOff bool
	// alter changes copies of the Service to program and of the Node. programmed is the
	// Service that has been programmed; nil if there is none.
	alter func(svc, programmed *localsink.Service)
	// alterNode changes a copy of the Node. first reports whether it is the first.
	alterNode   func(n *localsink.Node, first bool)
	unsupported localsink.Features
}

func (s *deltaSink) Unsupported() localsink.Features { return s.unsupported }

func (s *deltaSink) Sync(ctx context.Context, u *localsink.Update) error {
	if u.NodeChanged && (s.node == "" || !s.keepsFirstNode) {
		node := *u.Node
		if s.alterNode != nil {
			s.alterNode(&node, s.node == "")
		}
		extensions := slices.Collect(node.Extensions.All())
		node.Extensions = localsink.Extensions{}
		s.node = fmt.Sprint(node, extensions, "\n")
	}
	for _, svc := range u.Changed {
		if s.appendsToLog {
			s.log = append(s.log, svc.Name.String())
		}
		altered := deepCopy(svc)
		if s.alter != nil {
			s.alter(altered, s.services[altered.Name])
		}
		s.services[altered.Name] = altered
		if err := ctx.Err(); err != nil {
			if s.hidesCutOff {
				return nil
			}
			return err // the next update lists the same Services again
		}
	}
	for _, svc := range u.Removed {
		altered := deepCopy(svc)
		if s.alter != nil {
			s.alter(altered, nil)
		}
		if !s.ignoresRemoved {
			delete(s.services, altered.Name)
		}
	}
	return nil
}

// deepCopy copies what alter functions change.
func deepCopy(svc *localsink.Service) *localsink.Service {
	c := *svc
	c.Ports = slices.Clone(svc.Ports)
	for i := range c.Ports {
		p := &c.Ports[i]
		p.Pools, p.Frontends = slices.Clone(p.Pools), slices.Clone(p.Frontends)
		for j := range p.Pools {
			p.Pools[j].Endpoints = slices.Clone(p.Pools[j].Endpoints)
		}
		for j := range p.Frontends {
			p.Frontends[j].Routes = slices.Clone(p.Frontends[j].Routes)
		}
	}
	return &c
}

func (s *deltaSink) describe() string {
	var all []string
	for _, svc := range s.services {
		all = append(all, svc.Text())
	}
	slices.Sort(all)
	return s.node + strings.Join(append(all, s.log...), "")
}

func harness(faults deltaSink) Harness {
	return Harness{New: func(*testing.T) (localsink.Sink, func() string) {
		fresh := faults
		fresh.services = map[localsink.ServiceName]*localsink.Service{}
		return &fresh, fresh.describe
	}}
}

func TestConformingSinkObeysAllLaws(t *testing.T) {
	TestSink(t, harness(deltaSink{}))
	withExtensions := harness(deltaSink{})
	withExtensions.Extensions = []localsink.Extension{{Key: "acme.example/mode", Value: "dsr"}}
	TestSink(t, withExtensions)
	limited := harness(deltaSink{alter: eachPort(func(p, _ *localsink.Port) { p.Selection, p.RefusedPerMille = 0, 0 })})
	limited.Unsupported = ^(localsink.FeatureIPv6 | localsink.FeatureUDP | localsink.FeatureNodePort | localsink.FeatureWeights)
	TestSink(t, limited)
}

// TestLawsDetectBrokenSinks runs each law against deliberately broken sinks.
func TestLawsDetectBrokenSinks(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault deltaSink
		law   func(*testing.T, Harness)
	}{
		{"ignores Removed at the end", deltaSink{ignoresRemoved: true}, removesEverything},
		{"ignores Removed in between", deltaSink{ignoresRemoved: true}, historyIndependent},
		{"ignores Removed after failures", deltaSink{ignoresRemoved: true}, retrySafe},
		{"appends instead of replacing", deltaSink{appendsToLog: true}, idempotent},
		{"keeps its first Node", deltaSink{keepsFirstNode: true}, followsNode},
		{"keeps its first Node among other changes", deltaSink{keepsFirstNode: true}, historyIndependent},
		{"returns nil for half of an update", deltaSink{hidesCutOff: true}, cutOff},
		{"ignores weights", deltaSink{alter: eachEndpoint(func(e, _ *localsink.Endpoint) { e.Weight = 1 })}, lawOf("Weights")},
		{"forgets a change of weights", deltaSink{alter: keepWeights}, lawOf("Weights")},
		{"forgets a change of weights among other changes", deltaSink{alter: keepWeights}, historyIndependent},
		{"ignores the selection", deltaSink{alter: eachPort(func(p, _ *localsink.Port) { p.Selection = 0 })}, lawOf("Selection")},
		{"takes a flow for a client", deltaSink{alter: eachPort(func(p, _ *localsink.Port) { p.Selection = min(p.Selection, localsink.SelectionClient) })}, lawOf("Selection")},
		{"ignores a change of the selection", deltaSink{alter: keepSelection}, lawOf("Selection")},
		{"ignores a change of the selection among other changes", deltaSink{alter: keepSelection}, historyIndependent},
		{"ignores a refused share", deltaSink{alter: eachPort(func(p, _ *localsink.Port) { p.RefusedPerMille = 0 })}, lawOf("RefusedShare")},
		{"refuses all instead of a share", deltaSink{alter: eachPort(func(p, _ *localsink.Port) { p.RefusedPerMille = min(p.RefusedPerMille, 1) * 1000 })}, lawOf("RefusedShare")},
		{"treats Pass as Drop", deltaSink{alter: eachRoute(func(r *localsink.Route) {
			if r.EmptyVerdict == localsink.VerdictPass {
				r.EmptyVerdict = localsink.VerdictDrop
			}
		})}, lawOf("Pass")},
		{"treats Pass as Reject", deltaSink{alter: eachRoute(func(r *localsink.Route) { r.EmptyVerdict %= localsink.VerdictPass })}, lawOf("Pass")},
		{"ignores NoMasquerade", deltaSink{alterNode: func(n *localsink.Node, _ bool) { n.NoMasquerade = nil }}, lawOf("NoMasquerade")},
		{"uses NoMasquerade of the first Node only", deltaSink{alterNode: onlyFirstNoMasquerade}, lawOf("NoMasquerade")},
		{"uses NoMasquerade of the first Node only, among other changes", deltaSink{alterNode: onlyFirstNoMasquerade}, followsNode},
		{"confuses objects of different origin", deltaSink{alter: func(svc, _ *localsink.Service) { svc.Name.Origin = "" }}, lawOf("Origin")},
		{"confuses objects of different origin, among other changes", deltaSink{alter: func(svc, _ *localsink.Service) { svc.Name.Origin = "" }}, historyIndependent},
		{"serves Services only", deltaSink{alter: func(svc, _ *localsink.Service) {
			if svc.Name.Origin != "" {
				*svc = localsink.Service{Name: svc.Name}
			}
			svc.Name.Origin = ""
		}}, lawOf("Origin")},
		{"keeps stale extensions", deltaSink{alter: keepExtensions}, lawOf("Extensions")},
		{"keeps stale extensions, among other changes", deltaSink{alter: keepExtensions}, historyIndependent},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.False(t, passes(func(t *testing.T) { c.law(t, harness(c.fault)) }))
		})
	}
}

// TestLawsDetectIgnoredExtensions: a sink that does not read an extension of its harness fails.
func TestLawsDetectIgnoredExtensions(t *testing.T) {
	h := harness(deltaSink{alter: func(svc, _ *localsink.Service) {
		svc.Extensions = localsink.Extensions{}
		eachPort(func(p, _ *localsink.Port) { p.EndpointExtensions = nil })(svc, nil)
	}, alterNode: func(n *localsink.Node, _ bool) { n.Extensions = localsink.Extensions{} }})
	require.True(t, passes(func(t *testing.T) { lawOf("Extensions")(t, h) }), "a sink need not read extensions that its harness does not list")
	h.Extensions = []localsink.Extension{{Key: "acme.example/mode", Value: "dsr"}}
	require.False(t, passes(func(t *testing.T) { lawOf("Extensions")(t, h) }))
}

// TestUndeclaredConceptsAreNotRequired: a sink that ignores a concept passes its law if it
// declares so, or declares nothing, as a part of a chain does.
func TestUndeclaredConceptsAreNotRequired(t *testing.T) {
	ignoring := deltaSink{alter: eachEndpoint(func(e, _ *localsink.Endpoint) { e.Weight = 1 })}
	part := harness(ignoring)
	undeclared := part.New
	part.New = func(t *testing.T) (localsink.Sink, func() string) {
		sink, describe := undeclared(t)
		return localsink.Func(sink.Sync), describe
	}
	require.True(t, passes(func(t *testing.T) { lawOf("Weights")(t, part) }))
	ignoring.unsupported = localsink.FeatureWeights
	require.True(t, passes(func(t *testing.T) { lawOf("Weights")(t, harness(ignoring)) }))
	excluded := harness(deltaSink{alter: keepWeights})
	excluded.Unsupported = localsink.FeatureWeights
	require.True(t, passes(func(t *testing.T) { lawOf("Weights")(t, excluded) }), "the sink gets no weights")
}

// TestConceptsRunForLimitedSinks: a law uses what the sink supports, and is skipped only if
// that is nothing.
func TestConceptsRunForLimitedSinks(t *testing.T) {
	f, ok := newFixture(^(localsink.FeatureIPv6 | localsink.FeatureSCTP | localsink.FeatureNodePort))
	require.True(t, ok)
	require.Equal(t, fixture{localsink.ProtocolSCTP, true, []localsink.FrontendKind{localsink.KindNodePort}}, f)
	for _, missing := range []localsink.Features{
		localsink.FeatureIPv4 | localsink.FeatureIPv6,
		localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureSCTP,
		localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP | localsink.FeatureLoadBalancer,
	} {
		_, ok := newFixture(missing)
		require.False(t, ok, missing)
	}
	for _, unsupported := range []localsink.Features{0, localsink.FeatureIPv4 | localsink.FeatureTCP} {
		f, _ := newFixture(unsupported)
		for _, c := range concepts() {
			for _, x := range c.contrasts(f, Harness{}) {
				for _, to := range []*desired{x.a, x.b} {
					require.NoError(t, Check(to.node, to.state), x.text)
					for svc := range to.state.All() {
						require.Zero(t, svc.RequiredFeatures(to.node)&unsupported, x.text)
					}
				}
			}
		}
	}
}

func lawOf(name string) func(*testing.T, Harness) {
	for _, law := range laws() {
		if law.name == name {
			return law.check
		}
	}
	return nil
}

// eachPort returns an alter function. The second argument of change is the programmed port, or
// nil.
func eachPort(change func(p, programmed *localsink.Port)) func(svc, programmed *localsink.Service) {
	return func(svc, programmed *localsink.Service) {
		for i := range svc.Ports {
			if programmed != nil && i < len(programmed.Ports) {
				change(&svc.Ports[i], &programmed.Ports[i])
			} else {
				change(&svc.Ports[i], nil)
			}
		}
	}
}

// eachEndpoint is eachPort for the endpoints of pools. The second argument of change is nil if
// no endpoint with the address is programmed.
func eachEndpoint(change func(e, programmed *localsink.Endpoint)) func(svc, programmed *localsink.Service) {
	return eachPort(func(p, programmed *localsink.Port) {
		for i := range p.Pools {
			for j := range p.Pools[i].Endpoints {
				e := &p.Pools[i].Endpoints[j]
				var old *localsink.Endpoint
				if programmed != nil {
					at := slices.IndexFunc(programmed.Pools[i].Endpoints, func(o localsink.Endpoint) bool { return o.Addr == e.Addr })
					if at >= 0 {
						old = &programmed.Pools[i].Endpoints[at]
					}
				}
				change(e, old)
			}
		}
	})
}

func eachRoute(change func(r *localsink.Route)) func(svc, programmed *localsink.Service) {
	return eachPort(func(p, _ *localsink.Port) {
		for i := range p.Frontends {
			for j := range p.Frontends[i].Routes {
				change(&p.Frontends[i].Routes[j])
			}
		}
	})
}

// keepWeights keeps the weights of endpoints that are programmed.
func keepWeights(svc, programmed *localsink.Service) {
	eachEndpoint(func(e, old *localsink.Endpoint) {
		if old != nil {
			e.Weight = old.Weight
		}
	})(svc, programmed)
}

// keepSelection keeps the selection of ports that are programmed.
func keepSelection(svc, programmed *localsink.Service) {
	eachPort(func(p, old *localsink.Port) {
		if old != nil {
			p.Selection = old.Selection
		}
	})(svc, programmed)
}

// keepExtensions keeps extensions of endpoints that are programmed and have none.
func keepExtensions(svc, programmed *localsink.Service) {
	eachPort(func(p, old *localsink.Port) {
		if old != nil && p.EndpointExtensions == nil {
			p.EndpointExtensions = old.EndpointExtensions
		}
	})(svc, programmed)
}

func onlyFirstNoMasquerade(n *localsink.Node, first bool) {
	if !first {
		n.NoMasquerade = nil
	}
}

// passes reports whether f passes as a test of its own, whose failure does not fail the
// current test.
func passes(f func(*testing.T)) bool {
	return testing.RunTests(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "inner", F: f}})
}
