// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package apidecode

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Numbers of fields in messages of discovery.k8s.io/v1. Those of ObjectReference are in the
// order of its fields.
const (
	sliceEndpoints   = 2
	slicePorts       = 3
	sliceAddressType = 4

	endpointAddresses          = 1
	endpointConditions         = 2
	endpointHostname           = 3
	endpointTarget             = 4
	endpointDeprecatedTopology = 5
	endpointNode               = 6
	endpointZone               = 7
	endpointHints              = 8

	conditionReady       = 1
	conditionServing     = 2
	conditionTerminating = 3

	hintZones = 1
	hintNodes = 2
	hintName  = 1 // of a zone or node
)

// A sliceDecoder decodes one EndpointSlice. Its strings are parts of text, and the targets of
// its pointers elements of the arenas.
type sliceDecoder struct {
	text    string // the slice without its metadata
	strings arena[string]
	hints   arena[discoveryv1.EndpointHints]
	zones   arena[discoveryv1.ForZone]
	targets arena[corev1.ObjectReference]
	bools   *[2]bool // false and true
}

// An arena allocates many values at once.
type arena[T any] struct {
	free  []T
	chunk int // the number of values in an allocation
}

// next returns the next value as a list with one element and no room for another.
func (a *arena[T]) next() []T {
	if len(a.free) == 0 {
		a.free = make([]T, a.chunk)
	}
	value := a.free[:1:1]
	a.free = a.free[1:]
	return value
}

// stringsPerEndpoint is usual: an address, a node and a zone.
const stringsPerEndpoint = 3

func (d *sliceDecoder) decode(s *discoveryv1.EndpointSlice) bool {
	count := countFields(d.text, sliceEndpoints)
	d.strings.chunk = stringsPerEndpoint * count
	d.hints.chunk, d.zones.chunk, d.targets.chunk = count, count, count
	for rest := d.text; rest != ""; {
		f, length := nextField(rest)
		rest = rest[length:]
		switch {
		case length == 0, f.number == objectMetadata:
			return false
		case f.number > sliceAddressType:
			continue
		case f.wire != wireBytes:
			return false
		case f.number == sliceEndpoints:
			if s.Endpoints == nil {
				s.Endpoints = make([]discoveryv1.Endpoint, 0, count)
			}
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{})
			if !d.endpoint(f.bytes, &s.Endpoints[len(s.Endpoints)-1]) {
				return false
			}
		case f.number == slicePorts:
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{})
			if s.Ports[len(s.Ports)-1].Unmarshal([]byte(f.bytes)) != nil {
				return false
			}
		case f.number == sliceAddressType:
			s.AddressType = discoveryv1.AddressType(f.bytes)
		}
	}
	return true
}

// endpoint decodes an endpoint. One with the deprecated topology, which no server writes any
// more, is left to the generated code.
func (d *sliceDecoder) endpoint(message string, e *discoveryv1.Endpoint) bool {
	for message != "" {
		f, length := nextField(message)
		if length == 0 || f.number <= endpointHints && f.wire != wireBytes {
			return false
		}
		message = message[length:]
		ok := true
		switch f.number {
		case endpointAddresses:
			address := d.string(f.bytes)
			if e.Addresses == nil {
				e.Addresses = address
			} else {
				e.Addresses = append(e.Addresses, address...)
			}
		case endpointConditions:
			ok = d.conditions(f.bytes, &e.Conditions)
		case endpointHostname:
			e.Hostname = &d.string(f.bytes)[0]
		case endpointTarget:
			if e.TargetRef == nil {
				e.TargetRef = &d.targets.next()[0]
			}
			ok = decodeTarget(f.bytes, e.TargetRef)
		case endpointDeprecatedTopology:
			ok = false
		case endpointNode:
			e.NodeName = &d.string(f.bytes)[0]
		case endpointZone:
			e.Zone = &d.string(f.bytes)[0]
		case endpointHints:
			if e.Hints == nil {
				e.Hints = &d.hints.next()[0]
			}
			ok = d.endpointHints(f.bytes, e.Hints)
		}
		if !ok {
			return false
		}
	}
	return true
}

// string returns a list with one string.
func (d *sliceDecoder) string(s string) []string {
	list := d.strings.next()
	list[0] = s
	return list
}

func (d *sliceDecoder) conditions(message string, c *discoveryv1.EndpointConditions) bool {
	if d.bools == nil {
		d.bools = &[2]bool{false, true}
	}
	for message != "" {
		f, length := nextField(message)
		if length == 0 || f.number <= conditionTerminating && f.wire != wireVarint {
			return false
		}
		message = message[length:]
		value := &d.bools[min(f.varint, 1)]
		switch f.number {
		case conditionReady:
			c.Ready = value
		case conditionServing:
			c.Serving = value
		case conditionTerminating:
			c.Terminating = value
		}
	}
	return true
}

func (d *sliceDecoder) endpointHints(message string, hints *discoveryv1.EndpointHints) bool {
	for message != "" {
		f, length := nextField(message)
		if length == 0 || f.number <= hintNodes && f.wire != wireBytes {
			return false
		}
		message = message[length:]
		switch f.number {
		case hintZones:
			zone := d.zones.next()
			if !decodeName(f.bytes, &zone[0].Name) {
				return false
			}
			if hints.ForZones == nil {
				hints.ForZones = zone
			} else {
				hints.ForZones = append(hints.ForZones, zone...)
			}
		case hintNodes:
			var node discoveryv1.ForNode
			if !decodeName(f.bytes, &node.Name) {
				return false
			}
			hints.ForNodes = append(hints.ForNodes, node)
		}
	}
	return true
}

// decodeName decodes the name of a zone or node in hints.
func decodeName(message string, name *string) bool {
	for message != "" {
		f, length := nextField(message)
		if length == 0 || f.number == hintName && f.wire != wireBytes {
			return false
		}
		message = message[length:]
		if f.number == hintName {
			*name = f.bytes
		}
	}
	return true
}

func decodeTarget(message string, r *corev1.ObjectReference) bool {
	fields := [...]*string{&r.Kind, &r.Namespace, &r.Name, (*string)(&r.UID), &r.APIVersion, &r.ResourceVersion, &r.FieldPath}
	for message != "" {
		f, length := nextField(message)
		if length == 0 {
			return false
		}
		message = message[length:]
		if int(f.number) > len(fields) {
			continue
		}
		if f.wire != wireBytes {
			return false
		}
		*fields[f.number-1] = f.bytes
	}
	return true
}
