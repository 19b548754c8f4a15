// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package valid has the rules that the values of objects obey. The store and the conversion
// of API objects share it, so that every source has the same rules. A function returns what
// is wrong with a value, or "".
package valid

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// Limits of the timeout of session affinity, and the default of the Kubernetes API.
const (
	MinAffinity     = time.Second
	MaxAffinity     = 24 * time.Hour
	DefaultAffinity = 3 * time.Hour
)

// Name checks the name or the namespace of an object.
func Name(s string) string {
	switch {
	case s == "":
		return "is empty"
	case !localsink.ValidName(s):
		return "is too long, or has control characters, slashes or invalid UTF-8"
	}
	return ""
}

// Origin checks [localsink.ServiceName].Origin, which is empty for a Service. In the text of a
// name, a colon follows it.
func Origin(s string) string {
	switch {
	case s == "":
		return ""
	case strings.Contains(s, ":"):
		return "has a colon"
	}
	return Name(s)
}

// ExtensionKey checks the key of an extension.
func ExtensionKey(s string) string {
	switch {
	case s == "":
		return "is empty"
	case !localsink.ValidExtensionKey(s):
		return "is too long, or has control characters or invalid UTF-8"
	}
	return ""
}

// PortName checks the name of a port, which may be empty.
func PortName(s string) string {
	if s == "" {
		return ""
	}
	return Name(s)
}

// addr checks what holds for every address.
func addr(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "is not an IP address"
	case a.Zone() != "":
		return "has a zone"
	case a.Is4In6():
		return "is an IPv4-mapped IPv6 address"
	}
	return ""
}

// ServiceAddr checks a cluster IP or an address of a load balancer.
func ServiceAddr(a netip.Addr) string {
	if usual(a) != 0 {
		return ""
	}
	if problem := addr(a); problem != "" {
		return problem
	}
	if ofNode(a) {
		return "is an unspecified, loopback or link-local multicast address"
	}
	return ""
}

// ofNode reports whether packets to a have their destination on the node or its links, so
// that an endpoint or a Service must not have it. Other multicast addresses are valid, as in
// the API.
func ofNode(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast()
}

// special checks what the API does not accept as an external IP or an endpoint.
func special(a netip.Addr) string {
	if ofNode(a) || a.IsLinkLocalUnicast() {
		return "is an unspecified, loopback or link-local address"
	}
	return ""
}

// ExternalIP checks an entry of spec.externalIPs.
func ExternalIP(a netip.Addr) string {
	if usual(a) != 0 {
		return ""
	}
	if problem := addr(a); problem != "" {
		return problem
	}
	return special(a)
}

// Endpoint checks the address of an endpoint in a slice of the given family, 4 or 6.
func Endpoint(a netip.Addr, family int) string {
	if usual(a) == family {
		return ""
	}
	if problem := addr(a); problem != "" {
		return problem
	}
	if a.Is4() != (family == 4) {
		return fmt.Sprintf("is not an IPv%d address", family)
	}
	return special(a)
}

// usual returns the family of an address of a range in which all addresses are valid
// everywhere, and 0 for others. It is quick, because slices have many endpoints.
func usual(a netip.Addr) (family int) {
	switch {
	case a.Is4():
		if first := a.As4()[0]; first > 0 && first < 224 && first != 127 && first != 169 {
			return 4
		}
	case a.Is6() && a.Zone() == "":
		if first := a.As16()[0]; first&0xe0 == 0x20 || first&0xfe == 0xfc { // global unicast, unique local
			return 6
		}
	}
	return 0
}

// NodeAddr checks an address of a Node.
func NodeAddr(a netip.Addr) string {
	if usual(a) != 0 {
		return ""
	}
	if problem := addr(a); problem != "" {
		return problem
	}
	if a.IsUnspecified() || a.IsMulticast() {
		return "is an unspecified or multicast address"
	}
	return ""
}

// Network checks a network. Its host bits need not be zero.
func Network(p netip.Prefix) string {
	if !p.IsValid() || p.Addr().Is4In6() {
		return "is not a network"
	}
	return ""
}

// ServiceNetwork checks a network of a ServiceCIDR. Packets to its addresses are dropped, so
// it must not contain all addresses.
func ServiceNetwork(p netip.Prefix) string {
	if problem := Network(p); problem != "" {
		return problem
	}
	if p.Bits() == 0 {
		return "contains all addresses"
	}
	return ""
}

// Protocol checks a transport protocol.
func Protocol(p localsink.Protocol) string {
	switch p {
	case localsink.ProtocolTCP, localsink.ProtocolUDP, localsink.ProtocolSCTP:
		return ""
	}
	return "is not TCP (6), UDP (17) or SCTP (132)"
}

// Affinity checks the timeout of session affinity, which 0 disables.
func Affinity(d time.Duration) string {
	if d != 0 && (d < MinAffinity || d > MaxAffinity) {
		return fmt.Sprintf("is out of range %v-%v", MinAffinity, MaxAffinity)
	}
	return ""
}
