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

func (t netlinkTable) remove(v4 bool, filters ...flowFilter) (uint, error) {
	all := make([]netlink.CustomConntrackFilter, 0, len(filters))
	for _, f := range filters {
		all = append(all, netlinkFilter(f))
	}
	n, err := t.handle.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(familyOf(v4)), all...)
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

// A netlinkFilter is a flowFilter for netlink.
type netlinkFilter flowFilter

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (n netlinkFilter) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != uint8(n.protocol) {
		return false
	}
	destination, ok1 := netip.AddrFromSlice(f.Forward.DstIP)
	replySource, ok2 := netip.AddrFromSlice(f.Reverse.SrcIP)
	return ok1 && ok2 && n.match(flow{
		destination: netip.AddrPortFrom(destination.Unmap(), f.Forward.DstPort),
		replySource: netip.AddrPortFrom(replySource.Unmap(), f.Reverse.SrcPort),
	})
}
