// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/codec"
	"sigs.k8s.io/kpng/remote/internal/fanout"
)

// fieldWelcome is the field of welcome in what the servers of all protocols say.
const fieldWelcome protowire.Number = 1

// ServerStream are what a server's streams say and hear in the same way in all protocols: the
// greater part of a fanout.Wire.
type ServerStream struct {
	Stream interface {
		Context() context.Context
		RecvMsg(m any) error
		SendMsg(m any) error
	}
	// ServerName is what the server calls itself, Capabilities what both sides understand.
	ServerName   string
	Capabilities []kpng.Capability
	// RemovedField is a field of what the server says.
	RemovedField protowire.Number
	// MaxAckDelay is how long clients may wait with acknowledging, to do it together.
	MaxAckDelay time.Duration

	request    clientMessage // the last message
	queuedAcks []fanout.Ack  // in it, not yet returned
}

// Context implements fanout.Wire.
func (w *ServerStream) Context() context.Context { return w.Stream.Context() }

// Welcome implements fanout.Wire.
func (w *ServerStream) Welcome(sendHeld, startOver bool) error {
	return w.Stream.SendMsg(codec.NewFrame([][]byte{codec.Piece(fieldWelcome, &kpng.Welcome{
		Server: w.ServerName, Capabilities: w.Capabilities, SendDigests: sendHeld, FullSync: startOver, MaxAckDelayNs: uint64(w.MaxAckDelay),
	})}))
}

// Unwanted implements fanout.Wire.
func (w *ServerStream) Unwanted(digests []uint64) []byte { return codec.Fixed(w.RemovedField, digests) }

// Send implements fanout.Wire.
func (w *ServerStream) Send(m *fanout.Message) error {
	return w.Stream.SendMsg(m.Form(newFrame))
}

func newFrame(pieces [][]byte) any { return codec.NewFrame(pieces) }

// Receive implements fanout.Wire. What a newer client says beside all this is ignored.
func (w *ServerStream) Receive() (fanout.Heard, error) {
	for len(w.queuedAcks) == 0 {
		w.request.reset()
		err := w.Stream.RecvMsg(&w.request)
		switch {
		case err != nil:
			return fanout.Heard{}, err
		case w.request.hello:
			return fanout.Heard{}, fanout.ErrUnexpected
		case w.request.held != nil:
			return *w.request.held, nil
		}
		w.queuedAcks = w.request.acks
	}
	ack := &w.queuedAcks[0]
	w.queuedAcks = w.queuedAcks[1:]
	return fanout.Heard{Ack: ack}, nil
}

// ReceiveFirst waits for the first message of a stream, but not for ever, and not when the server
// has ended. The error is one of gRPC's.
func ReceiveFirst[Q any](receive func() (Q, error), timeout time.Duration, ended <-chan struct{}) (in Q, err error) {
	type first struct {
		in  Q
		err error
	}
	heard := make(chan first, 1)
	go func() { // ends with the stream
		in, err := receive()
		heard <- first{in, err}
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-timer.C:
		return in, status.Error(codes.DeadlineExceeded, "there was no hello")
	case <-ended:
		return in, StatusError(context.Canceled)
	case f := <-heard:
		if errors.Is(f.err, io.EOF) {
			return f.in, ErrNoHello()
		}
		return f.in, f.err
	}
}

// ErrNoHello is the error of gRPC for a stream that does not begin as it must.
func ErrNoHello() error {
	return status.Error(codes.InvalidArgument, "the first message must be hello")
}

// Serve calls fn when the server is ready, with a context that ends with the peer's
// permission, if until is not zero. It returns the error of gRPC for the end of the
// stream.
func Serve(ctx context.Context, until time.Time, ready, ended <-chan struct{}, fn func(context.Context) error) error {
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, until, ErrExpired)
		defer cancel()
	}
	select {
	case <-ready:
	case <-ended:
		return StatusError(context.Canceled)
	case <-ctx.Done():
		return StatusError(context.Cause(ctx))
	}
	err := fn(ctx)
	if cause := context.Cause(ctx); errors.Is(err, context.DeadlineExceeded) && cause != nil {
		err = cause
	}
	return StatusError(err)
}
