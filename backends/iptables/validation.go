// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"slices"

	"sigs.k8s.io/kpng/backends/internal/contract"
	"sigs.k8s.io/kpng/localsink"
)

// check returns what violates the contract of package localsink, or an empty string. It reports
// whether the frontend can be programmed nevertheless, without some endpoints.
func (p *port) check(fe *localsink.Frontend) (problem string, usable bool) {
	if violation := contract.FrontendViolation(p.spec, fe); violation != "" {
		return violation + "; ignored", false
	}
	for _, r := range fe.Routes {
		if n := len(p.spec.Pools[r.Pool].Endpoints) - len(p.pools[r.Pool].endpoints); n > 0 {
			return fmt.Sprintf("pools[%d]: %d endpoints are duplicates or not %s addresses with a port; ignored", r.Pool, n, p.family.name), true
		}
	}
	return "", true
}

// validEndpoints returns the endpoints of a family with a port, in order and without duplicates,
// as the contract requires them. It returns endpoints itself if that is valid.
func validEndpoints(f *family, endpoints []localsink.Endpoint) []localsink.Endpoint {
	valid := func(e localsink.Endpoint) bool { return f.has(e.Addr.Addr()) && e.Addr.Port() != 0 }
	for i := range endpoints {
		if valid(endpoints[i]) && (i == 0 || endpoints[i-1].Addr.Compare(endpoints[i].Addr) < 0) {
			continue
		}
		remaining := slices.DeleteFunc(slices.Clone(endpoints), func(e localsink.Endpoint) bool { return !valid(e) })
		slices.SortStableFunc(remaining, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
		return slices.CompactFunc(remaining, func(a, b localsink.Endpoint) bool { return a.Addr == b.Addr })
	}
	return endpoints
}
