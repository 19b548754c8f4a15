// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

// Values of [Outcome.Server] without an answer.
const (
	Refused = "refused"
	Timeout = "timeout"
	// TooLarge is EMSGSIZE: a datagram exceeds the maximum packet size.
	TooLarge = "too-large"
	// Closed means that another program of the node has closed the socket.
	Closed = "closed"
)

// An Answer is the outcome of a request.
type Answer struct {
	// Server is "name:port" of the server, [Refused], [Timeout], [TooLarge], or the text of another
	// error.
	Server string
	// Source is the client's address as the server received it.
	Source netip.Addr
	// Took is the time from the first packet to the answer or error.
	Took time.Duration
}

// Probe sends a request on a new connection and waits for the answer, for at most the
// timeout. network is "tcp" or "udp".
func (p *Place) Probe(ctx context.Context, network string, to netip.AddrPort, timeout time.Duration) Answer {
	return p.Send(ctx, network, to, 0, timeout)
}

// Send is like Probe with a payload of size bytes, which the answer must repeat.
func (p *Place) Send(ctx context.Context, network string, to netip.AddrPort, size int, timeout time.Duration) Answer {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := p.Dial(ctx, network, to)
	if err != nil {
		return failed(err, begin)
	}
	defer conn.Close()
	return conn.ask(strings.Repeat("x", size), timeout-time.Since(begin))
}

// A Conn is a connection to a server.
type Conn struct {
	net.Conn
	lines *bufio.Reader
}

// Dial connects from a place.
func (p *Place) Dial(ctx context.Context, network string, to netip.AddrPort) (*Conn, error) {
	var dialer net.Dialer
	if p.OwnSourcePorts && network == "tcp" {
		dialer.LocalAddr = &net.TCPAddr{} // to bind reserves a port, to connect shares one
	}
	if p.sharesNamespace {
		addr := p.Addrs[0]
		if to.Addr().Is6() {
			addr = p.Addrs[1]
		}
		dialer.LocalAddr = &net.TCPAddr{IP: addr.AsSlice()}
		if network == "udp" {
			dialer.LocalAddr = &net.UDPAddr{IP: addr.AsSlice()}
		}
	}
	conn, err := p.Namespace.DialContext(ctx, dialer, network, to.String())
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: conn, lines: bufio.NewReaderSize(conn, messageLimit)}, nil
}

// Ask sends a request and waits for the answer, for at most the timeout.
func (c *Conn) Ask(timeout time.Duration) Answer { return c.ask("", timeout) }

func (c *Conn) ask(payload string, timeout time.Duration) Answer {
	begin := time.Now()
	if err := c.SetDeadline(begin.Add(timeout)); err != nil {
		return failed(err, begin)
	}
	// If the sender's own node drops or rejects a datagram, write returns EPERM. Whether it
	// was dropped or rejected is only known from the read.
	if _, err := c.Write([]byte("probe " + payload + "\n")); err != nil && !errors.Is(err, syscall.EPERM) {
		return failed(err, begin)
	}
	line, err := c.lines.ReadString('\n')
	if err != nil {
		return failed(err, begin)
	}
	server, client, _ := strings.Cut(strings.TrimSpace(line), " ")
	client, echo, _ := strings.Cut(client, " ")
	if echo != payload {
		return failed(fmt.Errorf("sent %d bytes, got %d back", len(payload), len(echo)), begin)
	}
	source, err := netip.ParseAddrPort(client)
	if err != nil {
		return failed(fmt.Errorf("invalid answer %q: %w", line, err), begin)
	}
	return Answer{Server: server, Source: source.Addr().Unmap(), Took: time.Since(begin)}
}

func failed(err error, begin time.Time) Answer {
	return Answer{Server: Outcome(err), Took: time.Since(begin)}
}

// Outcome returns what Answer.Server is for an error.
func Outcome(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.EMSGSIZE):
		return TooLarge
	case errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EDESTADDRREQ), errors.Is(err, syscall.EPIPE):
		return Closed
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	}
	return err.Error()
}
