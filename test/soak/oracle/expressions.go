// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// match ends the rule unless a condition holds.
func (p *packet) match(body any) error {
	left, err := p.value(field(body, "left"))
	if err != nil {
		return err
	}
	var holds bool
	switch right := field(body, "right").(type) {
	case string:
		if name, isSet := strings.CutPrefix(right, "@"); isSet {
			s := p.table.sets[name]
			if s == nil {
				return fmt.Errorf("set %s does not exist", name)
			}
			_, holds = s.elements[strings.Join(left, " . ")]
		} else {
			holds = left[0] == right
		}
	case float64:
		holds = left[0] == strconv.FormatInt(int64(right), 10)
	case map[string]any:
		network, err := netip.ParsePrefix(fmt.Sprintf("%v/%v", field(right["prefix"], "addr"), field(right["prefix"], "len")))
		if err != nil {
			return err
		}
		a, err := netip.ParseAddr(left[0])
		if err != nil {
			return err
		}
		holds = network.Contains(a)
	default:
		return fmt.Errorf("unknown operand %v", right)
	}
	switch op := field(body, "op"); op {
	case "==", "in":
	case "!=":
		holds = !holds
	default:
		return fmt.Errorf("unknown operator %v", op)
	}
	if !holds {
		return errNoMatch
	}
	return nil
}

// mangle sets the mark or the priority of the packet.
func (p *packet) mangle(body any) error {
	values, err := p.value(field(body, "value"))
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(values[0], 10, 32)
	if err != nil {
		return err
	}
	switch key := field(field(field(body, "key"), "meta"), "key"); key {
	case "mark":
		p.mark = n
	case "priority":
		p.priority = n
	default:
		return fmt.Errorf("unknown key %v", key)
	}
	return nil
}

// dnat sets the endpoint.
func (p *packet) dnat(body any) error {
	values, err := p.value(field(body, "addr"))
	if err != nil {
		return err
	}
	if len(values) != 2 {
		return fmt.Errorf("dnat to %v, want an address and a port", values)
	}
	d, err := parseDestination(values[0], "tcp", values[1])
	p.endpoint = d.addr
	return err
}

// lookUp returns the data of a key in a map.
func (p *packet) lookUp(key, name any) (any, error) {
	values, err := p.value(key)
	if err != nil {
		return nil, err
	}
	mapName := strings.TrimPrefix(fmt.Sprint(name), "@")
	s := p.table.sets[mapName]
	if s == nil {
		return nil, fmt.Errorf("map %s does not exist", mapName)
	}
	if entry, found := p.entries[mapName]; found {
		return float64(entry), nil
	}
	data, found := s.elements[strings.Join(values, " . ")]
	if !found {
		return nil, errNoMatch
	}
	return data, nil
}

// value returns the value of an expression, part by part.
func (p *packet) value(e any) ([]string, error) {
	switch e := e.(type) {
	case float64:
		return []string{strconv.FormatInt(int64(e), 10)}, nil
	case string:
		return []string{e}, nil
	case map[string]any:
		for name, body := range e {
			return p.expression(name, body)
		}
	}
	return nil, fmt.Errorf("unknown expression %v", e)
}

func (p *packet) expression(name string, body any) ([]string, error) {
	switch name {
	case "concat":
		return p.concatenation(body)
	case "payload":
		return p.payload(fmt.Sprint(field(body, "field")))
	case "meta":
		return p.meta(fmt.Sprint(field(body, "key")))
	case "numgen":
		limit, _ := field(body, "mod").(float64)
		return number(p.random(int(limit)))
	case "ct":
		if field(body, "key") == "status" && p.translated {
			return []string{"dnat"}, nil
		}
		return []string{""}, nil
	case "fib":
		return p.addressType(body)
	case "map":
		name := field(body, "data")
		data, err := p.lookUp(field(body, "key"), name)
		if err != nil {
			return nil, err
		}
		return constants(data, p.table.sets[strings.TrimPrefix(fmt.Sprint(name), "@")].dataTypes)
	case "&", "|", "^":
		return p.bitwise(name, body)
	}
	return nil, fmt.Errorf("unknown expression %q", name)
}

func (p *packet) concatenation(body any) (all []string, err error) {
	parts, _ := body.([]any)
	for _, part := range parts {
		values, err := p.value(part)
		if err != nil {
			return nil, err
		}
		all = append(all, values...)
	}
	return all, nil
}

func (p *packet) payload(name string) ([]string, error) {
	switch name {
	case "saddr":
		return []string{p.source.String()}, nil
	case "daddr":
		return []string{p.to.addr.Addr().String()}, nil
	case "dport":
		return number(uint64(p.to.addr.Port()))
	}
	return nil, fmt.Errorf("unknown header field %q", name)
}

func (p *packet) meta(key string) ([]string, error) {
	switch key {
	case "l4proto":
		return []string{strings.ToLower(p.to.protocol)}, nil
	case "mark":
		return number(p.mark)
	case "priority":
		return number(p.priority)
	}
	return nil, fmt.Errorf("unknown key %q", key)
}

// addressType returns the type of an address of the packet.
func (p *packet) addressType(body any) ([]string, error) {
	flags, _ := field(body, "flags").([]any)
	if len(flags) != 1 || field(body, "result") != "type" {
		return nil, fmt.Errorf("unknown expression fib %v", body)
	}
	addr := p.to.addr.Addr()
	if flags[0] == "saddr" {
		addr = p.source
	}
	if addr.IsLoopback() || slices.Contains(p.local, addr) {
		return []string{"local"}, nil
	}
	return []string{"unicast"}, nil
}

func (p *packet) bitwise(operator string, body any) ([]string, error) {
	operands, err := p.concatenation(body)
	if err != nil {
		return nil, err
	}
	if len(operands) != 2 {
		return nil, fmt.Errorf("operator %s has %d operands", operator, len(operands))
	}
	a, errA := strconv.ParseUint(operands[0], 10, 32)
	b, errB := strconv.ParseUint(operands[1], 10, 32)
	if err := errors.Join(errA, errB); err != nil {
		return nil, err
	}
	switch operator {
	case "&":
		return number(a & b)
	case "|":
		return number(a | b)
	}
	return number(a ^ b)
}

func number(n uint64) ([]string, error) { return []string{strconv.FormatUint(n, 10)}, nil }
