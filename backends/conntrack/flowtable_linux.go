// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A netlinkTable is the flowTable of a Linux network namespace. It holds its netlink
// sockets open until close, so that it stays in that namespace.
type netlinkTable struct{ handle *netlink.Handle }

func openFlowTable() (flowTable, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink sockets: %w", err)
	}
	return netlinkTable{handle}, nil
}

func (t netlinkTable) close() { t.handle.Close() }

func familyOf(v4 bool) int {
	if v4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (t netlinkTable) remove(v4 bool, stale func(flow) bool) (uint, error) {
	n, err := t.handle.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(familyOf(v4)), udpFilter(stale))
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = errInterrupted
	}
	return n, err
}

func (t netlinkTable) addresses(v4 bool) ([]netip.Addr, error) {
	list, err := t.handle.AddrList(nil, familyOf(v4))
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			all = append(all, addr.Unmap())
		}
	}
	return all, nil
}

// A udpFilter selects the UDP flows for which it returns true.
type udpFilter func(flow) bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (match udpFilter) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	destination, ok1 := netip.AddrFromSlice(f.Forward.DstIP)
	replySource, ok2 := netip.AddrFromSlice(f.Reverse.SrcIP)
	return ok1 && ok2 && match(flow{
		destination: netip.AddrPortFrom(destination.Unmap(), f.Forward.DstPort),
		replySource: netip.AddrPortFrom(replySource.Unmap(), f.Reverse.SrcPort),
	})
}
