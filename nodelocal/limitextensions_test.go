// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/watchers"
)

// TestExtensionsOfServiceAreBounded: each object has fewer extensions than its limit, all
// together have more than that of a Service.
func TestExtensionsOfServiceAreBounded(t *testing.T) {
	const each = 200_000
	const fit = overlay.MaxExtensionsSize/each - 1 // the Service itself has some too
	list := func(i int) localsink.Extensions {
		return localsink.NewExtensions(localsink.Extension{Key: "k", Value: fmt.Sprintf("%*d", each-1, i)})
	}
	object := service(func(s *watchers.Service) { s.Extensions = list(0) })
	n := newNode(t, nodelocal.Config{}, object)
	for i := range 2 * fit {
		s := slice(t, fmt.Sprintf("slice-%02d", i), fmt.Sprintf("10.1.1.%d R", i+1), fmt.Sprintf("10.1.2.%d R", i+1))
		s.Extensions = list(min(i, fit+2)) // those of the last slices are equal
		n.set(s)
	}
	n.update()
	svc := n.get(name())
	require.True(t, object.Extensions.Equal(svc.Extensions))
	extensions := svc.Ports[0].EndpointExtensions
	require.Len(t, extensions, 2*fit, "of two endpoints of each slice, those with the lowest addresses")
	for i := range fit {
		for _, network := range []string{"10.1.1.", "10.1.2."} {
			a := netip.MustParseAddrPort(fmt.Sprintf("%s%d:80", network, i+1))
			require.True(t, list(i).Equal(extensions[a]), a)
		}
	}
	require.Len(t, svc.Ports[0].Pools[0].Endpoints, 4*fit)
	require.Equal(t, []localsink.Problem{{
		Object: "Service ns/svc", Field: `spec.ports[name=""]`,
		Message: fmt.Sprintf("the extensions of a Service and its endpoints have at most 2097152 bytes; those of %d endpoints are ignored", 2*fit),
	}}, svc.Problems)
}

// TestSharedExtensionsCountOnce: one large list of a slice with many endpoints is no problem,
// also if the endpoints do not share its memory.
func TestSharedExtensionsCountOnce(t *testing.T) {
	s := slice(t, "a")
	s.Extensions = localsink.NewExtensions(localsink.Extension{Key: "k", Value: strings.Repeat("x", 250_000)})
	for i := range 200 {
		s.Endpoints = append(s.Endpoints, endpoint(t, fmt.Sprintf("10.1.0.%d R", i+1)))
		s.Details = append(s.Details, watchers.EndpointDetails{Extensions: localsink.NewExtensions(localsink.Extension{Key: "own", Value: "1"})})
	}
	n := newNode(t, nodelocal.Config{}, service(), s)
	svc := n.get(name())
	require.Len(t, svc.Ports[0].EndpointExtensions, 200)
	require.Empty(t, svc.Problems)
}
