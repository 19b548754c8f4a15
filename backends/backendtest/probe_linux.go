// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A probe is one connection attempt.
type probe struct {
	variant variant
	client  client
	source  netip.Addr // zero is the client's address
	port    uint16     // source port; zero is any unused one
	to      netip.AddrPort
}

func (p probe) from() netip.Addr {
	if p.source.IsValid() {
		return p.source
	}
	return p.client.addr(p.variant)
}

func (p probe) String() string {
	return fmt.Sprintf("%s (%s) to %s", p.client.name, p.from(), p.to)
}

// An answer is the outcome of a probe.
type answer struct {
	server, seen netip.AddrPort // the endpoint, and the client address that it saw
	refused      bool
	silent       bool
	err          error // nil if an endpoint answered
	duration     time.Duration
}

func (a answer) String() string {
	switch {
	case a.refused:
		return fmt.Sprintf("refused after %v", a.duration.Round(time.Millisecond))
	case a.silent:
		return fmt.Sprintf("no answer within %v", a.duration.Round(time.Millisecond))
	case a.err != nil:
		return a.err.Error()
	}
	return fmt.Sprintf("answer from %s, which saw client %s", a.server, a.seen.Addr())
}

// run connects and waits for the greeting.
func (p probe) run(wait time.Duration) answer {
	start := time.Now()
	f, err := p.open(wait)
	a := answer{duration: time.Since(start)}
	if err != nil {
		a.refused = errors.Is(err, syscall.ECONNREFUSED)
		a.silent = errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.EPERM) || timedOut(err)
		a.err = err
		return a
	}
	defer f.close()
	a.server, a.seen = f.server, f.seen
	return a
}

func timedOut(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// A flow is an open connection whose server has sent its greeting.
type flow struct {
	probe
	conn         net.Conn
	server, seen netip.AddrPort
}

// dial opens a socket in the namespace of the client. Source ports are unique in a testbed,
// so that the kernel's connection tracking cannot take a connection for an older one. It
// keeps unanswered ones for two minutes. dial also returns p with its source port.
func (p probe) dial(wait time.Duration) (net.Conn, probe, error) {
	if p.port != 0 {
		c, err := p.dialFrom(wait)
		return c, p, err
	}
	for {
		p.port = p.client.ports.next()
		c, err := p.dialFrom(wait)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return c, p, err
		}
	}
}

func (p probe) dialFrom(wait time.Duration) (c net.Conn, err error) {
	if p.variant.isSCTP() {
		err = p.client.ns.Run(func() (err error) {
			c, err = p.dialSCTP()
			return err
		})
		return c, err
	}
	d := net.Dialer{Timeout: wait, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.from(), p.port))}
	network := "tcp"
	if p.variant.protocol == localsink.ProtocolUDP {
		d.LocalAddr, network = net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.from(), p.port)), "udp"
	}
	err = p.client.ns.Run(func() (err error) {
		c, err = d.Dial(network, p.to.String())
		return err
	})
	return c, err
}

// open connects and receives the greeting.
func (p probe) open(wait time.Duration) (*flow, error) {
	c, withPort, err := p.dial(wait)
	if err != nil {
		return nil, err
	}
	f := &flow{probe: withPort, conn: c}
	if err := f.handshake(wait); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// resendInterval is the retransmission interval for UDP and SCTP; TCP has the same.
const resendInterval = time.Second

// handshake receives the greeting. A UDP server sends it in each reply.
func (f *flow) handshake(wait time.Duration) error {
	switch f.variant.protocol {
	case localsink.ProtocolTCP:
		return f.readGreeting(wait)
	case localsink.ProtocolSCTP:
		return f.sctpHandshake(wait)
	case localsink.ProtocolUDP:
	}
	for {
		_ = f.conn.SetDeadline(time.Now().Add(min(wait, resendInterval)))
		// For a process on the node, a dropped packet is the error EPERM. The read that
		// follows times out. On a busy machine the write may be late already.
		if _, err := f.conn.Write([]byte("hello")); err != nil && !errors.Is(err, syscall.EPERM) && !timedOut(err) {
			return err
		}
		err := f.readGreeting(min(wait, resendInterval))
		if wait -= resendInterval; wait <= 0 || !timedOut(err) {
			return err
		}
	}
}

// reconnect replaces a closed socket by one with the same source port.
func (f *flow) reconnect(wait time.Duration) error {
	_ = f.conn.Close()
	conn, err := f.dialFrom(wait)
	if err != nil {
		return err
	}
	f.conn = conn
	return nil
}

func (f *flow) readGreeting(wait time.Duration) error {
	_ = f.conn.SetDeadline(time.Now().Add(wait))
	buf := make([]byte, 2048)
	n, err := f.conn.Read(buf)
	if err != nil {
		return err
	}
	return f.parseGreeting(buf[:n])
}

// parseGreeting sets seen and server from a greeting, see greet.
func (f *flow) parseGreeting(greeting []byte) error {
	line, _, _ := strings.Cut(string(greeting), "\n")
	seen, server, _ := strings.Cut(line, " ")
	var err1, err2 error
	f.seen, err1 = netip.ParseAddrPort(seen)
	f.server, err2 = netip.ParseAddrPort(server)
	return errors.Join(err1, err2)
}

// exchange sends size bytes over the flow and receives them back.
func (f *flow) exchange(size int) error {
	_ = f.conn.SetDeadline(time.Now().Add(f.client.limits.Answer))
	sent := bytes.Repeat([]byte("kpng"), size/4)
	switch f.variant.protocol {
	case localsink.ProtocolUDP:
		return f.exchangePacket(sent)
	case localsink.ProtocolSCTP:
		return f.exchangeHeartbeat(sent)
	case localsink.ProtocolTCP:
	}
	failed := make(chan error, 1)
	go func() {
		_, err := f.conn.Write(sent)
		failed <- err
	}()
	got := make([]byte, len(sent))
	_, err := io.ReadFull(f.conn, got)
	err = errors.Join(err, <-failed)
	if err == nil && !bytes.Equal(got, sent) {
		err = errors.New("received other bytes than were sent")
	}
	return err
}

func (f *flow) exchangePacket(sent []byte) error {
	if _, err := f.conn.Write(sent); err != nil {
		return err
	}
	buf := make([]byte, 65536)
	for {
		n, err := f.conn.Read(buf)
		if err != nil {
			return err
		}
		if !bytes.HasSuffix(buf[:n], sent) {
			continue // a reply to an earlier packet that was retransmitted
		}
		return f.verifyReply(buf[:n], sent)
	}
}

// verifyReply checks that a reply is from the server of the flow and ends with sent.
func (f *flow) verifyReply(got, sent []byte) error {
	before := f.server
	if err := f.parseGreeting(got); err != nil {
		return err
	}
	if f.server != before {
		return fmt.Errorf("the flow moved from endpoint %s to %s", before, f.server)
	}
	if !bytes.HasSuffix(got, sent) {
		return errors.New("received other bytes than were sent")
	}
	return nil
}

func (f *flow) close() { f.conn.Close() }
