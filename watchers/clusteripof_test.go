// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

func TestClusterIPOf(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00::1")
	both := []watchers.IPFamily{watchers.FamilyIPv6, watchers.FamilyIPv4}
	for _, c := range []struct {
		name   string
		svc    watchers.Service
		v4, v6 netip.Addr
	}{
		{"none", watchers.Service{}, netip.Addr{}, netip.Addr{}},
		{"without families", watchers.Service{ClusterIP: v4}, v4, netip.Addr{}},
		{"both families", watchers.Service{ClusterIP: v6, ClusterIPs: []netip.Addr{v6, v4}, IPFamilies: both}, v4, v6},
		{"no address yet", watchers.Service{ClusterIP: v6, ClusterIPs: []netip.Addr{v6}, IPFamilies: both}, netip.Addr{}, v6},
		{"address of the other family", watchers.Service{ClusterIP: v4, ClusterIPs: []netip.Addr{v4, v6}, IPFamilies: both}, netip.Addr{}, netip.Addr{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.v4, c.svc.ClusterIPOf(watchers.FamilyIPv4))
			require.Equal(t, c.v6, c.svc.ClusterIPOf(watchers.FamilyIPv6))
		})
	}
}
