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

// What is done about a value that cannot be honoured.
const (
	ignored = "ignored"
	skipped = "the port is ignored"
)

// InvalidObjectError is the error that no fact can be made of an object.
type InvalidObjectError struct{ Problem watchers.Problem }

// Error returns the problem as text.
func (e *InvalidObjectError) Error() string { return e.Problem.String() }

// A reader reads the fields of one object and collects what is wrong with them.
type reader struct {
	object   string // as Problem.Object has it
	problems []watchers.Problem
}

// problem is the one place that words a Problem. A field is a format with the
// indices of the path: good objects must not pay for the paths of their fields.
func (r *reader) problem(value any, wrong, action, field string, index ...any) {
	if s, ok := value.(string); ok {
		value = fmt.Sprintf("%q", s)
	}
	r.problems = append(r.problems, watchers.Problem{
		Object:  r.object,
		Field:   fmt.Sprintf(field, index...),
		Message: fmt.Sprintf("%v %s; %s", value, wrong, action),
	})
}

// missing says that something is not there, for which there is no value to show.
func (r *reader) missing(message, field string, index ...any) {
	r.problems = append(r.problems, watchers.Problem{Object: r.object, Field: fmt.Sprintf(field, index...), Message: message})
}

// addr reads an address; a blank one is the zero Addr and no problem.
func (r *reader) addr(s, field string, index ...any) netip.Addr {
	if strings.TrimSpace(s) == "" {
		return netip.Addr{}
	}
	a, ok := ParseAddr(s)
	if !ok {
		r.problem(s, "is not an IP address", ignored, field, index...)
	}
	return a
}

// addrs reads a list of addresses, without those that are blank or wrong.
func (r *reader) addrs(list []string, field string) []netip.Addr {
	var out []netip.Addr
	for i, s := range list {
		if a := r.addr(s, field, i); a.IsValid() {
			out = appendOnce(out, a, len(list)-i)
		}
	}
	return out
}

// prefixes reads a list of networks, without those that are blank or wrong.
func (r *reader) prefixes(list []string, field string) []netip.Prefix {
	var out []netip.Prefix
	for i, s := range list {
		if strings.TrimSpace(s) == "" {
			continue
		}
		p, ok := ParsePrefix(s)
		if !ok {
			r.problem(s, "is not a network in CIDR notation", ignored, field, i)
			continue
		}
		out = appendOnce(out, p, len(list)-i)
	}
	return out
}

// appendOnce appends, with room for all that may still come.
func appendOnce[T any](list []T, v T, room int) []T {
	if list == nil {
		list = make([]T, 0, room)
	}
	return append(list, v)
}

// port reads a port number that must be there.
func (r *reader) port(n int32, field string, index int) (uint16, bool) {
	if n < 1 || n > 65535 {
		r.problem(n, "is not a port number from 1 to 65535", skipped, field, index)
		return 0, false
	}
	return uint16(n), true
}

// optionalPort reads a port number where 0 stands for none.
func (r *reader) optionalPort(n int32, field string, index ...any) uint16 {
	if n < 0 || n > 65535 {
		r.problem(n, "is not a port number from 1 to 65535", ignored, field, index...)
		return 0
	}
	return uint16(n)
}

// protocol reads a protocol; an empty one is TCP.
func (r *reader) protocol(p corev1.Protocol, field string, index int) (watchers.Protocol, bool) {
	switch p {
	case "", corev1.ProtocolTCP:
		return localsink.ProtocolTCP, true
	case corev1.ProtocolUDP:
		return localsink.ProtocolUDP, true
	case corev1.ProtocolSCTP:
		return localsink.ProtocolSCTP, true
	}
	r.problem(string(p), "is not a protocol that Services can have", skipped, field, index)
	return 0, false
}

// intern returns s, sharing memory with equal strings: the same few names of
// namespaces, Services, nodes, ports and zones are in thousands of objects.
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
