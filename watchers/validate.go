// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers/internal/valid"
)

// maxProblems bounds the Problems of one object: all of them are stored, sent and logged.
const maxProblems = 32

// furtherProblems is the message of the Problem that counts those beyond maxProblems.
const furtherProblems = "%d further problems of the object"

// A validator removes the invalid values of one object and collects a Problem for each. A
// transaction validates each object that it sets: readers of a store never see a malformed
// value, whatever its source. A valid object remains as it is.
type validator struct {
	object   Object
	existing []Problem // of the object
	problems []Problem
	further  int // Problems beyond maxProblems
	changed  bool
	// extensionsSize is the size of the valid extensions so far, in bytes.
	extensionsSize int
}

func newValidator(object Object, existing []Problem) validator {
	return validator{object: object, existing: existing}
}

// name returns the text that Problems of the object have. An invalid name is quoted.
func (v *validator) name() string {
	quoted := func(kind, name string, valid bool) string {
		if valid {
			return kind + " " + name
		}
		return fmt.Sprintf("%s %.300q", kind, name)
	}
	switch o := v.object.(type) {
	case *Service:
		if valid.Origin(o.Name.Origin) != "" {
			return quoted("Service", o.Name.String(), false)
		}
		return quoted(cmp.Or(o.Name.Origin, "Service"), o.Name.Namespace+"/"+o.Name.Name, validOrEmpty(o.Name.Namespace, o.Name.Name))
	case *EndpointSlice:
		return quoted("EndpointSlice", o.Namespace+"/"+o.Name, validOrEmpty(o.Namespace, o.Name))
	case *Node:
		return quoted("Node", o.Name, validOrEmpty(o.Name))
	case *ServiceCIDR:
		return quoted("ServiceCIDR", o.Name, validOrEmpty(o.Name))
	}
	return ""
}

func validOrEmpty(names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return valid.PortName(name) != "" })
}

// report adds a Problem. The path is only formatted when there is a Problem, so that valid
// objects cost nothing.
func (v *validator) report(message, field string, index ...any) {
	if len(v.existing)+len(v.problems) >= maxProblems {
		v.further++
		return
	}
	v.problems = append(v.problems, Problem{Object: v.name(), Field: fmt.Sprintf(field, index...), Message: message})
}

// reportRemaining reports a value that remains in the object, unless the object has a
// Problem of that field already: from its source, or because it was in a store before.
func (v *validator) reportRemaining(message, field string, index ...any) {
	path := fmt.Sprintf(field, index...)
	has := func(p Problem) bool { return strings.HasPrefix(p.Field, path) }
	if !slices.ContainsFunc(v.existing, has) && !slices.ContainsFunc(v.problems, has) {
		v.report(message, "%s", path)
	}
}

// reject reports a value, and that it is not used as it is.
func (v *validator) reject(value any, failure, consequence, field string, index ...any) {
	v.changed = true
	v.report(fmt.Sprintf("%v %s; %s", value, failure, consequence), field, index...)
}

// valid reports whether the object needs no change.
func (v *validator) valid() bool {
	return !v.changed && len(v.problems) == 0 && (v.further == 0 || len(v.existing) > maxProblems) && len(v.existing) <= maxProblems+1
}

// all returns the Problems of the object and of v: at most maxProblems, and one more that
// counts the others.
func (v *validator) all() []Problem {
	all := append(slices.Clip(v.existing), v.problems...)
	switch {
	case len(v.existing) == maxProblems+1:
		return v.existing // bounded before
	case len(all) > maxProblems:
		v.further += len(all) - maxProblems
		all = all[:maxProblems]
	}
	if v.further > 0 {
		message := fmt.Sprintf(furtherProblems, v.further)
		all = append(slices.Clip(all), Problem{Object: v.name(), Field: all[maxProblems-1].Field, Message: message})
	}
	return all
}

// filtered returns list with each element replaced or removed by keep; list itself if all
// elements remain.
func filtered[T comparable](list []T, keep func(i int, element T) (T, bool)) []T {
	for i, element := range list {
		replaced, ok := keep(i, element)
		if ok && replaced == element {
			continue
		}
		out := append(make([]T, 0, len(list)), list[:i]...)
		for {
			if ok {
				out = append(out, replaced)
			}
			if i++; i == len(list) {
				return out
			}
			replaced, ok = keep(i, list[i])
		}
	}
	return list
}

// addr checks an address. An IPv4-mapped one is reported, and the IPv4 address used.
func (v *validator) addr(a netip.Addr, check func(netip.Addr) string, consequence, field string, index ...any) (netip.Addr, bool) {
	failure := check(a)
	if failure == "" {
		return a, true
	}
	if a.Is4In6() && a.Zone() == "" {
		if unmapped := a.Unmap(); check(unmapped) == "" {
			v.reject(a, failure, "treated as "+unmapped.String(), field, index...)
			return unmapped, true
		}
	}
	v.reject(a, failure, consequence, field, index...)
	return netip.Addr{}, false
}

func (v *validator) addrs(list []netip.Addr, check func(netip.Addr) string, field string) []netip.Addr {
	return filtered(list, func(i int, a netip.Addr) (netip.Addr, bool) { return v.addr(a, check, "ignored", field, i) })
}

// optionalAddr checks an address that may be the zero Addr, and returns that if it is invalid.
func (v *validator) optionalAddr(a netip.Addr, field string, index ...any) netip.Addr {
	if !a.IsValid() {
		return a
	}
	a, _ = v.addr(a, valid.ServiceAddr, "ignored", field, index...)
	return a
}

func (v *validator) networks(list []netip.Prefix, check func(netip.Prefix) string, field string) []netip.Prefix {
	return filtered(list, func(i int, p netip.Prefix) (netip.Prefix, bool) {
		failure := check(p)
		if failure == "" {
			return p, true
		}
		const mapped = 128 - 32 // bits of the IPv4-mapped form before the IPv4 address
		if p.Addr().Is4In6() && p.Bits() >= mapped {
			if unmapped := netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped); check(unmapped) == "" {
				v.reject(p, "is an IPv4-mapped IPv6 network", "treated as "+unmapped.String(), field, i)
				return unmapped, true
			}
		}
		v.reject(p, failure, "ignored", field, i)
		return p, false
	})
}

// port checks the name, protocol and number of a port; list is the path of the list of ports.
func (v *validator) port(name string, protocol Protocol, number uint16, list string, index int) bool {
	const portIgnored = "the port is ignored"
	if failure := valid.PortName(name); failure != "" {
		v.reject(fmt.Sprintf("%.300q", name), failure, portIgnored, list+"[%d].name", index)
		return false
	}
	if failure := valid.Protocol(protocol); failure != "" {
		v.reject(uint8(protocol), failure, portIgnored, list+"[%d].protocol", index)
		return false
	}
	if number == 0 {
		v.reject(number, "is out of range 1-65535", portIgnored, list+"[%d].port", index)
		return false
	}
	return true
}

// duplicate reports whether an earlier port has the same name and protocol. Nothing could
// distinguish the two.
func (v *validator) duplicate(earlier bool, name string, protocol Protocol, list string, index int) bool {
	if earlier {
		v.reject(fmt.Sprintf("%q", name), fmt.Sprintf("is the name of an earlier %s port", protocol), "the port is ignored", list+"[%d].name", index)
	}
	return earlier
}

// extensions returns x without those whose key is invalid or that exceed the size of all
// extensions of the object.
func (v *validator) extensions(x Extensions, field string, index ...any) Extensions {
	if x.Len() == 0 {
		return x
	}
	kept := make([]localsink.Extension, 0, x.Len())
	for e := range x.All() {
		size := len(e.Key) + len(e.Value)
		failure := valid.ExtensionKey(e.Key)
		if failure == "" && v.extensionsSize+size > localsink.MaxExtensionsSize {
			failure = fmt.Sprintf("has %d bytes with its value, and the extensions of an object have at most %d", size, localsink.MaxExtensionsSize)
		}
		if failure != "" {
			v.reject(fmt.Sprintf("key %.400q", e.Key), failure, "ignored", field, index...)
			continue
		}
		v.extensionsSize += size
		kept = append(kept, e)
	}
	if len(kept) == x.Len() {
		return x
	}
	return localsink.NewExtensions(kept...)
}
