// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
)

// TestHeldBasesKeepContent checks that a base and the result of a delta are held without a
// difference, and that the original is unchanged.
func TestHeldBasesKeepContent(t *testing.T) {
	received, err := newReceivedBase(sampleBase().Name, toService(sampleBase()), 1)
	require.NoError(t, err)
	require.Equal(t, sampleBase(), received.decode())
	require.Equal(t, sampleBase(), received.base)

	next := sampleBase()
	next.Ports[0].Endpoints = next.Ports[0].Endpoints[1:]
	next.Ports[0].EndpointExtensions[sampleBase().Ports[0].Endpoints[1].Addr] = ext("new", "1")
	delta, ok := overlay.Diff(sampleBase(), next)
	require.True(t, ok)
	changed, err := received.apply(delta, 2)
	require.NoError(t, err)
	require.True(t, next.Equal(changed.base))
	require.True(t, next.Equal(changed.decode()))
	require.Equal(t, uint64(2), changed.digest)
	require.Equal(t, sampleBase(), received.decode())
}

// TestExtensionsOfADeltaCountWithOthers: a base that is held must be readable again, so the limit is that of
// the base and all of its deltas together.
func TestExtensionsOfADeltaCountWithOthers(t *testing.T) {
	large := func(text string) localsink.Extensions {
		return ext("key", strings.Repeat(text, overlay.MaxExtensionsSize*3/4))
	}
	base := sampleBase()
	addrs := []netip.AddrPort{base.Ports[0].Endpoints[0].Addr, base.Ports[0].Endpoints[1].Addr}
	base.Ports[0].EndpointExtensions[addrs[0]] = large("a")
	received, err := newReceivedBase(base.Name, toService(base), 1)
	require.NoError(t, err)
	change := func(extensions map[netip.AddrPort]localsink.Extensions) *overlay.Delta {
		return &overlay.Delta{Ports: []overlay.PortDelta{{Extensions: extensions}}}
	}
	_, err = received.apply(change(map[netip.AddrPort]localsink.Extensions{addrs[1]: large("b")}), 2)
	require.ErrorContains(t, err, "TCPRoute ns/svc: with a delta")
	require.ErrorContains(t, err, "larger than 2097152 bytes")
	moved, err := received.apply(change(map[netip.AddrPort]localsink.Extensions{addrs[0]: {}, addrs[1]: large("b")}), 2)
	require.NoError(t, err)
	require.True(t, moved.base.Equal(moved.decode()))
	require.Equal(t, large("b"), moved.base.Ports[0].EndpointExtensions[addrs[1]])
}

// TestHeldBasesKeepWhatIsUnsupported applies a delta to a Service with values of a newer server.
func TestHeldBasesKeepWhatIsUnsupported(t *testing.T) {
	in := toService(sampleBase())
	in.Ports[0].Selection, in.Ports[0].RouteLists[0].Routes[0].EmptyVerdict = 99, 99
	received, err := newReceivedBase(sampleBase().Name, in, 1)
	require.NoError(t, err)
	require.Greater(t, len(received.base.Problems), len(sampleBase().Problems))

	next := sampleBase()
	next.Ports[0].Endpoints = next.Ports[0].Endpoints[1:]
	delta, ok := overlay.Diff(sampleBase(), next)
	require.True(t, ok)
	for range 2 {
		changed, err := received.apply(delta, 2)
		require.NoError(t, err)
		require.Equal(t, received.base.Problems, changed.decode().Problems)
		var held kpng.Service
		require.NoError(t, proto.Unmarshal([]byte(changed.encoded), &held))
		require.EqualValues(t, 99, held.GetPorts()[0].GetSelection())
		require.EqualValues(t, 99, held.GetPorts()[0].GetRouteLists()[0].GetRoutes()[0].GetEmptyVerdict())
		received, delta = changed, &overlay.Delta{}
	}
}

// TestUnreadableHeldBaseIsAProblem checks that an error in this package would show.
func TestUnreadableHeldBaseIsAProblem(t *testing.T) {
	h := &heldBase{name: sampleBase().Name, encoded: "\xff"}
	base := h.decode()
	require.Equal(t, sampleBase().Name, base.Name)
	require.Len(t, base.Problems, 1)
	require.Contains(t, base.Problems[0].Message, "not readable")
	_, err := h.apply(&overlay.Delta{}, 1)
	require.Error(t, err)
}
