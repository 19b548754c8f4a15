// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package contract has what backends share about the contract of [localsink.Update]: which parts
// of a Service violate it, and which Services a delta concerns. It has no notion of any dataplane.
package contract

import (
	"fmt"

	"sigs.k8s.io/kpng/localsink"
)

// FrontendViolation returns why a frontend of p cannot be programmed, or an empty string. The
// fields in the text are those of fe.
func FrontendViolation(p *localsink.Port, fe *localsink.Frontend) string {
	switch p.Protocol {
	case localsink.ProtocolTCP, localsink.ProtocolUDP, localsink.ProtocolSCTP:
	default:
		return fmt.Sprintf("protocol number %d is not TCP, UDP or SCTP", uint8(p.Protocol))
	}
	if fe.Addr.Port() == 0 {
		return "port 0 is out of range 1-65535"
	}
	if nodePort := fe.Kind == localsink.KindNodePort; nodePort != fe.Addr.Addr().IsUnspecified() {
		if nodePort {
			return "the address of a node port must be unspecified"
		}
		return "the address must not be unspecified"
	}
	if len(fe.Routes) == 0 {
		return "routes must not be empty"
	}
	for i, r := range fe.Routes {
		if r.Pool < 0 || r.Pool >= len(p.Pools) {
			return fmt.Sprintf("routes[%d].pool: %d is out of range [0,%d)", i, r.Pool, len(p.Pools))
		}
		if r.EmptyVerdict > localsink.VerdictPass {
			return fmt.Sprintf("routes[%d].emptyVerdict: unknown verdict %d", i, r.EmptyVerdict)
		}
		if r.From > localsink.FromThisNode {
			return fmt.Sprintf("routes[%d].from: unknown kind of client %d", i, r.From)
		}
	}
	return ""
}

// TouchedServices returns the names of the Services that the delta of u removes or changes, the
// removed ones first.
func TouchedServices(u *localsink.Update) []localsink.ServiceName {
	names := make([]localsink.ServiceName, 0, len(u.Changed)+len(u.Removed))
	for _, list := range [][]*localsink.Service{u.Removed, u.Changed} {
		for _, s := range list {
			names = append(names, s.Name)
		}
	}
	return names
}
