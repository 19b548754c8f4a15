package session

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/internal/fanout"
	"sigs.k8s.io/kpng/internal/wire"
)

// fieldWelcome is the field of welcome in what the servers of all protocols say.
const fieldWelcome protowire.Number = 1

// A Request is what clients of a protocol say; H is its hello.
type Request[H comparable] interface {
	GetHello() H
	GetHeld() *kpng.Held
	GetAck() *kpng.Ack
}

// Words are what a server's streams say and hear in the same way in all protocols: the
// greater part of a fanout.Wire.
type Words[H comparable, Q Request[H]] struct {
	Stream interface {
		Recv() (Q, error)
		SendMsg(m any) error
	}
	// Server is what the server calls itself, Capabilities what both sides understand.
	Server       string
	Capabilities []kpng.Capability
	// UnwantedField is a field of what the server says.
	UnwantedField protowire.Number
}

// Welcome implements fanout.Wire.
func (w *Words[H, Q]) Welcome(sendHeld, startOver bool) error {
	return w.Send([][]byte{wire.Piece(fieldWelcome, &kpng.Welcome{
		Server: w.Server, Capabilities: w.Capabilities, SendHeld: sendHeld, StartOver: startOver,
	})})
}

// Unwanted implements fanout.Wire.
func (w *Words[H, Q]) Unwanted(digests []uint64) []byte { return wire.Fixed(w.UnwantedField, digests) }

// Send implements fanout.Wire.
func (w *Words[H, Q]) Send(pieces [][]byte) error {
	return w.Stream.SendMsg(&wire.Frame{Pieces: pieces})
}

// Receive implements fanout.Wire. What a newer client says beside all this is ignored.
func (w *Words[H, Q]) Receive() (fanout.Message, error) {
	var none H
	for {
		in, err := w.Stream.Recv()
		switch {
		case err != nil:
			return fanout.Message{}, err
		case in.GetHello() != none:
			return fanout.Message{}, fanout.ErrUnexpected
		}
		if m, ok := message(in.GetHeld(), in.GetAck()); ok {
			return m, nil
		}
	}
}

// Serve calls fn when the server is ready, with a context that ends with the peer's
// permission, if until is not zero. It returns the error of gRPC for the end of the
// stream.
func Serve(ctx context.Context, until time.Time, ready <-chan struct{}, fn func(context.Context) error) error {
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, until, ErrExpired)
		defer cancel()
	}
	select {
	case <-ready:
	case <-ctx.Done():
		return Status(context.Cause(ctx))
	}
	err := fn(ctx)
	if cause := context.Cause(ctx); errors.Is(err, context.DeadlineExceeded) && cause != nil {
		err = cause
	}
	return Status(err)
}
