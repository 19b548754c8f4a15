// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// Many kernels forward and translate SCTP without having SCTP sockets. This file therefore
// builds the packets of an association (INIT, INIT ACK, COOKIE ECHO, COOKIE ACK) and sends
// them through raw sockets. HEARTBEATs carry data in both directions. A server is stateless:
// the cookie and each heartbeat hold the tag of the client.

// untestedSCTP returns why SCTP cannot be tested in a namespace, or "".
func untestedSCTP(ns *netnstest.Namespace) (reason string) {
	_ = ns.Run(func() error {
		if _, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_closed"); err != nil {
			reason = "the kernel does not track SCTP connections"
		} else if _, err := os.Stat("/proc/net/sctp"); err == nil {
			reason = "the SCTP stack of the kernel would answer as well (unload the kernel module sctp)"
		}
		return nil
	})
	return reason
}

// Chunk types and parameter types of RFC 9260, and the tag of all servers.
const (
	sctpInit, sctpInitAck           = 1, 2
	sctpHeartbeat, sctpHeartbeatAck = 4, 5
	sctpCookieEcho, sctpCookieAck   = 10, 11

	paramHeartbeat, paramCookie = 1, 7
	serverTag                   = 0x6b706e67
)

// An sctpPacket is an SCTP packet with one chunk. The value of INIT and INIT ACK begins with
// the tag of the sender.
type sctpPacket struct {
	from, to uint16
	tag      uint32
	chunk    byte
	value    []byte
}

func (p sctpPacket) encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, p.from)
	b = binary.BigEndian.AppendUint16(b, p.to)
	b = binary.BigEndian.AppendUint32(b, p.tag)
	b = append(b, 0, 0, 0, 0, p.chunk, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(p.value)))
	b = append(b, p.value...)
	b = append(b, make([]byte, -len(b)&3)...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func decodeSCTP(b []byte) (p sctpPacket, ok bool) {
	if len(b) < 16 {
		return p, false
	}
	length := int(binary.BigEndian.Uint16(b[14:]))
	if length < 4 || 12+length > len(b) {
		return p, false
	}
	return sctpPacket{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), b[12], b[16 : 12+length]}, true
}

// initValue returns the fixed part of INIT and INIT ACK chunks.
func initValue(tag uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, tag)
	return append(b, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1) // window, streams, initial sequence number
}

func param(kind uint16, data ...[]byte) []byte {
	all := slices.Concat(data...)
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(all)))
	return append(b, all...)
}

// paramData returns the data of the first parameter in b, or nil.
func paramData(b []byte) []byte {
	if len(b) < 4 || int(binary.BigEndian.Uint16(b[2:])) > len(b) || binary.BigEndian.Uint16(b[2:]) < 4 {
		return nil
	}
	return b[4:binary.BigEndian.Uint16(b[2:])]
}

// answerSCTP serves SCTP until c is closed.
func answerSCTP(c *net.IPConn, self netip.AddrPort) {
	buf := make([]byte, 65536)
	for {
		n, from, err := c.ReadFromIP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p, ok := decodeSCTP(buf[:n])
		if !ok || p.to != self.Port() {
			continue
		}
		seen, _ := netip.AddrFromSlice(from.IP)
		greeting := greet(netip.AddrPortFrom(seen, p.from), self)
		if answer, ok := p.answer(greeting); ok {
			_, _ = c.WriteToIP(answer.encode(), from)
		}
	}
}

// answer returns the reply of a server to p, if there is one.
func (p sctpPacket) answer(greeting []byte) (sctpPacket, bool) {
	a := sctpPacket{from: p.to, to: p.from}
	var data []byte // begins with the tag of the client
	switch {
	case p.chunk == sctpInit && len(p.value) >= 4:
		data = p.value[:4]
		a.chunk, a.value = sctpInitAck, append(initValue(serverTag), param(paramCookie, data, greeting)...)
	case p.chunk == sctpCookieEcho && len(p.value) >= 4:
		data, a.chunk = p.value, sctpCookieAck
	case p.chunk == sctpHeartbeat && len(paramData(p.value)) >= 4:
		data = paramData(p.value)
		a.chunk, a.value = sctpHeartbeatAck, param(paramHeartbeat, greeting, data)
	default:
		return a, false
	}
	a.tag = binary.BigEndian.Uint32(data)
	return a, true
}

// sctpHandshake sets up an association as its client.
func (f *flow) sctpHandshake(wait time.Duration) error {
	ack, err := f.sctpRequest(sctpPacket{chunk: sctpInit, value: initValue(f.sctpTag())}, sctpInitAck, wait)
	if err != nil {
		return err
	}
	if len(ack.value) < 20 {
		return fmt.Errorf("SCTP INIT ACK has %d bytes, want 20 or more", len(ack.value))
	}
	cookie := paramData(ack.value[16:])
	if len(cookie) < 4 {
		return errors.New("SCTP INIT ACK has no cookie")
	}
	if err := f.parseGreeting(cookie[4:]); err != nil {
		return err
	}
	_, err = f.sctpRequest(sctpPacket{tag: serverTag, chunk: sctpCookieEcho, value: cookie}, sctpCookieAck, wait)
	return err
}

func (f *flow) sctpTag() uint32 { return uint32(f.port)<<16 | 1 }

// sctpRequest sends a packet, retransmits it, and returns the reply of type want.
func (f *flow) sctpRequest(p sctpPacket, want byte, wait time.Duration) (sctpPacket, error) {
	p.from, p.to = f.port, f.to.Port()
	for {
		_ = f.conn.SetDeadline(time.Now().Add(min(wait, resendInterval)))
		if _, err := f.conn.Write(p.encode()); err != nil && !errors.Is(err, syscall.EPERM) && !timedOut(err) && !f.isForeignError(err) {
			return p, err
		}
		answer, err := f.awaitChunk(want)
		if wait -= resendInterval; wait <= 0 || !timedOut(err) {
			return answer, err
		}
	}
}

func (f *flow) awaitChunk(want byte) (sctpPacket, error) {
	raw, ok := f.conn.(*net.IPConn)
	if !ok {
		return sctpPacket{}, fmt.Errorf("SCTP flow over %T", f.conn)
	}
	buf := make([]byte, 65536)
	for {
		n, _, err := raw.ReadFromIP(buf)
		if err != nil {
			if f.isForeignError(err) {
				continue
			}
			return sctpPacket{}, err
		}
		if p, ok := decodeSCTP(buf[:n]); ok && p.from == f.to.Port() && p.to == f.port && p.chunk == want {
			return p, nil
		}
	}
}

// isForeignError reports whether an error is about a packet of another socket. A raw socket
// is bound to addresses only and receives the ICMP errors of all ports.
func (f *flow) isForeignError(err error) bool {
	about := []syscall.Errno{syscall.ECONNREFUSED, syscall.ENOPROTOOPT, syscall.EPROTO, syscall.EHOSTUNREACH, syscall.ENETUNREACH}
	if !slices.ContainsFunc(about, func(e syscall.Errno) bool { return errors.Is(err, e) }) {
		return false
	}
	conn, ok := f.conn.(*net.IPConn)
	if !ok {
		return false
	}
	raw, rawErr := conn.SyscallConn()
	if rawErr != nil {
		return false
	}
	own := false
	_ = raw.Control(func(fd uintptr) {
		sent, oob := make([]byte, 2048), make([]byte, 512)
		for {
			n, _, _, _, err := unix.Recvmsg(int(fd), sent, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			own = own || n >= 4 && binary.BigEndian.Uint16(sent) == f.port && binary.BigEndian.Uint16(sent[2:]) == f.to.Port()
		}
	})
	return !own
}

// exchangeHeartbeat sends bytes in a HEARTBEAT and receives them in its acknowledgement.
func (f *flow) exchangeHeartbeat(sent []byte) error {
	tag := binary.BigEndian.AppendUint32(nil, f.sctpTag())
	ack, err := f.sctpRequest(sctpPacket{tag: serverTag, chunk: sctpHeartbeat, value: param(paramHeartbeat, tag, sent)}, sctpHeartbeatAck, f.client.limits.Answer)
	if err != nil {
		return err
	}
	return f.verifyReply(paramData(ack.value), sent)
}

// dialSCTP opens a raw socket that receives ICMP errors.
func (p probe) dialSCTP() (net.Conn, error) {
	network, level, option := "ip4:132", unix.IPPROTO_IP, unix.IP_RECVERR
	if p.variant.v6 {
		network, level, option = "ip6:132", unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	c, err := net.DialIP(network, &net.IPAddr{IP: p.from().AsSlice()}, &net.IPAddr{IP: p.to.Addr().AsSlice()})
	if err != nil {
		return nil, err
	}
	raw, err := c.SyscallConn()
	if err == nil {
		var set error
		err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, 1) })
		err = errors.Join(err, set)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("enable ICMP errors on SCTP socket: %w", err)
	}
	return c, nil
}

// listenSCTP opens the raw socket of a server.
func listenSCTP(addr netip.AddrPort) (*net.IPConn, error) {
	network := "ip4:132"
	if addr.Addr().Is6() {
		network = "ip6:132"
	}
	return net.ListenIP(network, &net.IPAddr{IP: addr.Addr().AsSlice()})
}

// isSCTP reports whether the protocol of v is SCTP.
func (v variant) isSCTP() bool { return v.protocol == localsink.ProtocolSCTP }
