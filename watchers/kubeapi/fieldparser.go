// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"fmt"
	"net/netip"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// Consequences of an invalid value; they end the message of its Problem.
const (
	ignored     = "ignored"
	portIgnored = "the port is ignored"
)

// InvalidObjectError is returned for an API object that cannot be converted at all.
type InvalidObjectError struct{ Problem watchers.Problem }

// Error returns the problem as text.
func (e *InvalidObjectError) Error() string { return e.Problem.String() }

// A fieldParser parses the fields of one API object and collects a Problem for each
// invalid value. Its methods take the path of a field as a format and its indices: the
// path is only formatted when there is a Problem, so valid objects cost nothing.
type fieldParser struct {
	object   string // Problem.Object: "Service default/web"
	problems []watchers.Problem
}

// invalid adds the Problem that value fails a check, and what happens instead.
func (p *fieldParser) invalid(value any, failure, consequence, field string, index ...any) {
	if s, ok := value.(string); ok {
		value = fmt.Sprintf("%q", s)
	}
	p.add(fmt.Sprintf("%v %s; %s", value, failure, consequence), field, index...)
}

// add adds a Problem with the given message.
func (p *fieldParser) add(message, field string, index ...any) {
	p.problems = append(p.problems, watchers.Problem{Object: p.object, Field: fmt.Sprintf(field, index...), Message: message})
}

// addr parses and checks an address. A blank one gives the zero Addr without a Problem.
func (p *fieldParser) addr(s string, check func(netip.Addr) string, field string, index ...any) netip.Addr {
	if strings.TrimSpace(s) == "" {
		return netip.Addr{}
	}
	a, _ := ParseAddr(s)
	if failure := check(a); failure != "" {
		p.invalid(s, failure, ignored, field, index...)
		return netip.Addr{}
	}
	return a
}

// addrs parses a list of addresses and drops those that are blank or invalid.
func (p *fieldParser) addrs(list []string, check func(netip.Addr) string, field string) []netip.Addr {
	var out []netip.Addr
	for i, s := range list {
		if a := p.addr(s, check, field, i); a.IsValid() {
			out = appendWithRoom(out, a, len(list)-i)
		}
	}
	return out
}

// prefixes parses and checks a list of networks and drops those that are blank or invalid.
func (p *fieldParser) prefixes(list []string, check func(netip.Prefix) string, field string) []netip.Prefix {
	var out []netip.Prefix
	for i, s := range list {
		if strings.TrimSpace(s) == "" {
			continue
		}
		prefix, ok := ParsePrefix(s)
		if !ok {
			p.invalid(s, "is not a network in CIDR notation", ignored, field, i)
			continue
		}
		if failure := check(prefix); failure != "" {
			p.invalid(s, failure, ignored, field, i)
			continue
		}
		out = appendWithRoom(out, prefix, len(list)-i)
	}
	return out
}

// appendWithRoom appends v. The first append allocates capacity for room elements, so
// that a list is allocated once, and an empty one stays nil.
func appendWithRoom[T any](list []T, v T, room int) []T {
	if list == nil {
		list = make([]T, 0, room)
	}
	return append(list, v)
}

// port parses a required port number.
func (p *fieldParser) port(n int32, field string, index int) (uint16, bool) {
	if n < 1 || n > 65535 {
		p.invalid(n, "is out of range 1-65535", portIgnored, field, index)
		return 0, false
	}
	return uint16(n), true
}

// optionalPort parses a port number that is 0 when unset.
func (p *fieldParser) optionalPort(n int32, field string, index ...any) uint16 {
	if n < 0 || n > 65535 {
		p.invalid(n, "is out of range 1-65535", ignored, field, index...)
		return 0
	}
	return uint16(n)
}

// protocol parses a transport protocol; the default is TCP.
func (p *fieldParser) protocol(protocol corev1.Protocol, field string, index int) (watchers.Protocol, bool) {
	switch protocol {
	case "", corev1.ProtocolTCP:
		return localsink.ProtocolTCP, true
	case corev1.ProtocolUDP:
		return localsink.ProtocolUDP, true
	case corev1.ProtocolSCTP:
		return localsink.ProtocolSCTP, true
	}
	p.invalid(string(protocol), "is not TCP, UDP or SCTP", portIgnored, field, index)
	return 0, false
}

// intern returns s in memory shared with equal strings: thousands of objects repeat
// the same few names of namespaces, nodes, ports and zones. Names of Services do not repeat enough.
func intern(s string) string {
	if s == "" {
		return ""
	}
	return unique.Make(s).Value()
}

func deref[T any](p *T, ifNil T) T {
	if p == nil {
		return ifNil
	}
	return *p
}
