// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink

import (
	"slices"
	"strings"
)

// Features is a set of abilities that a Service may require of a backend.
type Features uint32

// The features that a backend may not support; see [FeatureReporter].
const (
	FeatureIPv4 Features = 1 << iota
	FeatureIPv6
	FeatureTCP
	FeatureUDP
	FeatureSCTP
	FeatureAffinity
	FeatureSourceRanges
	FeatureClusterIP
	FeatureNodePort
	FeatureExternalIP
	FeatureLoadBalancer
	FeatureWeights
	FeatureSelectionClient
	FeatureSelectionFlow
	FeatureSelectionLeastConnections
	FeaturePass
	FeatureRefusedShare
	FeatureNoMasquerade // [Node.NoMasquerade], for Services with a masqueraded [Route]
)

// String returns the names of the features in f, separated by commas.
func (f Features) String() string {
	names := []string{"IPv4", "IPv6", "TCP", "UDP", "SCTP", "session affinity", "source ranges",
		"ClusterIP", "NodePort", "ExternalIP", "LoadBalancer", "endpoint weights",
		"consistent selection by client", "consistent selection by flow", "selection by least connections",
		"verdict Pass", "a share of refused connections", "masquerade exceptions"}
	var included []string
	for i, name := range names {
		if f&(1<<i) != 0 {
			included = append(included, name)
		}
	}
	return strings.Join(included, ", ")
}

// RequiredFeatures returns the features that are required to serve s completely on a node.
func (s *Service) RequiredFeatures(node *Node) Features {
	var f Features
	for i := range s.Ports {
		f |= s.Ports[i].requiredFeatures(node)
	}
	return f
}

func (p *Port) requiredFeatures(node *Node) Features {
	var f Features
	switch p.Protocol {
	case ProtocolTCP:
		f |= FeatureTCP
	case ProtocolUDP:
		f |= FeatureUDP
	case ProtocolSCTP:
		f |= FeatureSCTP
	}
	switch p.Selection {
	case SelectionRandom:
	case SelectionClient:
		f |= FeatureSelectionClient
	case SelectionFlow:
		f |= FeatureSelectionFlow
	case SelectionLeastConnections:
		f |= FeatureSelectionLeastConnections
	}
	if p.Affinity > 0 {
		f |= FeatureAffinity
	}
	if p.RefusedPerMille > 0 {
		f |= FeatureRefusedShare
	}
	if slices.ContainsFunc(p.Pools, Pool.weighted) {
		f |= FeatureWeights
	}
	for i := range p.Frontends {
		f |= p.Frontends[i].requiredFeatures(p, node)
	}
	return f
}

// weighted reports whether the endpoints of p have different weights.
func (p Pool) weighted() bool {
	for i := range p.Endpoints {
		if p.Endpoints[i].Weight != p.Endpoints[0].Weight {
			return true
		}
	}
	return false
}

func (fe *Frontend) requiredFeatures(p *Port, node *Node) Features {
	f := FeatureIPv6
	if fe.Addr.Addr().Is4() {
		f = FeatureIPv4
	}
	if fe.SourceRanges != nil {
		f |= FeatureSourceRanges
	}
	switch fe.Kind {
	case KindClusterIP:
		f |= FeatureClusterIP
	case KindNodePort:
		f |= FeatureNodePort
	case KindExternalIP:
		f |= FeatureExternalIP
	case KindLoadBalancer:
		f |= FeatureLoadBalancer
	}
	for i := range fe.Routes {
		r := &fe.Routes[i]
		if r.Masquerade && node != nil && len(node.NoMasquerade) > 0 {
			f |= FeatureNoMasquerade
		}
		if r.EmptyVerdict == VerdictPass && (r.Pool >= len(p.Pools) || len(p.Pools[r.Pool].Endpoints) == 0) {
			f |= FeaturePass
		}
	}
	return f
}

// WithUnsupported returns s if it requires none of the given features on a node. Otherwise it
// returns a copy of s with an additional Problem that names the required ones. The copy shares
// its lists with s.
func (s *Service) WithUnsupported(unsupported Features, node *Node) *Service {
	if unsupported == 0 {
		return s
	}
	missing := s.RequiredFeatures(node) & unsupported
	if missing == 0 {
		return s
	}
	out := *s
	out.Problems = append(slices.Clip(s.Problems), Problem{
		Object:  s.Name.Object(),
		Field:   "spec",
		Message: "the backend of this node does not support " + missing.String(),
	})
	return &out
}
