// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	headerSize = 12
	maxLabel   = 63
	// optSize is the size of an OPT record without options.
	optSize = 11
	// srvHeader is the size of an SRV record's data before its target.
	srvHeader = 6
	// maxPointer is the last place that a pointer of a compressed name can refer to.
	maxPointer = 1<<14 - 1
	// ownerOfQuestion points at the name of the question, which follows the header.
	ownerOfQuestion = 0xc000 | headerSize
)

// A section of a message.
type section uint8

const (
	sectionAnswer section = iota
	sectionAuthority
	sectionAdditional
	sections
)

// A writer appends the records of a response behind its question.
type writer struct {
	buf    []byte // starts with the header
	limit  int    // maximum length of buf
	ttl    uint32
	counts [sections]uint16
	// truncated reports whether a record of the answer did not fit.
	truncated bool
	// lastTarget is the place of the target of the last SRV record of the answer.
	lastTarget int
}

// record appends a record of the answer with the name of the question. data appends its data. A record that does
// not fit is left out, and so are all later ones of the answer.
func (w *writer) record(kind dnsmessage.Type, data func(b []byte) []byte) {
	w.recordOf(sectionAnswer, ownerOfQuestion, kind, data)
}

// recordOf appends a record whose name is at an offset of the message, with the bits of a pointer set.
func (w *writer) recordOf(s section, owner uint16, kind dnsmessage.Type, data func(b []byte) []byte) {
	if w.truncated {
		return
	}
	start := len(w.buf)
	w.buf = binary.BigEndian.AppendUint16(w.buf, owner)
	w.finish(s, start, kind, data)
}

// recordNamed appends a record with a name in the format of messages.
func (w *writer) recordNamed(s section, owner []byte, kind dnsmessage.Type, data func(b []byte) []byte) {
	if w.truncated {
		return
	}
	start := len(w.buf)
	w.buf = append(w.buf, owner...)
	w.finish(s, start, kind, data)
}

// finish appends all of a record but its name, which is at start.
func (w *writer) finish(s section, start int, kind dnsmessage.Type, data func(b []byte) []byte) {
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(kind))
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(dnsmessage.ClassINET))
	w.buf = binary.BigEndian.AppendUint32(w.buf, w.ttl)
	w.buf = append(w.buf, 0, 0)
	length := len(w.buf)
	w.buf = data(w.buf)
	binary.BigEndian.PutUint16(w.buf[length-2:], uint16(len(w.buf)-length))
	if len(w.buf) <= w.limit {
		w.counts[s]++
		if kind == dnsmessage.TypeSRV {
			w.lastTarget = length + srvHeader
		}
		return
	}
	w.buf = w.buf[:start]
	if s != sectionAdditional { // what is additional may be left out
		w.truncated = true
	}
}

// address appends a record A or AAAA of the question's name.
func (w *writer) address(s section, owner uint16, addr netip.Addr) {
	kind := dnsmessage.TypeA
	if addr.Is6() {
		kind = dnsmessage.TypeAAAA
	}
	w.recordOf(s, owner, kind, func(b []byte) []byte { return append(b, addr.AsSlice()...) })
}

// appendName appends a name in the format of messages: labels separated by dots, then a suffix that
// is in that format.
func appendName(b []byte, name string, suffix []byte) []byte {
	for name != "" {
		var label string
		label, name, _ = strings.Cut(name, ".")
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, suffix...)
}

// validName reports whether a name of labels and dots fits into a message.
func validName(name string) bool {
	const maxName = 253
	if name == "" || len(name) > maxName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
	}
	return true
}
