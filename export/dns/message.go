// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"math"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	flagResponse      = 1 << 15
	flagAuthoritative = 1 << 10
	flagTruncated     = 1 << 9
	flagRecursion     = 1 << 8 // desired; copied from the query
	opcodeMask        = 0xf << 11

	rcodeBadVersion = 16 // its upper bits are in the OPT record
)

// A query is a parsed packet.
type query struct {
	id, flags uint16
	question  dnsmessage.Question
	raw       []byte // the question in the format of messages
	edns      bool
	version   uint8 // of EDNS
	udpSize   int   // what the client permits
}

// parse parses a packet. ok is false if it deserves no response. With code other than success, it is
// answered with that error.
func parse(packet []byte) (q query, code dnsmessage.RCode, ok bool) {
	var p dnsmessage.Parser
	header, err := p.Start(packet)
	if err != nil || header.Response {
		return q, 0, false
	}
	q.id, q.flags, q.udpSize = header.ID, binary.BigEndian.Uint16(packet[2:]), minUDP
	if header.OpCode != 0 {
		return q, dnsmessage.RCodeNotImplemented, true
	}
	questions, err := p.AllQuestions()
	if err != nil || len(questions) != 1 {
		return q, dnsmessage.RCodeFormatError, true
	}
	q.question = questions[0]
	q.raw = appendQuestion(nil, &q.question)
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil || !q.parseAdditional(&p) {
		return q, dnsmessage.RCodeFormatError, true
	}
	return q, dnsmessage.RCodeSuccess, true
}

// parseAdditional reads the OPT record. It returns false if the section is malformed.
func (q *query) parseAdditional(p *dnsmessage.Parser) bool {
	for {
		h, err := p.AdditionalHeader()
		switch {
		case err == dnsmessage.ErrSectionDone: //nolint:errorlint // the package returns it unwrapped
			return true
		case err != nil:
			return false
		case h.Type == dnsmessage.TypeOPT:
			if q.edns || h.Name.Length != 1 {
				return false // RFC 6891, section 6.1.1
			}
			q.edns, q.udpSize, q.version = true, max(minUDP, int(h.Class)), uint8(h.TTL>>16)
		}
		if p.SkipAdditional() != nil {
			return false
		}
	}
}

// appendQuestion appends a question with its name as the client has written it.
func appendQuestion(b []byte, q *dnsmessage.Question) []byte {
	name := strings.TrimSuffix(q.Name.String(), ".")
	b = appendName(b, name, []byte{0})
	b = binary.BigEndian.AppendUint16(b, uint16(q.Type))
	return binary.BigEndian.AppendUint16(b, uint16(q.Class))
}

// respond appends the response to a packet to out, which is empty. It returns nil if there is none.
func (s *Server) respond(packet, out []byte, udp bool) []byte {
	q, code, ok := parse(packet)
	if !ok {
		s.counters.dropped.Add(1)
		return nil
	}
	limit := math.MaxUint16
	if udp {
		limit = min(q.udpSize, s.cfg.MaxUDP)
	}
	if q.edns {
		limit -= optSize
	}
	w := writer{buf: append(append(out, make([]byte, headerSize)...), q.raw...), limit: limit, ttl: s.ttl}
	a := answer{server: s, writer: &w, kind: q.question.Type}
	switch {
	case code != dnsmessage.RCodeSuccess:
		a.code = code
	case q.edns && q.version != 0:
		a.code = rcodeBadVersion
	default:
		a.answer(&q.question)
	}
	if q.edns {
		w.buf = appendOPT(w.buf, s.cfg.MaxUDP, a.code)
		w.counts[sectionAdditional]++
	}
	finishHeader(&q, &a)
	s.counters.count(&a)
	return w.buf
}

// appendOPT appends the OPT record of a response.
func appendOPT(b []byte, size int, code dnsmessage.RCode) []byte {
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(dnsmessage.TypeOPT))
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = binary.BigEndian.AppendUint32(b, uint32(code>>4)<<24)
	return append(b, 0, 0)
}

// finishHeader writes the header of a response.
func finishHeader(q *query, a *answer) {
	w := a.writer
	flags := q.flags&(opcodeMask|flagRecursion) | flagResponse | uint16(a.code&0xf)
	if a.authoritative {
		flags |= flagAuthoritative
	}
	if w.truncated {
		flags |= flagTruncated
	}
	questions := uint16(0)
	if len(q.raw) > 0 {
		questions = 1
	}
	for i, v := range []uint16{q.id, flags, questions, w.counts[sectionAnswer], w.counts[sectionAuthority], w.counts[sectionAdditional]} {
		binary.BigEndian.PutUint16(w.buf[2*i:], v)
	}
}
