package session

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/internal/fanout"
)

// heard is what a client has said after its hello: acknowledgements, or what it holds.
type heard[H comparable, Q Request[H]] struct {
	acks  []fanout.Ack // the oldest first; their memory is used again
	held  *kpng.Held
	hello bool // it says hello once more
}

// Decode implements wire.Decoder. Nearly all that thousands of clients say is that they
// have applied something; this is decoded by hand, without garbage. Whatever is less usual
// is left to the library.
func (h *heard[H, Q]) Decode(b []byte) error {
	h.held, h.hello = nil, false
	var usual bool
	if h.acks, usual = success(h.acks[:0], b); usual {
		return nil
	}
	var none Q
	in, _ := none.ProtoReflect().New().Interface().(Q)
	if err := proto.Unmarshal(b, in); err != nil {
		return err
	}
	var noHello H
	h.held, h.hello = in.GetHeld(), in.GetHello() != noHello
	h.acks = h.acks[:0]
	if ack := in.GetAck(); ack != nil {
		earlier := ack.GetEarlier()
		for _, e := range earlier[:min(len(earlier), maxTogether)] {
			h.acks = append(h.acks, toAck(e))
		}
		h.acks = append(h.acks, toAck(ack))
	}
	return nil
}

func toAck(a *kpng.Ack) fanout.Ack {
	return fanout.Ack{
		Revision: a.GetRevision(), Error: Cut(a.GetError(), maxErrorText),
		Took: toDuration(a.GetDurationNs()), Age: toDuration(a.GetAgeNs()),
	}
}

func toDuration(ns uint64) time.Duration { return time.Duration(min(ns, uint64(24*time.Hour))) }

// Fields of what clients say, which are the same in all protocols, and of Ack.
const (
	fieldAck protowire.Number = 3

	ackRevision protowire.Number = 1
	ackDuration protowire.Number = 3
	ackAge      protowire.Number = 4
	ackEarlier  protowire.Number = 5
)

// success adds to acks what b acknowledges. It returns false when b is anything but an
// acknowledgement of success of which it knows every field.
func success(acks []fanout.Ack, b []byte) (_ []fanout.Ack, usual bool) {
	field, kind, n := protowire.ConsumeTag(b)
	if n < 0 || field != fieldAck || kind != protowire.BytesType {
		return acks, false
	}
	ack, m := protowire.ConsumeBytes(b[n:])
	if m < 0 || n+m < len(b) {
		return acks, false
	}
	last, usual := one(ack, func(earlier []byte) bool {
		a, usual := one(earlier, nil)
		if usual && len(acks) < maxTogether {
			acks = append(acks, a)
		}
		return usual
	})
	return append(acks, last), usual
}

// one decodes an Ack, and calls earlier for those in it. It returns false when that does,
// and for all that success does not know.
func one(b []byte, earlier func([]byte) bool) (a fanout.Ack, usual bool) {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return a, false
		}
		b = b[n:]
		if kind == protowire.BytesType {
			var inner []byte
			if inner, n = protowire.ConsumeBytes(b); n < 0 || field != ackEarlier || earlier == nil || !earlier(inner) {
				return a, false
			}
			b = b[n:]
			continue
		}
		var v uint64
		if v, n = protowire.ConsumeVarint(b); n < 0 || kind != protowire.VarintType {
			return a, false
		}
		b = b[n:]
		switch field {
		case ackRevision:
			a.Revision = v
		case ackDuration:
			a.Took = toDuration(v)
		case ackAge:
			a.Age = toDuration(v)
		default:
			return a, false
		}
	}
	return a, true
}
