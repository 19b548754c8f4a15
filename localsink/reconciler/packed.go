// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"encoding/binary"
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// packed is a Service without its name, in an eighth of the memory: trackers hold tens of
// thousands of Services, which are read rarely once they are acknowledged.
type packed struct {
	text string // ports and health check, as written by pack
	rare *rareFields
}

// rareFields are the fields of a Service that few have. They are shared with the Service that
// was packed.
type rareFields struct {
	problems   []localsink.Problem
	extensions localsink.Extensions
	endpoints  []map[netip.AddrPort]localsink.Extensions // by index of the port
}

// pack returns s in packed form. It keeps all but the difference between nil and an empty list,
// except in SourceRanges: nil permits all clients, an empty list none. buffer is overwritten, and returned to be
// reused.
func pack(s *localsink.Service, buffer []byte) (packed, []byte) {
	w := packer{buffer[:0]}
	w.uint(uint64(len(s.Ports)))
	for i := range s.Ports {
		w.port(&s.Ports[i])
	}
	w.bool(s.HealthCheck != nil)
	if s.HealthCheck != nil {
		w.uint(uint64(s.HealthCheck.Port))
		w.int(int64(s.HealthCheck.LocalEndpoints))
	}
	return packed{string(w.b), rareFieldsOf(s)}, w.b
}

// unpack returns the Service of which p is the packed form.
func (p packed) unpack(name localsink.ServiceName) *localsink.Service {
	r := unpacker{p.text}
	s := &localsink.Service{Name: name}
	s.Ports = list(&r, r.uint(), (*unpacker).port)
	if r.bool() {
		s.HealthCheck = &localsink.HealthCheck{Port: uint16(r.uint()), LocalEndpoints: int(r.int())}
	}
	if p.rare != nil {
		s.Problems, s.Extensions = p.rare.problems, p.rare.extensions
		for i, extensions := range p.rare.endpoints {
			s.Ports[i].EndpointExtensions = extensions
		}
	}
	return s
}

// rareFieldsOf returns nil if s has none of the fields.
func rareFieldsOf(s *localsink.Service) *rareFields {
	rare := rareFields{problems: s.Problems, extensions: s.Extensions}
	for i := range s.Ports {
		if extensions := s.Ports[i].EndpointExtensions; len(extensions) > 0 {
			if rare.endpoints == nil {
				rare.endpoints = make([]map[netip.AddrPort]localsink.Extensions, len(s.Ports))
			}
			rare.endpoints[i] = extensions
		}
	}
	if len(rare.problems) == 0 && rare.extensions.Len() == 0 && rare.endpoints == nil {
		return nil
	}
	return &rare
}

// A packer writes values without their types: an [unpacker] reads them in the same order.
type packer struct{ b []byte }

func (w *packer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *packer) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *packer) byte(v byte)   { w.b = append(w.b, v) }

func (w *packer) bool(v bool) {
	if v {
		w.byte(1)
	} else {
		w.byte(0)
	}
}

func (w *packer) string(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

// Lengths of an address: that of its bytes, or zonedAddr for an IPv6 address with a zone.
const (
	noAddr    = 0
	ipv4Addr  = 4
	ipv6Addr  = 16
	zonedAddr = 17
)

func (w *packer) addr(a netip.Addr) {
	switch {
	case a.Zone() != "":
		b := a.As16()
		w.byte(zonedAddr)
		w.b = append(w.b, b[:]...)
		w.string(a.Zone())
	case a.Is4():
		b := a.As4()
		w.byte(ipv4Addr)
		w.b = append(w.b, b[:]...)
	case a.Is6():
		b := a.As16()
		w.byte(ipv6Addr)
		w.b = append(w.b, b[:]...)
	default:
		w.byte(noAddr)
	}
}

func (w *packer) addrPort(a netip.AddrPort) {
	w.addr(a.Addr())
	w.uint(uint64(a.Port()))
}

func (w *packer) port(p *localsink.Port) {
	w.string(p.Name)
	w.byte(byte(p.Protocol))
	w.byte(byte(p.Selection))
	w.uint(uint64(p.RefusedPerMille))
	w.int(int64(p.Affinity))
	w.uint(uint64(len(p.Frontends)))
	for i := range p.Frontends {
		w.frontend(&p.Frontends[i])
	}
	w.uint(uint64(len(p.Pools)))
	for _, pool := range p.Pools {
		w.uint(uint64(len(pool.Endpoints)))
		for i := range pool.Endpoints {
			w.endpoint(&pool.Endpoints[i])
		}
	}
	w.uint(uint64(len(p.Draining)))
	for _, a := range p.Draining {
		w.addrPort(a)
	}
}

func (w *packer) frontend(fe *localsink.Frontend) {
	w.byte(byte(fe.Kind))
	w.addrPort(fe.Addr)
	w.bool(fe.SourceRanges != nil)
	if fe.SourceRanges != nil {
		w.uint(uint64(len(fe.SourceRanges)))
		for _, p := range fe.SourceRanges {
			w.addr(p.Addr())
			w.int(int64(p.Bits()))
		}
	}
	w.uint(uint64(len(fe.Routes)))
	for _, r := range fe.Routes {
		w.byte(byte(r.From))
		w.int(int64(r.Pool))
		w.bool(r.Masquerade)
		w.byte(byte(r.EmptyVerdict))
	}
}

func (w *packer) endpoint(e *localsink.Endpoint) {
	w.addrPort(e.Addr)
	local := uint64(0)
	if e.Local {
		local = 1
	}
	w.uint(uint64(e.Weight)<<1 | local)
}

// An unpacker reads what a packer has written. The strings that it returns are parts of its own.
type unpacker struct{ s string }

// list reads n values. It returns nil for none.
func list[T any](r *unpacker, n uint64, read func(*unpacker) T) []T {
	if n == 0 {
		return nil
	}
	out := make([]T, n)
	for i := range out {
		out[i] = read(r)
	}
	return out
}

func (r *unpacker) uint() (v uint64) {
	for shift := 0; ; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

// int reads a number in the zigzag encoding of [binary.AppendVarint].
func (r *unpacker) int() int64 {
	v := r.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (r *unpacker) byte() byte {
	b := r.s[0]
	r.s = r.s[1:]
	return b
}

func (r *unpacker) bool() bool { return r.byte() != 0 }

func (r *unpacker) take(n uint64) string {
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *unpacker) string() string { return r.take(r.uint()) }

func (r *unpacker) addr() netip.Addr {
	switch r.byte() {
	case ipv4Addr:
		return netip.AddrFrom4([4]byte([]byte(r.take(ipv4Addr))))
	case ipv6Addr:
		return netip.AddrFrom16([16]byte([]byte(r.take(ipv6Addr))))
	case zonedAddr:
		return netip.AddrFrom16([16]byte([]byte(r.take(ipv6Addr)))).WithZone(r.string())
	default:
		return netip.Addr{}
	}
}

func (r *unpacker) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(r.addr(), uint16(r.uint()))
}

func (r *unpacker) prefix() netip.Prefix {
	return netip.PrefixFrom(r.addr(), int(r.int()))
}

func (r *unpacker) port() (p localsink.Port) {
	p.Name = r.string()
	p.Protocol, p.Selection = localsink.Protocol(r.byte()), localsink.Selection(r.byte())
	p.RefusedPerMille, p.Affinity = uint16(r.uint()), time.Duration(r.int())
	p.Frontends = list(r, r.uint(), (*unpacker).frontend)
	p.Pools = list(r, r.uint(), (*unpacker).pool)
	p.Draining = list(r, r.uint(), (*unpacker).addrPort)
	return p
}

func (r *unpacker) frontend() (fe localsink.Frontend) {
	fe.Kind, fe.Addr = localsink.FrontendKind(r.byte()), r.addrPort()
	if r.bool() {
		if fe.SourceRanges = list(r, r.uint(), (*unpacker).prefix); fe.SourceRanges == nil {
			fe.SourceRanges = []netip.Prefix{}
		}
	}
	fe.Routes = list(r, r.uint(), (*unpacker).route)
	return fe
}

func (r *unpacker) route() localsink.Route {
	return localsink.Route{
		From: localsink.From(r.byte()), Pool: int(r.int()), Masquerade: r.bool(), EmptyVerdict: localsink.Verdict(r.byte()),
	}
}

func (r *unpacker) pool() localsink.Pool {
	return localsink.Pool{Endpoints: list(r, r.uint(), (*unpacker).endpoint)}
}

func (r *unpacker) endpoint() localsink.Endpoint {
	addr, weight := r.addrPort(), r.uint()
	return localsink.Endpoint{Addr: addr, Local: weight&1 == 1, Weight: uint32(weight >> 1)}
}
