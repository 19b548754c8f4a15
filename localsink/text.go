// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Text returns a human-readable description of s with all its content, one item per line,
// in a stable order. Long values of extensions are cut. Its format may change; programs should not parse it.
func (s *Service) Text() string {
	var b strings.Builder
	fmt.Fprintln(&b, s.Name)
	for i := range s.Ports {
		s.Ports[i].writeText(&b)
	}
	if s.HealthCheck != nil {
		fmt.Fprintf(&b, "  health check on port %d: %d local endpoints\n", s.HealthCheck.Port, s.HealthCheck.LocalEndpoints)
	}
	if s.Extensions.Len() > 0 {
		fmt.Fprintf(&b, "  extensions: %s\n", s.Extensions)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "  problem: %s\n", p)
	}
	return b.String()
}

func (p *Port) writeText(b *strings.Builder) {
	fmt.Fprintf(b, "  port %q %s", p.Name, p.Protocol)
	if p.Affinity > 0 {
		fmt.Fprintf(b, ", affinity %s", p.Affinity)
	}
	if p.Selection != SelectionRandom {
		fmt.Fprintf(b, ", selection %s", p.Selection)
	}
	if p.RefusedPerMille > 0 {
		fmt.Fprintf(b, ", %d‰ refused", p.RefusedPerMille)
	}
	fmt.Fprintln(b)
	if len(p.Draining) > 0 {
		fmt.Fprintf(b, "    draining: %v\n", p.Draining)
	}
	for _, a := range slices.SortedFunc(maps.Keys(p.EndpointExtensions), netip.AddrPort.Compare) {
		fmt.Fprintf(b, "    extensions of %s: %s\n", a, p.EndpointExtensions[a])
	}
	for _, fe := range p.Frontends {
		fmt.Fprintf(b, "    %s %s", fe.Kind, fe.Addr)
		if fe.SourceRanges != nil {
			fmt.Fprintf(b, " for %v", fe.SourceRanges)
		}
		fmt.Fprintln(b)
		for _, r := range fe.Routes {
			fmt.Fprintf(b, "      %s -> %s\n", r.From, p.targetText(r))
		}
	}
}

// targetText describes the pool of a route, or the verdict if the pool is empty.
func (p *Port) targetText(r Route) string {
	if r.Pool < 0 || r.Pool >= len(p.Pools) {
		return fmt.Sprintf("pool %d, which does not exist", r.Pool)
	}
	endpoints := p.Pools[r.Pool].Endpoints
	if len(endpoints) == 0 {
		return strings.ToLower(r.EmptyVerdict.String())
	}
	words := make([]string, 0, len(endpoints)+1)
	for _, e := range endpoints {
		word := e.Addr.String()
		if e.Local {
			word += "(local)"
		}
		if e.Weight > 1 {
			word += fmt.Sprintf("(weight %d)", e.Weight)
		}
		words = append(words, word)
	}
	if r.Masquerade {
		words = append(words, "masqueraded")
	}
	return strings.Join(words, " ")
}
