// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// echoTypes returns the ICMP message types of echo requests and replies.
func echoTypes(v variant) (request, reply byte) {
	if v.v6 {
		return 128, 129
	}
	return 8, 0
}

// listenICMP opens a raw socket that receives the ICMP messages to the address of a client.
func listenICMP(cl client, v variant) (c net.PacketConn, err error) {
	network := "ip4:icmp"
	if v.v6 {
		network = "ip6:ipv6-icmp"
	}
	err = cl.ns.Run(func() (err error) {
		c, err = new(net.ListenConfig).ListenPacket(context.Background(), network, cl.addr(v).String())
		return err
	})
	return c, err
}

// An echo identifies one echo request: id is the client, sequence the destination.
type echo struct{ id, sequence uint16 }

// request returns the ICMP message. The kernel computes the checksum for ICMPv6 only.
func (e echo) request(v variant) []byte {
	kind, _ := echoTypes(v)
	b := []byte{kind, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, e.id)
	b = binary.BigEndian.AppendUint16(b, e.sequence)
	if !v.v6 {
		sum := uint32(kind)<<8 + uint32(e.id) + uint32(e.sequence)
		for sum>>16 != 0 {
			sum = sum&0xffff + sum>>16
		}
		binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	}
	return b
}

// readEchoes calls received for each message of the type, until c is closed.
func readEchoes(c net.PacketConn, kind byte, received func(e echo)) {
	b := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		if n >= 8 && b[0] == kind {
			received(echo{binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])})
		}
	}
}

// A pinger sends echo requests and records which requests and replies arrive.
type pinger struct {
	checker *checker
	variant variant

	mu       sync.Mutex    // guards arrived and replied
	arrived  map[echo]bool // requests that arrived at an endpoint
	replied  map[echo]bool // replies that arrived at the client
	updated  chan struct{} // receives after a change of arrived or replied
	sockets  []net.PacketConn
	running  sync.WaitGroup
	sequence uint16
}

// startPinger starts to record echo requests at the endpoints.
func startPinger(c *checker, v variant, endpoints ...client) (*pinger, error) {
	p := &pinger{checker: c, variant: v, arrived: map[echo]bool{}, replied: map[echo]bool{}, updated: make(chan struct{}, 1)}
	request, _ := echoTypes(v)
	for _, e := range endpoints {
		if _, err := p.listen(e, request, p.arrived); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

// listen records in into the echo messages of one type that arrive at a client.
func (p *pinger) listen(cl client, kind byte, into map[echo]bool) (net.PacketConn, error) {
	s, err := listenICMP(cl, p.variant)
	if err != nil {
		return nil, err
	}
	p.sockets = append(p.sockets, s)
	p.running.Go(func() {
		readEchoes(s, kind, func(e echo) {
			p.mu.Lock()
			into[e] = true
			p.mu.Unlock()
			select {
			case p.updated <- struct{}{}:
			default:
			}
		})
	})
	return s, nil
}

func (p *pinger) close() {
	for _, s := range p.sockets {
		_ = s.Close()
	}
	p.running.Wait()
}

// has reports whether e was received.
func (p *pinger) has(received map[echo]bool, e echo) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return received[e]
}

// ping sends echo requests to Service addresses, and then to the node and the endpoints.
// When the last ones have arrived, requests to Services would have arrived as well.
func (p *pinger) ping(cl client, id uint16, services, endpoints []netip.Addr, node netip.Addr) error {
	_, reply := echoTypes(p.variant)
	s, err := p.listen(cl, reply, p.replied)
	if err != nil {
		return err
	}
	send := func(to netip.Addr) echo {
		p.sequence++
		e := echo{id, p.sequence}
		// For a process on the node, a rejected request is an error of WriteTo.
		_, _ = s.WriteTo(e.request(p.variant), &net.IPAddr{IP: to.AsSlice()})
		return e
	}
	sent := map[echo]netip.Addr{}
	for _, to := range services {
		sent[send(to)] = to
	}
	own, direct := send(node), []echo{}
	for _, e := range endpoints {
		direct = append(direct, send(e))
	}
	missing := func(e echo) bool { return !p.has(p.arrived, e) }
	deadline := time.NewTimer(p.checker.testbed.limits.Answer)
	defer deadline.Stop()
	for !p.has(p.replied, own) || slices.ContainsFunc(direct, missing) {
		select {
		case <-p.updated:
		case <-deadline.C:
			return fmt.Errorf("echo requests to the node %s and to endpoints %v: some did not arrive", node, endpoints)
		}
	}
	for e, to := range sent {
		if p.has(p.arrived, e) {
			p.checker.failf(p.variant, "echo request of %s to %s: expected no endpoint, observed that it arrived at one", cl.name, to)
		}
	}
	return nil
}
