// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/fanout"
)

// A clientMessage is a message that a client sends after its hello. At most one of the
// fields is set.
type clientMessage struct {
	acks  []fanout.Ack // oldest first; the array is reused
	held  *fanout.Received
	hello bool // a second hello, which is an error
}

// reset prepares m for the next message and releases the texts of the last one.
func (m *clientMessage) reset() {
	clear(m.acks)
	*m = clientMessage{acks: m.acks[:0]}
}

// String does not print the content: gRPC tracing calls it later, when m has been reused.
func (m *clientMessage) String() string { return "client message" }

// Field numbers of WatchNodeRequest and WatchClusterRequest, which are the same, and of Ack.
const (
	fieldHello       protowire.Number = 1
	fieldHeldDigests protowire.Number = 2
	fieldAck         protowire.Number = 3

	ackRevision     protowire.Number = 1
	ackError        protowire.Number = 2
	ackDuration     protowire.Number = 3
	ackAge          protowire.Number = 4
	ackPreviousAcks protowire.Number = 5
)

// DecodeFrame implements codec.Decoder. Nearly all messages of clients are
// acknowledgements, one per node and update, so they are decoded without allocation. The
// result is that of proto.Unmarshal, except that a second hello and acknowledgements nested
// in previous_acks are not parsed.
func (m *clientMessage) DecodeFrame(b []byte) error {
	m.reset()
	var ack fanout.Ack
	var held *kpng.HeldDigests
	current := protowire.Number(0) // the last field of the oneof wins
	err := forEachField(b, func(field protowire.Number, kind protowire.Type, _ uint64, content []byte) error {
		if kind != protowire.BytesType || field > fieldAck {
			return nil
		}
		if field != current {
			m.reset()
			current, ack, held = field, fanout.Ack{}, nil
		}
		switch field {
		case fieldHeldDigests:
			if held == nil {
				held = &kpng.HeldDigests{}
			}
			return proto.UnmarshalOptions{Merge: true}.Unmarshal(content, held)
		case fieldAck:
			return decodeAck(&ack, content, m.addPreviousAck)
		}
		return nil
	})
	switch {
	case err != nil:
		m.reset()
	case current == fieldHello:
		m.hello = true
	case current == fieldHeldDigests:
		m.held = &fanout.Received{Held: held.GetDigests(), HeldComplete: held.GetLast()}
	case current == fieldAck:
		m.acks = append(m.acks, ack)
	}
	return err
}

// addPreviousAck decodes an element of Ack.previous_acks.
func (m *clientMessage) addPreviousAck(b []byte) error {
	var ack fanout.Ack
	err := decodeAck(&ack, b, nil)
	if len(m.acks) < maxAcksPerMessage {
		m.acks = append(m.acks, ack)
	}
	return err
}

var errNotUTF8 = errors.New("session: ack.error: invalid UTF-8")

// decodeAck merges the fields in b into a, and calls previous for each previous
// acknowledgement if it is not nil.
func decodeAck(a *fanout.Ack, b []byte, previous func([]byte) error) error {
	return forEachField(b, func(field protowire.Number, kind protowire.Type, number uint64, content []byte) error {
		switch {
		case kind == protowire.VarintType && field == ackRevision:
			a.Revision = number
		case kind == protowire.VarintType && field == ackDuration:
			a.Duration = toDuration(number)
		case kind == protowire.VarintType && field == ackAge:
			a.Age = toDuration(number)
		case kind == protowire.BytesType && field == ackError:
			if !utf8.Valid(content) {
				return errNotUTF8
			}
			a.Error = Truncate(string(content[:min(len(content), MaxErrorText+1)]), MaxErrorText)
		case kind == protowire.BytesType && field == ackPreviousAcks && previous != nil:
			return previous(content)
		}
		return nil
	})
}

// toDuration limits a duration of a client to 24 hours.
func toDuration(ns uint64) time.Duration { return time.Duration(min(ns, uint64(24*time.Hour))) }

// forEachField calls fn for each field of an encoded message until fn returns an error. fn
// gets the value of a varint, or the content of a length-delimited field.
func forEachField(b []byte, fn func(field protowire.Number, kind protowire.Type, number uint64, content []byte) error) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var number uint64
		var content []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			content, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := fn(field, kind, number, content); err != nil {
			return err
		}
	}
	return nil
}
