// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Generic netlink of IPVS: include/uapi/linux/ip_vs.h of the kernel.
const (
	familyName    = "IPVS"
	familyVersion = 1

	cmdDelService = 3
	cmdGetService = 4

	attrService = 1 // of a command

	attrFamily   = 1 // of a service
	attrProtocol = 2
	attrAddr     = 3
	attrPort     = 4
)

// A server is a virtual server with an address. Those that match a firewall mark have none.
type server struct {
	genericFamily uint16
	protocol      uint16
	addr          netip.Addr
	port          uint16
}

// listServers returns the virtual servers of the network namespace; none if the kernel
// module is not loaded. A request for it would load it.
func listServers() ([]server, error) {
	if _, err := os.Stat("/proc/thread-self/net/ip_vs"); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	family, err := netlink.GenlFamilyGet(familyName)
	if err != nil {
		return nil, fmt.Errorf("find generic netlink family %s: %w", familyName, err)
	}
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_DUMP)
	req.AddData(&nl.Genlmsg{Command: cmdGetService, Version: familyVersion})
	messages, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return nil, fmt.Errorf("list virtual servers: %w", err)
	}
	var servers []server
	for _, message := range messages {
		s, err := parseServer(message)
		if err != nil {
			return nil, fmt.Errorf("list virtual servers: %w", err)
		}
		if s.genericFamily = family.ID; s.addr.IsValid() {
			servers = append(servers, s)
		}
	}
	return servers, nil
}

func parseServer(message []byte) (s server, err error) {
	if len(message) < nl.SizeofGenlmsg {
		return s, fmt.Errorf("message of %d bytes", len(message))
	}
	var addr []byte
	isIPv6 := false
	for kind, service := range attributes(message[nl.SizeofGenlmsg:]) {
		if kind != attrService {
			continue
		}
		for kind, value := range attributes(service) {
			switch {
			case len(value) < 2:
			case kind == attrFamily:
				isIPv6 = binary.NativeEndian.Uint16(value) == unix.AF_INET6
			case kind == attrProtocol:
				s.protocol = binary.NativeEndian.Uint16(value)
			case kind == attrPort:
				s.port = binary.BigEndian.Uint16(value)
			case kind == attrAddr:
				addr = value
			}
		}
	}
	switch { // the field for the address has 16 bytes in both families
	case isIPv6 && len(addr) >= 16:
		s.addr = netip.AddrFrom16([16]byte(addr))
	case !isIPv6 && len(addr) >= 4:
		s.addr = netip.AddrFrom4([4]byte(addr))
	}
	return s, nil
}

// attributes yields the type and the value of each netlink attribute, and ends at an
// invalid one.
func attributes(data []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(kind uint16, value []byte) bool) {
		for len(data) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(data))
			if size < unix.SizeofRtAttr || size > len(data) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(data[2:])&nl.NLA_TYPE_MASK, data[unix.SizeofRtAttr:size]) {
				return
			}
			data = data[min((size+3)&^3, len(data)):]
		}
	}
}

// delete deletes the virtual server. It returns nil if there is none any more.
func (s server) delete() error {
	family := uint16(unix.AF_INET)
	if s.addr.Is6() {
		family = unix.AF_INET6
	}
	var addr [16]byte
	copy(addr[:], s.addr.AsSlice())
	req := nl.NewNetlinkRequest(int(s.genericFamily), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: cmdDelService, Version: familyVersion})
	attrs := nl.NewRtAttr(attrService|unix.NLA_F_NESTED, nil)
	attrs.AddRtAttr(attrFamily, nl.Uint16Attr(family))
	attrs.AddRtAttr(attrProtocol, nl.Uint16Attr(s.protocol))
	attrs.AddRtAttr(attrAddr, addr[:])
	attrs.AddRtAttr(attrPort, binary.BigEndian.AppendUint16(nil, s.port))
	req.AddData(attrs)
	if _, err := req.Execute(unix.NETLINK_GENERIC, 0); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("delete virtual server %s, protocol %d: %w", netip.AddrPortFrom(s.addr, s.port), s.protocol, err)
	}
	return nil
}
