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

// clientMessage is what a client says after its hello: one of the three.
type clientMessage struct {
	acks  []fanout.Ack // the oldest first; their memory is used again
	held  *fanout.Heard
	hello bool // once more
}

// reset makes room for what is said next.
func (h *clientMessage) reset() {
	clear(h.acks) // of their texts, too
	*h = clientMessage{acks: h.acks[:0]}
}

// String is for those who trace streams, some time later.
func (h *clientMessage) String() string { return "what a client says" }

// Fields of what clients say and of Ack. They are the same in all protocols.
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

// DecodeFrame implements wire.Decoder. Nearly all that thousands of clients say are
// acknowledgements, of which the library would make an object for each node and update;
// so they are decoded by hand, as the library does it. The hello of a client that said it
// before is not looked at, and nor are acknowledgements within earlier ones.
func (h *clientMessage) DecodeFrame(b []byte) error {
	h.reset()
	var ack fanout.Ack
	var held *kpng.HeldDigests
	said := protowire.Number(0) // the last of the three counts
	err := forEachField(b, func(field protowire.Number, kind protowire.Type, _ uint64, content []byte) error {
		if kind != protowire.BytesType || field > fieldAck {
			return nil
		}
		if field != said {
			h.reset()
			said, ack, held = field, fanout.Ack{}, nil
		}
		switch field {
		case fieldHeldDigests:
			if held == nil {
				held = &kpng.HeldDigests{}
			}
			return proto.UnmarshalOptions{Merge: true}.Unmarshal(content, held)
		case fieldAck:
			return decodeAck(&ack, content, h.addPreviousAck)
		}
		return nil
	})
	switch {
	case err != nil:
		h.reset()
	case said == fieldHello:
		h.hello = true
	case said == fieldHeldDigests:
		h.held = &fanout.Heard{Held: held.GetDigests(), Last: held.GetLast()}
	case said == fieldAck:
		h.acks = append(h.acks, ack)
	}
	return err
}

// addPreviousAck takes in an acknowledgement that is sent together with a later one.
func (h *clientMessage) addPreviousAck(b []byte) error {
	var a fanout.Ack
	err := decodeAck(&a, b, nil)
	if len(h.acks) < maxAcksPerMessage {
		h.acks = append(h.acks, a)
	}
	return err
}

var errNotUTF8 = errors.New("session: ack.error: not UTF-8")

func decodeAck(a *fanout.Ack, b []byte, earlier func([]byte) error) error {
	return forEachField(b, func(field protowire.Number, kind protowire.Type, number uint64, content []byte) error {
		switch {
		case kind == protowire.VarintType && field == ackRevision:
			a.Revision = number
		case kind == protowire.VarintType && field == ackDuration:
			a.Took = toDuration(number)
		case kind == protowire.VarintType && field == ackAge:
			a.Age = toDuration(number)
		case kind == protowire.BytesType && field == ackError:
			if !utf8.Valid(content) {
				return errNotUTF8
			}
			a.Error = Truncate(string(content[:min(len(content), maxErrorText+1)]), maxErrorText)
		case kind == protowire.BytesType && field == ackPreviousAcks && earlier != nil:
			return earlier(content)
		}
		return nil
	})
}

func toDuration(ns uint64) time.Duration { return time.Duration(min(ns, uint64(24*time.Hour))) }

// forEachField calls fn with the fields of a message, until it returns an error: with the number of
// a varint, or the content of what has bytes.
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
