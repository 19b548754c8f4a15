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

// netlinkTable talks netlink over sockets that it keeps.
type netlinkTable struct{ handle *netlink.Handle }

func openFlowTable() (flowTable, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("no netlink socket: %w", err)
	}
	return netlinkTable{handle}, nil
}

func (k netlinkTable) close() { k.handle.Close() }

func familyOf(v4 bool) int {
	if v4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (k netlinkTable) remove(v4 bool, wrong func(flow) bool) (uint, error) {
	n, err := k.handle.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(familyOf(v4)), matcher(wrong))
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = errInterrupted
	}
	return n, err
}

func (k netlinkTable) addresses(v4 bool) ([]netip.Addr, error) {
	list, err := k.handle.AddrList(nil, familyOf(v4))
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

// A matcher says which flows are to be removed.
type matcher func(flow) bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (m matcher) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	dialled, ok1 := netip.AddrFromSlice(f.Forward.DstIP)
	answers, ok2 := netip.AddrFromSlice(f.Reverse.SrcIP)
	return ok1 && ok2 && m(flow{
		destination: netip.AddrPortFrom(dialled.Unmap(), f.Forward.DstPort),
		replySource: netip.AddrPortFrom(answers.Unmap(), f.Reverse.SrcPort),
	})
}
