// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"maps"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
)

// limitExtensions removes the extensions of endpoints that make those of the Service exceed
// [overlay.MaxExtensionsSize], and reports them.
func (svc *ResolvedService) limitExtensions() {
	size := svc.extensions.Size()
	for i := range svc.ports {
		p := &svc.ports[i].Port
		if len(p.EndpointExtensions) == 0 {
			continue
		}
		if upper := size + sizeOfLists(p.EndpointExtensions); upper <= overlay.MaxExtensionsSize {
			size = upper
			continue
		}
		kept := maps.Clone(p.EndpointExtensions)
		for _, g := range overlay.GroupExtensions(kept) {
			if n := g.Extensions.Size(); size+n <= overlay.MaxExtensionsSize {
				size += n
				continue
			}
			for _, a := range g.Endpoints {
				delete(kept, a)
			}
		}
		if removed := len(p.EndpointExtensions) - len(kept); removed > 0 {
			p.EndpointExtensions = kept
			svc.addProblemf(fmt.Sprintf("spec.ports[name=%q]", p.Name),
				"the extensions of a Service and its endpoints have at most %d bytes; those of %d endpoints are ignored", overlay.MaxExtensionsSize, removed)
		}
	}
}

// sizeOfLists returns the size of the lists in bytes, where those that share memory count once.
func sizeOfLists(extensions map[netip.AddrPort]localsink.Extensions) (size int) {
	counted := map[localsink.Extensions]struct{}{}
	for _, x := range extensions {
		if _, found := counted[x]; !found {
			counted[x] = struct{}{}
			size += x.Size()
		}
	}
	return size
}
