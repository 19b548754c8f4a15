// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// Flags of TCP.
const (
	tcpFIN = 1 << iota
	tcpSYN
	tcpRST
	tcpPSH
	tcpACK
)

// frame returns an Ethernet frame with a packet to the frontend of a family.
func frame(f family, protocol localsink.Protocol, flags byte) []byte {
	from, to := netip.MustParseAddr(f.client), netip.MustParseAddrPort(f.frontend)
	segment := make([]byte, 20)
	binary.BigEndian.PutUint16(segment, 40000)
	binary.BigEndian.PutUint16(segment[2:], to.Port())
	segment[12], segment[13] = 5<<4, flags
	if protocol == localsink.ProtocolUDP {
		segment = segment[:8]
		binary.BigEndian.PutUint16(segment[4:], 8)
	}
	eth := make([]byte, 14)
	if from.Is4() {
		eth[12], eth[13] = 0x08, 0x00
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, byte(protocol)
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(segment)))
		copy(ip[12:], from.AsSlice())
		copy(ip[16:], to.Addr().AsSlice())
		return slices.Concat(eth, ip, segment)
	}
	eth[12], eth[13] = 0x86, 0xdd
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7] = 0x60, byte(protocol), 64
	binary.BigEndian.PutUint16(ip[4:], uint16(len(segment)))
	copy(ip[8:], from.AsSlice())
	copy(ip[24:], to.Addr().AsSlice())
	return slices.Concat(eth, ip, segment)
}

// ipv4Options returns an IPv4 frame with four bytes of options.
func ipv4Options(frame []byte) []byte {
	out := slices.Insert(slices.Clone(frame), 34, 1, 1, 1, 0)
	out[14] = 0x46
	return out
}

// ipv6Extension returns an IPv6 frame with an extension header, such as that of options or fragments.
func ipv6Extension(frame []byte, kind byte) []byte {
	out := slices.Insert(slices.Clone(frame), 54, frame[20], 0, 0, 0, 0, 0, 0, 0)
	out[20] = kind
	return out
}

// TestOutsideOddPackets runs the program with packets that it must leave alone, whatever they contain,
// and with two that begin a connection. It always returns that the next program runs.
func TestOutsideOddPackets(t *testing.T) {
	b := newOutsideBed(t, Config{})
	for name, f := range families() {
		t.Run(name, func(t *testing.T) {
			tcp, udp := external(f, localsink.ProtocolTCP, nil, f.endpoints...), external(f, localsink.ProtocolUDP, nil, f.endpoints...)
			tcp.Ports = append(tcp.Ports, udp.Ports...)
			b.sync(tcp)
			protocol := int(localsink.ProtocolTCP)
			program := b.backend.kernel.(*linuxKernel).outside
			run := func(data []byte) int { // returns the number of entries of the protocol and family
				t.Helper()
				result := uint32(0)
				b.node.Do(func() (err error) {
					result, err = program.Run(&ebpf.RunOptions{Data: data, DataOut: make([]byte, len(data)+256)})
					return err
				})
				require.Equal(t, int32(-1), int32(result))
				n := 0
				for _, e := range b.entries(t) {
					if int(e.Forward.Protocol) == protocol && e.Forward.DstIP.String() == netip.MustParseAddrPort(f.frontend).Addr().String() {
						n++
					}
				}
				return n
			}
			syn, datagram := frame(f, localsink.ProtocolTCP, tcpSYN), frame(f, localsink.ProtocolUDP, 0)
			for _, flags := range []byte{0, tcpACK, tcpSYN | tcpACK, tcpSYN | tcpFIN, tcpSYN | tcpRST, tcpFIN | tcpACK, tcpRST, tcpPSH | tcpACK} {
				require.Zero(t, run(frame(f, localsink.ProtocolTCP, flags)), "TCP flags %x", flags)
			}
			for i, data := range [][]byte{syn, datagram} {
				protocol = []int{int(localsink.ProtocolTCP), int(localsink.ProtocolUDP)}[i]
				headers := 34
				if name == "IPv6" {
					headers = 54
				}
				for n := headers; n < len(data); n++ { // the kernel runs no program with less
					if len(data) == len(syn) && n >= len(data)-6 {
						break // the flags are complete
					}
					require.Zero(t, run(data[:n]), "the first %d bytes", n)
				}
				other := slices.Clone(data)
				other[12], other[13] = 0x08, 0x06 // ARP
				require.Zero(t, run(other))
				tagged := slices.Insert(slices.Clone(data), 12, 0x81, 0x00, 0, 7)
				require.Zero(t, run(tagged), "VLAN")
				if name == "IPv4" {
					require.Zero(t, run(ipv4Options(data)))
					for _, fragment := range []uint16{0x2000, 0x2001, 0x0001} {
						cut := slices.Clone(data)
						binary.BigEndian.PutUint16(cut[20:], fragment)
						require.Zero(t, run(cut), "fragment %x", fragment)
					}
					version := slices.Clone(data)
					version[14] = 0x65
					require.Zero(t, run(version))
					sctp := slices.Clone(data)
					sctp[23] = byte(localsink.ProtocolSCTP)
					require.Zero(t, run(sctp))
				} else {
					for _, kind := range []byte{0, 43, 44, 51, 60} {
						require.Zero(t, run(ipv6Extension(data, kind)), "extension %d", kind)
					}
				}
				require.Equal(t, 1, run(data))
				require.Equal(t, 1, run(data), "the second packet of a connection")
			}
		})
	}
}
