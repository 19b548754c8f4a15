// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A kernel is the part of the system that the backend programs. All of it belongs to one network
// namespace. Its errors name the object.
type kernel interface {
	serverKernel
	addressKernel
	ruleKernel
}

// A serverKernel has virtual servers.
type serverKernel interface {
	// Servers lists all virtual servers, also those of other programs, without destinations. The
	// timeout of persistence is unknownAffinity if there is persistence.
	Servers() (map[serverKey]serverOptions, error)
	AddServer(key serverKey, options serverOptions) error
	UpdateServer(key serverKey, options serverOptions) error
	DeleteServer(key serverKey) error

	// Destinations lists the destinations of a virtual server.
	Destinations(key serverKey) ([]destinationState, error)
	AddDestination(key serverKey, d destination) error
	UpdateDestination(key serverKey, d destination) error
	DeleteDestination(key serverKey, addr netip.AddrPort) error
}

// errAddressRefused is a part of the error of addresses that the kernel does not accept.
var errAddressRefused = errors.New("the kernel refuses the address")

// An addressKernel has addresses of interfaces.
type addressKernel interface {
	// CreateDevice creates the dummy interface if there is none.
	CreateDevice() error
	// Addresses lists the addresses of the dummy interface, none if it does not exist, and those
	// of the other interfaces, without link-local IPv6 addresses. It changes nothing: checks of
	// drift call it.
	Addresses() (device, node []netip.Addr, err error)
	// AddAddress fails with errAddressRefused if the reason is the address.
	AddAddress(addr netip.Addr) error
	DeleteAddress(addr netip.Addr) error
	// AddressesChanged reports whether addresses of the namespace may have changed since the
	// last call.
	AddressesChanged() bool
}

// A ruleKernel has IP sets and the rules that use them.
type ruleKernel interface {
	// ReplaceSets creates all sets with the given elements and no others.
	ReplaceSets(elements map[element]mark) error
	// PutElements adds elements of one set, or changes their marks.
	PutElements(set setName, elements []element, marks map[element]mark) error
	DeleteElements(set setName, elements []element) error
	// SetSizes returns the number of elements of each set of both families, and of the rules that
	// use it.
	SetSizes() (map[setName]setSize, error)
	// ReplaceRules replaces the rules by those for a node.
	ReplaceRules(ctx context.Context, node *localsink.Node) error
}

// A serverKey identifies a virtual server: by address, port and protocol, or by a mark of packets.
type serverKey struct {
	addr     netip.AddrPort
	protocol localsink.Protocol
	mark     uint32 // zero if the server has an address
	isIPv6   bool   // of a server with a mark
}

// String describes a virtual server as ipvsadm does.
func (k serverKey) String() string {
	switch {
	case k.mark != 0 && k.isIPv6:
		return fmt.Sprintf("FWM %d IPv6", k.mark)
	case k.mark != 0:
		return fmt.Sprintf("FWM %d", k.mark)
	}
	return fmt.Sprintf("%v %v", k.protocol, k.addr)
}

// serverOptions are the properties of a virtual server.
type serverOptions struct {
	scheduler string
	flags     schedulerFlags
	affinity  uint32 // the timeout of persistence in seconds; zero if there is none
}

// unknownAffinity is the timeout of persistence of a virtual server that Servers returns.
const unknownAffinity = ^uint32(0)

// schedulerFlags are options of the schedulers sh and mh.
type schedulerFlags uint32

const (
	flagFallback schedulerFlags = 0x0008 // to another destination if the selected one is not available
	flagPort     schedulerFlags = 0x0010 // the source port counts
)

// A destination is an endpoint of a virtual server. Without weight it gets no new connections.
type destination struct {
	addr   netip.AddrPort
	weight uint32
}

// A destinationState is a destination with its present number of connections.
type destinationState struct {
	destination
	connections int
}

// A server is the desired state of a virtual server.
type server struct {
	serverOptions
	protocol     localsink.Protocol // of the clients' packets, for a server with a mark too
	destinations []destination      // ordered by address and port, with weights
	draining     []netip.AddrPort   // ordered; see localsink.Port
}

func (s *server) equal(o *server) bool {
	return s == o || s != nil && o != nil && s.serverOptions == o.serverOptions && s.protocol == o.protocol &&
		slices.Equal(s.destinations, o.destinations) && slices.Equal(s.draining, o.draining)
}

// A setName identifies one of the IP sets.
type setName uint8

// The IP sets, in the order in which elements are added. They are removed in reverse order.
const (
	setSources     setName = iota // address, port and permitted network
	setRestricted                 // address and port with source ranges
	setPods                       // address and port: mark of clients that are local pods
	setNode                       // address and port: mark of clients on this node
	setPodsAndNode                // address and port: mark of clients that are both
	setServices                   // address and port of all frontends: mark of other clients
	setAddresses                  // addresses of the dummy interface
	setCount
)

// String returns the name of the IPv4 set.
func (s setName) String() string {
	return [setCount]string{"KPNG-SOURCES", "KPNG-RESTRICTED", "KPNG-FROM-PODS", "KPNG-FROM-NODE", "KPNG-FROM-POD-ON-NODE", "KPNG-SERVICES", "KPNG-ADDRESSES"}[s]
}

// setNames returns all sets in order.
func setNames() []setName {
	return []setName{setSources, setRestricted, setPods, setNode, setPodsAndNode, setServices, setAddresses}
}

// hasMarks reports whether the elements of the set have marks.
func (s setName) hasMarks() bool { return s >= setPods && s <= setServices }

// An element is an element of an IP set of its address family.
type element struct {
	set      setName
	addr     netip.Addr
	port     uint16             // zero in setAddresses
	protocol localsink.Protocol // zero in setAddresses
	network  netip.Prefix       // in setSources only
}

// A mark is what happens to the mark of a packet: the bits of mask are replaced by value.
type mark struct{ value, mask uint32 }

// A setSize is the size of a set.
type setSize struct {
	elements   int
	references int // by rules
}
