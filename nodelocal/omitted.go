// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/watchers"
)

// A Scope limits what is served. What it leaves out gets no Problem: it is left to another
// proxy. The zero value serves everything.
type Scope struct {
	// Skip reports whether a Service is left out altogether. It is called whenever the
	// Service or its EndpointSlices have changed, must depend on nothing but the argument, and
	// must not change it. nil leaves out none.
	Skip func(*watchers.Service) bool
	// FrontendKinds are the kinds of frontends to serve; none stands for all. An address that
	// is both a load balancer address and an external IP is a load balancer address.
	FrontendKinds []localsink.FrontendKind
	// Families are the address families to serve; none stands for both.
	Families []watchers.IPFamily
}

func (s *Scope) validate() error {
	var errs []error
	for i, kind := range s.FrontendKinds {
		if kind < localsink.KindClusterIP || kind > localsink.KindLoadBalancer {
			errs = append(errs, fmt.Errorf("Scope.FrontendKinds[%d]: %d is not a kind of frontend", i, kind))
		}
	}
	for i, family := range s.Families {
		if family != watchers.FamilyIPv4 && family != watchers.FamilyIPv6 {
			errs = append(errs, fmt.Errorf("Scope.Families[%d]: %d is not 4 or 6", i, family))
		}
	}
	return errors.Join(errs...)
}

// selects reports whether the Service is for the proxy of the given name and not left out.
func (s *Scope) selects(svc *watchers.Service, proxy string) bool {
	return svc != nil && svc.IsFor(proxy) && (s.Skip == nil || !s.Skip(svc))
}

// omitted is a set of frontend kinds and address families that are not served.
type omitted uint16

func kindBit(kind localsink.FrontendKind) omitted { return 1 << kind }

func familyBit(family watchers.IPFamily) omitted { return 1 << (8 + family) }

// omitted returns what the scope leaves out of each Service.
func (s *Scope) omitted() omitted {
	var o omitted
	for kind := localsink.KindClusterIP; kind <= localsink.KindLoadBalancer; kind++ {
		if len(s.FrontendKinds) > 0 && !slices.Contains(s.FrontendKinds, kind) {
			o |= kindBit(kind)
		}
	}
	for _, family := range []watchers.IPFamily{watchers.FamilyIPv4, watchers.FamilyIPv6} {
		if len(s.Families) > 0 && !slices.Contains(s.Families, family) {
			o |= familyBit(family)
		}
	}
	return o
}

func (o omitted) family(family watchers.IPFamily) bool { return o&familyBit(family) != 0 }

// external reports whether nothing is served that an external load balancer sends to.
func (o omitted) external() bool {
	all := kindBit(localsink.KindNodePort) | kindBit(localsink.KindLoadBalancer)
	return o&all == all
}

func (o omitted) removeFrontends(port *overlay.Port) {
	if o == 0 {
		return
	}
	port.Frontends = slices.DeleteFunc(port.Frontends, func(fe overlay.Frontend) bool { return o&kindBit(fe.Kind) != 0 })
}

// validNetworks returns the networks without host bits, ordered and without duplicates.
func validNetworks(list []netip.Prefix, name string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, p := range list {
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("%s[%d]: %v is not an IPv4 or IPv6 network", name, i, p)
		}
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out), nil
}
