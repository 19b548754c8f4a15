// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/codec"
	"sigs.k8s.io/kpng/remote/internal/fanout"
)

func TestStatusErrorHasCodeOfCause(t *testing.T) {
	for err, want := range map[error]codes.Code{
		nil: codes.OK, io.EOF: codes.OK, context.Canceled: codes.Unavailable, context.DeadlineExceeded: codes.DeadlineExceeded,
		ErrExpired: codes.Unauthenticated, fanout.ErrSendTimeout: codes.ResourceExhausted, fanout.ErrAckTimeout: codes.ResourceExhausted,
		fanout.ErrTooManyDigests: codes.ResourceExhausted, fanout.ErrDigestsTimeout: codes.DeadlineExceeded, fanout.ErrUnexpectedMessage: codes.InvalidArgument,
		status.Error(codes.PermissionDenied, "no"): codes.PermissionDenied, errors.New("else"): codes.Unknown,
	} {
		require.Equal(t, want, status.Code(StatusError(err)), "%v", err)
		if err != nil {
			require.Equal(t, want, status.Code(StatusError(fmt.Errorf("wrapped: %w", err))), "%v", err)
		}
	}
}

func TestTruncateKeepsValidUTF8(t *testing.T) {
	long := strings.Repeat("ü", 1000)
	for n := range 10 {
		cut := Truncate(long, 100+n)
		require.LessOrEqual(t, len(cut), 100+n)
		require.GreaterOrEqual(t, len(cut), 99+n-1)
		require.True(t, utf8.ValidString(cut))
	}
	require.Equal(t, "unchanged", Truncate("unchanged", 9))
}

// Each pair of server and reason is logged once until a server is synced again.
func TestOutageLogsEachReasonOnce(t *testing.T) {
	var log strings.Builder
	o := outage{message: "Lost", logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))}
	gone := status.Error(codes.Unavailable, "gone")
	o.restored(t.Context(), "a") // no outage
	for range 3 {
		o.lost(t.Context(), "a", gone)
		o.lost(t.Context(), "b", gone)
	}
	o.lost(t.Context(), "a", status.Error(codes.Unavailable, "still gone"))
	o.lost(t.Context(), "a", status.Error(codes.PermissionDenied, "no"))
	o.lost(t.Context(), "b", errors.New("invalid"))
	o.lost(t.Context(), "b", errors.New("invalid"))
	o.lost(t.Context(), "b", errors.New("also invalid"))
	o.restored(t.Context(), "b")
	o.restored(t.Context(), "b")
	o.lost(t.Context(), "a", gone)
	require.Equal(t, `level=WARN msg=Lost server=a err="rpc error: code = Unavailable desc = gone"
level=WARN msg=Lost server=b err="rpc error: code = Unavailable desc = gone"
level=WARN msg=Lost server=a err="rpc error: code = PermissionDenied desc = no"
level=WARN msg=Lost server=b err=invalid
level=WARN msg=Lost server=b err="also invalid"
level=INFO msg="Server connection restored" server=b
level=WARN msg=Lost server=a err="rpc error: code = Unavailable desc = gone"
`, log.String())
}

// namedConn is a connection with a target.
type namedConn struct{ grpc.ClientConnInterface }

func (namedConn) Target() string { return "there:1" }

func TestServerNameIsTargetOrNumber(t *testing.T) {
	servers := []grpc.ClientConnInterface{namedConn{}, struct{ grpc.ClientConnInterface }{}}
	require.Equal(t, "there:1", serverName(servers, 0))
	require.Equal(t, "server 2", serverName(servers, 1))
}

// DecodeFrame relies on the field numbers of the requests and of Ack.
func TestFieldNumbersMatchProtocols(t *testing.T) {
	for _, m := range []proto.Message{&kpng.WatchNodeRequest{}, &kpng.WatchClusterRequest{}} {
		fields := m.ProtoReflect().Descriptor().Fields()
		require.Equal(t, 3, fields.Len())
		for number, name := range map[protowire.Number]protoreflect.Name{fieldHello: "hello", fieldHeldDigests: "held_digests", fieldAck: "ack"} {
			require.Equal(t, name, fields.ByNumber(number).Name())
		}
	}
	fields := (&kpng.Ack{}).ProtoReflect().Descriptor().Fields()
	require.Equal(t, 5, fields.Len())
	for number, name := range map[protowire.Number]protoreflect.Name{
		ackRevision: "revision", ackError: "error", ackDuration: "duration_ns", ackAge: "age_ns", ackPreviousAcks: "previous_acks",
	} {
		require.Equal(t, name, fields.ByNumber(number).Name())
	}
}

// A stream does not retain the texts and digests of messages.
func TestServerStreamReleasesMessages(t *testing.T) {
	long := &kpng.Ack{Revision: 2, Error: strings.Repeat("x", MaxErrorText)}
	for range maxAcksPerMessage {
		long.PreviousAcks = append(long.PreviousAcks, &kpng.Ack{Error: long.GetError()})
	}
	s := ServerStream{Stream: newFakeStream(t,
		&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: long}},
		&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_HeldDigests{HeldDigests: &kpng.HeldDigests{Digests: make([]uint64, 1000), Last: true}}},
	)}
	for range maxAcksPerMessage + 1 {
		m, err := s.Receive()
		require.NoError(t, err)
		require.Equal(t, long.GetError(), m.Ack.Error)
	}
	m, err := s.Receive()
	require.NoError(t, err)
	require.Len(t, m.Held, 1000)
	_, err = s.Receive()
	require.ErrorIs(t, err, io.EOF)
	require.Nil(t, s.request.held)
	for _, a := range s.request.acks[:cap(s.request.acks)] {
		require.Zero(t, a)
	}
}

func TestDecodingSuccessfulAcksDoesNotAllocate(t *testing.T) {
	ack := &kpng.Ack{Revision: 1, PreviousAcks: make([]*kpng.Ack, 1<<18)}
	ack.ProtoReflect().SetUnknown([]byte("\xf2\x3f\x05hello"))
	b, err := proto.Marshal(&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: ack}})
	require.NoError(t, err)
	require.Greater(t, len(b), 1<<19)
	var m clientMessage
	require.Zero(t, testing.AllocsPerRun(10, func() { err = m.DecodeFrame(b) }))
	require.NoError(t, err)
	require.Len(t, m.acks, maxAcksPerMessage+1)
}

func newFakeStream(t *testing.T, messages ...proto.Message) *fakeStream {
	s := &fakeStream{}
	for _, m := range messages {
		b, err := proto.Marshal(m)
		require.NoError(t, err)
		s.messages = append(s.messages, b)
	}
	return s
}

// A fakeStream receives prepared messages and then io.EOF.
type fakeStream struct{ messages [][]byte }

func (s *fakeStream) RecvMsg(m any) error {
	if len(s.messages) == 0 {
		return io.EOF
	}
	b := s.messages[0]
	s.messages = s.messages[1:]
	return m.(codec.Decoder).DecodeFrame(b)
}

func (s *fakeStream) SendMsg(any) error        { return nil }
func (s *fakeStream) Context() context.Context { return context.Background() }
