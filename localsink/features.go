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
)

// String returns the names of the features in f, separated by commas.
func (f Features) String() string {
	names := []string{"IPv4", "IPv6", "TCP", "UDP", "SCTP", "session affinity", "source ranges",
		"ClusterIP", "NodePort", "ExternalIP", "LoadBalancer"}
	var included []string
	for i, name := range names {
		if f&(1<<i) != 0 {
			included = append(included, name)
		}
	}
	return strings.Join(included, ", ")
}

// RequiredFeatures returns the features that are required to serve s completely.
func (s *Service) RequiredFeatures() Features {
	var f Features
	for _, p := range s.Ports {
		switch p.Protocol {
		case ProtocolTCP:
			f |= FeatureTCP
		case ProtocolUDP:
			f |= FeatureUDP
		case ProtocolSCTP:
			f |= FeatureSCTP
		}
		if p.Affinity > 0 {
			f |= FeatureAffinity
		}
		for _, fe := range p.Frontends {
			f |= fe.requiredFeatures()
		}
	}
	return f
}

func (fe *Frontend) requiredFeatures() Features {
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
	return f
}

// WithUnsupported returns s if it requires none of the given features. Otherwise it returns
// a copy of s with an additional Problem that names the required ones. The copy shares its
// lists with s.
func (s *Service) WithUnsupported(unsupported Features) *Service {
	missing := s.RequiredFeatures() & unsupported
	if missing == 0 {
		return s
	}
	out := *s
	out.Problems = append(slices.Clip(s.Problems), Problem{
		Object:  "Service " + s.Name.String(),
		Field:   "spec",
		Message: "the backend of this node does not support " + missing.String(),
	})
	return &out
}
