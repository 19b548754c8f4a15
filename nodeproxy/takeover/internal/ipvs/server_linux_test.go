// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// encode returns a message of the kernel about a virtual server.
func encode(family uint16, addr netip.Addr, port uint16) []byte {
	var field [16]byte
	copy(field[:], addr.AsSlice())
	attrs := nl.NewRtAttr(attrService|unix.NLA_F_NESTED, nil)
	attrs.AddRtAttr(attrFamily, nl.Uint16Attr(family))
	attrs.AddRtAttr(attrProtocol, nl.Uint16Attr(unix.IPPROTO_UDP))
	attrs.AddRtAttr(attrAddr, field[:])
	attrs.AddRtAttr(attrPort, binary.BigEndian.AppendUint16(nil, port))
	return append(make([]byte, nl.SizeofGenlmsg), attrs.Serialize()...)
}

func TestParseServer(t *testing.T) {
	for text, family := range map[string]uint16{"10.96.0.10": unix.AF_INET, "fd00:96::a": unix.AF_INET6, "::ffff:10.96.0.10": unix.AF_INET6} {
		addr := netip.MustParseAddr(text)
		s, err := parseServer(encode(family, addr, 53))
		require.NoError(t, err)
		require.Equal(t, server{protocol: unix.IPPROTO_UDP, addr: addr, port: 53}, s)
	}
	mark := nl.NewRtAttr(attrService|unix.NLA_F_NESTED, nl.NewRtAttr(attrFamily, nl.Uint16Attr(unix.AF_INET)).Serialize())
	s, err := parseServer(append(make([]byte, nl.SizeofGenlmsg), mark.Serialize()...))
	require.NoError(t, err)
	require.False(t, s.addr.IsValid(), "a firewall mark has no address")
}

func FuzzParseServer(f *testing.F) {
	f.Add(encode(unix.AF_INET, netip.MustParseAddr("10.96.0.10"), 53))
	f.Add(encode(unix.AF_INET6, netip.MustParseAddr("fd00:96::a"), 53))
	f.Fuzz(func(_ *testing.T, message []byte) { _, _ = parseServer(message) })
}

func TestNamesOfSets(t *testing.T) {
	names := append(setNames(false), setNames(true)...)
	require.Len(t, names, 38)
	slices.Sort(names)
	require.Equal(t, names, slices.Compact(slices.Clone(names)), "no name twice")
	require.Contains(t, names, "KUBE-6-LOAD-BALANCER-SOURCE-CID", "kube-proxy cuts it at 31 characters")
	require.Contains(t, names, "KUBE-IPVS-IPS")
}
