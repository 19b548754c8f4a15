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

// How long clients wait. A refusal must come within refusalTimeout. Silence is not waited for
// longer than it takes to be sure that nobody answered at once.
const (
	answerTimeout = 3 * time.Second
	refusalTimeout = time.Second
	silenceTimeout  = 300 * time.Millisecond
)

// A probe is one connection to be tried.
type probe struct {
	variant      variant
	client client
	source netip.Addr // when not the client's address
	port   uint16     // that the client uses; zero is any
	to     netip.AddrPort
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

// An answer is what came of a probe.
type answer struct {
	server, seen netip.AddrPort // who answered, and the client that it saw
	refused      bool
	silent       bool
	err          error // anything else
	duration         time.Duration
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
	return fmt.Sprintf("answered by %s, which saw %s", a.server, a.seen.Addr())
}

// run connects, and waits for the greeting as long as given.
func (p probe) run(wait time.Duration) answer {
	began := time.Now()
	f, err := p.open(wait)
	a := answer{duration: time.Since(began)}
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

// A flow is a connection that is open.
type flow struct {
	probe
	conn         net.Conn
	server, seen netip.AddrPort
}

// dial opens a socket in the client's namespace. No two of a world have one port: no flow
// is taken for an older one, nor a connection for one to the same address that nobody
// answered, which the kernel remembers for two minutes as going nowhere.
func (p *probe) dial(wait time.Duration) (net.Conn, error) {
	if p.port != 0 {
		return p.dialFrom(wait)
	}
	for {
		p.port = p.client.ports.next()
		c, err := p.dialFrom(wait)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return c, err
		}
	}
}

func (p *probe) dialFrom(wait time.Duration) (c net.Conn, err error) {
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

// open connects and hears the greeting.
func (p probe) open(wait time.Duration) (*flow, error) {
	c, err := p.dial(wait)
	if err != nil {
		return nil, err
	}
	f := &flow{probe: p, conn: c}
	if err := f.handshake(wait); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// resendInterval is how long clients wait before they send a UDP packet again, as TCP does.
const resendInterval = time.Second

// handshake hears the greeting: over UDP whenever it is asked for.
func (f *flow) handshake(wait time.Duration) error {
	switch f.variant.protocol {
	case localsink.ProtocolTCP:
		return f.readGreeting(wait)
	case localsink.ProtocolSCTP:
		return f.sctpHandshake(wait)
	}
	for {
		_ = f.conn.SetDeadline(time.Now().Add(min(wait, resendInterval)))
		// A process of the node may be told at once that its packet went nowhere; what
		// that means comes next.
		if _, err := f.conn.Write([]byte("hello")); err != nil && !errors.Is(err, syscall.EPERM) {
			return err
		}
		err := f.readGreeting(min(wait, resendInterval))
		if wait -= resendInterval; wait <= 0 || !timedOut(err) {
			return err
		}
	}
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

func (f *flow) parseGreeting(greeting []byte) error {
	line, _, _ := strings.Cut(string(greeting), "\n")
	seen, server, _ := strings.Cut(line, " ")
	var err1, err2 error
	f.seen, err1 = netip.ParseAddrPort(seen)
	f.server, err2 = netip.ParseAddrPort(server)
	return errors.Join(err1, err2)
}

// exchange sends size bytes and gets them back, over the flow as it is.
func (f *flow) exchange(size int) error {
	_ = f.conn.SetDeadline(time.Now().Add(answerTimeout))
	sent := bytes.Repeat([]byte("kpng"), size/4)
	switch f.variant.protocol {
	case localsink.ProtocolUDP:
		return f.exchangePacket(sent)
	case localsink.ProtocolSCTP:
		return f.exchangeHeartbeat(sent)
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
		err = errors.New("other bytes came back")
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
			continue // an answer to an earlier packet that was sent again
		}
		return f.verifyReply(buf[:n], sent)
	}
}

// verifyReply checks that an answer is from the server that has always answered.
func (f *flow) verifyReply(got, sent []byte) error {
	before := f.server
	if err := f.parseGreeting(got); err != nil {
		return err
	}
	if f.server != before {
		return fmt.Errorf("the flow moved from %s to %s", before, f.server)
	}
	if !bytes.HasSuffix(got, sent) {
		return errors.New("other bytes came back")
	}
	return nil
}

func (f *flow) close() { f.conn.Close() }
