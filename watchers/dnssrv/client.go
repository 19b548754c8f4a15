// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// maxUDP is the largest answer over UDP that servers may send. Packets of this size are
	// not fragmented on any usual link.
	maxUDP = 1232
	// rounds is how often all servers are asked before a query fails.
	rounds = 2
	// maxQueries bounds the queries in flight of one watcher.
	maxQueries = 32
)

// A client sends queries to DNS servers.
type client struct {
	servers   []netip.AddrPort
	transport Transport
	timeout   time.Duration
	dialer    net.Dialer
	slots     chan struct{} // has an element for each query in flight
}

func newClient(cfg *Config, servers []netip.AddrPort) *client {
	return &client{servers: servers, transport: cfg.Transport, timeout: cfg.Timeout, slots: make(chan struct{}, maxQueries)}
}

// query returns the response of the first server that answers: with NXDOMAIN, or with records
// or the absence of records of the type. Its error has the same text for the same failure.
func (c *client) query(ctx context.Context, name string, t dnsmessage.Type) (*response, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var failures []string
	for range rounds {
		failures = failures[:0]
		for _, server := range c.servers {
			r, err := c.ask(ctx, server, name, t)
			if err == nil {
				return r, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			failures = append(failures, fmt.Sprintf("server %v: %v", server, c.stable(err)))
		}
	}
	return nil, errors.New(strings.Join(failures, "; "))
}

// stable returns an error without ports and times, which differ between equal failures.
func (c *client) stable(err error) error {
	var network *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", c.timeout)
	case errors.As(err, &network):
		return network.Err
	}
	return err
}

// ask sends a query to one server.
func (c *client) ask(ctx context.Context, server netip.AddrPort, name string, t dnsmessage.Type) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	q := question{id: uint16(rand.Uint32()), extended: true, transport: c.transport}
	var err error
	if q.name, err = dnsmessage.NewName(name); err != nil {
		return nil, err
	}
	q.recordType = t
	for {
		r, err := c.exchange(ctx, server, q)
		switch {
		case err != nil:
			return nil, err
		case r.truncated && q.transport == TransportUDP:
			q.transport = TransportTCP
		case r.truncated:
			return nil, errors.New("the answer over TCP is truncated")
		case q.extended && (r.rcode == dnsmessage.RCodeFormatError || r.rcode == dnsmessage.RCodeNotImplemented):
			q.extended = false // a server older than EDNS (RFC 6891, section 7)
		default:
			return r, r.failure()
		}
	}
}

// A question is a query to a server.
type question struct {
	id         uint16
	name       dnsmessage.Name
	recordType dnsmessage.Type
	extended   bool // with EDNS
	transport  Transport
}

// pack returns the message of a question, behind two bytes for its length.
func (q question) pack() ([]byte, error) {
	b := dnsmessage.NewBuilder(make([]byte, 2, 512), dnsmessage.Header{ID: q.id, RecursionDesired: true})
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(dnsmessage.Question{Name: q.name, Type: q.recordType, Class: dnsmessage.ClassINET}); err != nil {
		return nil, err
	}
	if q.extended {
		if err := b.StartAdditionals(); err != nil {
			return nil, err
		}
		var header dnsmessage.ResourceHeader
		if err := header.SetEDNS0(maxUDP, dnsmessage.RCodeSuccess, false); err != nil {
			return nil, err
		}
		if err := b.OPTResource(header, dnsmessage.OPTResource{}); err != nil {
			return nil, err
		}
	}
	msg, err := b.Finish()
	if err == nil {
		binary.BigEndian.PutUint16(msg, uint16(len(msg)-2))
	}
	return msg, err
}

// exchange sends a question and returns the response to it.
func (c *client) exchange(ctx context.Context, server netip.AddrPort, q question) (*response, error) {
	msg, err := q.pack()
	if err != nil {
		return nil, err
	}
	network, receive := "udp", receiveUDP
	if q.transport == TransportTCP {
		network, receive = "tcp", receiveTCP
	} else {
		msg = msg[2:]
	}
	conn, err := c.dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // a deadline ends reads and writes at once
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	return receive(conn, q)
}

// receiveUDP reads datagrams until one is the response to the question. The socket is connected, so
// that others come from the server or from a forger.
func receiveUDP(conn net.Conn, q question) (*response, error) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		if r, err := parse(buffer[:n], q); !errors.Is(err, errOtherQuestion) {
			return r, err
		}
	}
}

// receiveTCP reads the response to the only question on a connection.
func receiveTCP(conn net.Conn, q question) (*response, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, msg); err != nil {
		return nil, err
	}
	return parse(msg, q)
}
