// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/internal/netnstest"
)

// TestExampleCutter runs the code of ExampleCutter in a network namespace.
func TestExampleCutter(t *testing.T) {
	ns := netnstest.New(t)
	var removed uint
	ns.Do(func() error {
		for i, flow := range []struct{ destination, endpoint string }{
			{"10.96.0.1:53", "10.0.0.1:5353"},    // the Service that is gone
			{"10.96.0.1:53", "10.96.0.1:53"},     // the same, not translated
			{"192.0.2.1:30053", "10.0.0.1:5353"}, // the same, by node port
			{"10.96.0.9:53", "10.0.0.2:5353"},    // another Service, with the endpoint that is gone
			{"10.96.0.9:53", "10.0.0.1:5353"},    // another Service, with an endpoint that remains
			{"198.51.100.1:30053", "10.0.0.1:5353"},
			{"10.0.0.2:5353", "10.0.0.2:5353"},
		} {
			destination, endpoint := netip.MustParseAddrPort(flow.destination), netip.MustParseAddrPort(flow.endpoint)
			client, port := netip.MustParseAddr("192.0.2.2").AsSlice(), uint16(40000+i)
			if err := netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, &netlink.ConntrackFlow{
				FamilyType: unix.AF_INET, TimeOut: 600,
				Forward: netlink.IPTuple{
					Protocol: unix.IPPROTO_UDP, SrcIP: client, SrcPort: port,
					DstIP: destination.Addr().AsSlice(), DstPort: destination.Port(),
				},
				Reverse: netlink.IPTuple{
					Protocol: unix.IPPROTO_UDP, SrcIP: endpoint.Addr().AsSlice(), SrcPort: endpoint.Port(),
					DstIP: client, DstPort: port,
				},
			}); err != nil {
				return err
			}
		}
		cutter, err := conntrack.NewCutter()
		if err != nil {
			return err
		}
		defer cutter.Close()
		removed, err = cutFlows(t.Context(), cutter)
		return err
	})
	require.EqualValues(t, 4, removed)
}
