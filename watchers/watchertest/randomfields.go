// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// extensions returns random extensions: usually none.
func (r Random) extensions() watchers.Extensions {
	var list []localsink.Extension
	for range r.IntN(6) - 2 {
		list = append(list, localsink.Extension{
			Key:   []string{"acme.example/mode", "acme.example/weight", "other.example/x"}[r.IntN(3)],
			Value: []string{"", "1", "dsr", "\x00\xff"}[r.IntN(4)],
		})
	}
	return localsink.NewExtensions(list...)
}

// extendService adds the fields of Random.Extended to a Service.
func (r Random) extendService(s *watchers.Service) {
	s.Extensions = r.extensions()
	for i := range s.Ports {
		if r.IntN(2) == 0 {
			s.Ports[i].Selection = localsink.Selection(r.IntN(4))
		}
		if r.IntN(4) == 0 {
			s.Ports[i].RefusedPerMille = []uint16{1, 200, 1000}[r.IntN(3)]
		}
	}
	if r.IntN(3) > 0 {
		return
	}
	s.Details = &watchers.ServiceDetails{Headless: r.IntN(2) == 0, LoadBalancerClass: r.text("acme.example/lb"), ExternalName: r.text("db.example.org")}
	if s.Details.Headless {
		s.ClusterIP, s.ClusterIPs = netip.Addr{}, nil
	}
	if r.IntN(2) == 0 {
		for range s.Ports {
			s.Details.AppProtocols = append(s.Details.AppProtocols, r.text("kubernetes.io/h2c"))
		}
	}
}

// extendSlice adds the fields of Random.Extended to an EndpointSlice.
func (r Random) extendSlice(s *watchers.EndpointSlice) {
	s.Extensions = r.extensions()
	if r.IntN(2) == 0 {
		return
	}
	for i := range s.Endpoints {
		d := watchers.EndpointDetails{Extensions: r.extensions(), Hostname: r.text(fmt.Sprint("web-", i)), Zone: r.text(r.zone())}
		if r.IntN(2) == 0 {
			d.Weight = []*uint32{new(uint32(0)), new(uint32(1)), new(uint32(3)), new(uint32(100))}[r.IntN(4)]
		}
		if r.IntN(2) == 0 {
			d.Target = watchers.ObjectReference{Kind: "Pod", Namespace: s.Namespace, Name: fmt.Sprint("web-", i)}
		}
		s.Details = append(s.Details, d)
	}
}

// text returns s or "".
func (r Random) text(s string) string {
	if r.IntN(2) == 0 {
		return ""
	}
	return s
}
