// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"sigs.k8s.io/kpng/localsink"
)

// maxAttempts limits how often a dump of the flow table is repeated that the kernel
// interrupted.
const maxAttempts = 5

// ErrIncomplete is the error of [Cutter.Cut] if the kernel's flow table changed during every
// attempt to read it. All matching flows that could be seen are removed; others may remain.
var ErrIncomplete = errors.New("the flow table changed while it was read")

// A Match selects flows of one protocol by their addresses. An address with port 0 stands for
// all its ports; at least one of Frontend and Endpoint is required, and with both a flow must
// match both.
type Match struct {
	// Protocol is that of the flows: UDP or TCP. When rules change, only UDP flows need to be
	// cut: peers of TCP end their connections by themselves. SCTP is not supported, because
	// the netlink library does not read the ports of its flows.
	Protocol localsink.Protocol
	// Frontend is the destination of the client's packets: a cluster IP, a load balancer's
	// address or an address of the node, with the port of the Service or the node port. The
	// flow may be translated or not. An unspecified address is invalid: connections of other
	// programs may use the number of a node port, so a caller has one Match for each address
	// that serves node ports.
	Frontend netip.AddrPort
	// Endpoint is the address that the flow is translated to. Without Frontend, it does not
	// match flows that clients send to this address themselves.
	Endpoint netip.AddrPort
}

// validate returns an error that names the field.
func (m Match) validate() error {
	if m.Protocol != localsink.ProtocolTCP && m.Protocol != localsink.ProtocolUDP {
		return fmt.Errorf("Protocol: %s (%d) is neither UDP nor TCP", m.Protocol, m.Protocol)
	}
	unset := netip.AddrPort{}
	if m.Frontend == unset && m.Endpoint == unset {
		return errors.New("Frontend, Endpoint: one is required")
	}
	for _, field := range []struct {
		name  string
		value netip.AddrPort
	}{{"Frontend", m.Frontend}, {"Endpoint", m.Endpoint}} {
		switch a := field.value.Addr(); {
		case field.value == unset:
		case !a.IsValid():
			return fmt.Errorf("%s: port %d without an address", field.name, field.value.Port())
		case a.IsUnspecified():
			return fmt.Errorf("%s: address %s is unspecified", field.name, a)
		case a.Zone() != "":
			return fmt.Errorf("%s: address %s has a zone", field.name, a)
		}
	}
	n := m.normalized()
	if n.Frontend != unset && n.Endpoint != unset && n.Frontend.Addr().Is4() != n.Endpoint.Addr().Is4() {
		return fmt.Errorf("Frontend, Endpoint: %s and %s have different families", m.Frontend, m.Endpoint)
	}
	return nil
}

// normalized returns m with IPv4 addresses in their short form.
func (m Match) normalized() Match {
	for _, a := range []*netip.AddrPort{&m.Frontend, &m.Endpoint} {
		*a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return m
}

func (m Match) is4() bool {
	if m.Frontend.IsValid() {
		return m.Frontend.Addr().Is4()
	}
	return m.Endpoint.Addr().Is4()
}

// A Cutter removes flows from the kernel's connection tracking, so that the next packet of
// each is load-balanced again. It needs no sink; [Backend] is a sink that finds out which
// flows must be removed. Create it with NewCutter. Its methods may be called from any
// goroutine; Close last.
type Cutter struct {
	table   flowTable
	dumps   atomic.Uint64
	removed atomic.Uint64
}

// A flowTable gives access to the flows and addresses of a network namespace.
type flowTable interface {
	// remove dumps the flows of one address family once, deletes those that one of the
	// filters selects, and returns their number. The error is errInterrupted if the table
	// changed during the dump, which may then be incomplete.
	remove(v4 bool, filters ...flowFilter) (uint, error)
	// addresses returns the addresses of the node's interfaces in one family.
	addresses(v4 bool) ([]netip.Addr, error)
	close()
}

// A flowFilter selects the flows of a protocol for which match returns true.
type flowFilter struct {
	protocol localsink.Protocol
	match    func(flow) bool
}

var errInterrupted = errors.New("dump of the flow table was interrupted")

// NewCutter returns a Cutter for the network namespace of the calling thread. The error is
// [errors.ErrUnsupported] on systems other than Linux, and that of the system without the
// privilege to open netlink sockets. The caller must call Close.
func NewCutter() (*Cutter, error) {
	table, err := openFlowTable()
	if err != nil {
		return nil, fmt.Errorf("conntrack: %w", err)
	}
	return &Cutter{table: table}, nil
}

// Close closes the netlink sockets and always returns nil. Flows stay as they are.
func (c *Cutter) Close() error {
	c.table.close()
	return nil
}

// Cut removes the flows that one of the matches selects, in all zones of connection tracking,
// and returns their number. A flow that ends at the same time may count as removed. Call it
// after the rules have changed: a client that sends in between creates another flow.
//
// Cut reads the flow table once for each address family among the matches, however many
// there are, and not at all without a match. ctx is checked before each reading.
//
// After an error, the number is that of flows removed until then. The error is that of an
// invalid Match, which removes nothing; that of ctx; [ErrIncomplete]; or that of the system,
// such as a missing privilege (CAP_NET_ADMIN).
func (c *Cutter) Cut(ctx context.Context, matches ...Match) (removed uint, err error) {
	families := map[bool]matchIndex{} // by whether they are IPv4
	for i, m := range matches {
		if err := m.validate(); err != nil {
			return 0, fmt.Errorf("conntrack: matches[%d]: %w", i, err)
		}
		m = m.normalized()
		if families[m.is4()] == nil {
			families[m.is4()] = matchIndex{}
		}
		families[m.is4()].add(m)
	}
	var errs []error
	for _, v4 := range []bool{true, false} {
		if index := families[v4]; index != nil {
			n, err := c.remove(ctx, v4, index.filters()...)
			removed += n
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("conntrack: remove flows: %w", err)
	}
	return removed, nil
}

// remove deletes the flows of one family that one of the filters selects, and returns how
// many it deleted.
func (c *Cutter) remove(ctx context.Context, v4 bool, filters ...flowFilter) (removed uint, err error) {
	for range maxAttempts {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		n, err := c.table.remove(v4, filters...)
		removed += n
		c.dumps.Add(1)
		c.removed.Add(uint64(n))
		if !errors.Is(err, errInterrupted) {
			return removed, err
		}
	}
	return removed, fmt.Errorf("%w, %d times", ErrIncomplete, maxAttempts)
}

// A matchIndex holds the matches of one address family by protocol.
type matchIndex map[localsink.Protocol]map[addressPair]struct{}

// An addressPair is what a Match selects: each address is complete, has port 0 for all ports,
// or is zero for all addresses.
type addressPair struct{ frontend, endpoint netip.AddrPort }

func (index matchIndex) add(m Match) {
	if index[m.Protocol] == nil {
		index[m.Protocol] = map[addressPair]struct{}{}
	}
	index[m.Protocol][addressPair{m.Frontend, m.Endpoint}] = struct{}{}
}

// filters returns a filter for each protocol. Its cost for a flow does not depend on the
// number of matches.
func (index matchIndex) filters() (all []flowFilter) {
	for protocol, pairs := range index {
		all = append(all, flowFilter{protocol, func(f flow) bool {
			for _, frontend := range generalized(f.destination) {
				for _, endpoint := range generalized(f.replySource) {
					if _, found := pairs[addressPair{frontend, endpoint}]; found && (frontend.IsValid() || f.translated()) {
						return true
					}
				}
			}
			return false
		}})
	}
	return all
}

// generalized returns what of an addressPair matches an address.
func generalized(a netip.AddrPort) [3]netip.AddrPort {
	return [3]netip.AddrPort{a, netip.AddrPortFrom(a.Addr(), 0)}
}
