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

// fieldWelcome is the number of the field welcome in the responses of all protocols.
const fieldWelcome protowire.Number = 1

// A ServerStream implements the methods of fanout.Conn that are the same in all protocols.
type ServerStream struct {
	Stream interface {
		Context() context.Context
		RecvMsg(m any) error
		SendMsg(m any) error
	}
	// ServerName is sent to the client, for display only.
	ServerName string
	// Capabilities are those that both sides have.
	Capabilities []kpng.Capability
	// RemovedField is the number of the field removed_digests in responses.
	RemovedField protowire.Number
	// MaxAckDelay is the maximum delay before the client acknowledges an applied update.
	MaxAckDelay time.Duration

	request    clientMessage // the last one received
	queuedAcks []fanout.Ack  // of request, not yet returned by Receive
}

// Context implements fanout.Conn.
func (s *ServerStream) Context() context.Context { return s.Stream.Context() }

// Welcome implements fanout.Conn.
func (s *ServerStream) Welcome(sendDigests, fullSync bool) error {
	return s.Stream.SendMsg(codec.NewFrame([][]byte{codec.MessageField(fieldWelcome, &kpng.Welcome{
		Server: s.ServerName, Capabilities: s.Capabilities, SendDigests: sendDigests, FullSync: fullSync,
		MaxAckDelayNs: uint64(s.MaxAckDelay),
	})}))
}

// RemovedDigests implements fanout.Conn.
func (s *ServerStream) RemovedDigests(digests []uint64) []byte {
	return codec.Fixed64Field(s.RemovedField, digests)
}

// Send implements fanout.Conn.
func (s *ServerStream) Send(m *fanout.Message) error {
	return s.Stream.SendMsg(m.Frame(newFrame))
}

func newFrame(pieces [][]byte) any { return codec.NewFrame(pieces) }

// Receive implements fanout.Conn. It ignores unknown messages of newer clients.
func (s *ServerStream) Receive() (fanout.Received, error) {
	for len(s.queuedAcks) == 0 {
		s.request.reset()
		err := s.Stream.RecvMsg(&s.request)
		switch {
		case err != nil:
			return fanout.Received{}, err
		case s.request.hello:
			return fanout.Received{}, fanout.ErrUnexpectedMessage
		case s.request.held != nil:
			return *s.request.held, nil
		}
		s.queuedAcks = s.request.acks
	}
	ack := &s.queuedAcks[0]
	s.queuedAcks = s.queuedAcks[1:]
	return fanout.Received{Ack: ack}, nil
}

// ReceiveFirst returns the first message of a stream. It returns a gRPC status error after
// timeout and when the server has ended.
func ReceiveFirst[Q any](receive func() (Q, error), timeout time.Duration, ended <-chan struct{}) (in Q, err error) {
	type result struct {
		in  Q
		err error
	}
	received := make(chan result, 1)
	go func() { // ends with the stream
		in, err := receive()
		received <- result{in, err}
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-timer.C:
		return in, status.Errorf(codes.DeadlineExceeded, "no hello received within %s", timeout)
	case <-ended:
		return in, StatusError(context.Canceled)
	case r := <-received:
		if errors.Is(r.err, io.EOF) {
			return r.in, NoHelloError()
		}
		return r.in, r.err
	}
}

// NoHelloError returns the status error of a stream that does not start with hello.
func NoHelloError() error {
	return status.Error(codes.InvalidArgument, "the first message must be hello")
}

// Serve waits until the server is ready and then calls serve. If until is not zero, the
// context of serve ends then, when the authorization of the client expires. Serve returns
// the status error that ends the stream.
func Serve(ctx context.Context, until time.Time, ready, ended <-chan struct{}, serve func(context.Context) error) error {
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
	err := serve(ctx)
	if cause := context.Cause(ctx); errors.Is(err, context.DeadlineExceeded) && cause != nil {
		err = cause
	}
	return StatusError(err)
}
