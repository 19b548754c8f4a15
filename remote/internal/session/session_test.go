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
	"testing/synctest"
	"time"
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

// TestRetry: all servers in turn, then a pause that grows until one has been of use for a
// while. After one that was of use there is a pause too: it may end as soon each time.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var asked []int
		limit, round, ended := minRetry, 0, time.Now()
		Retry{Max: 10 * time.Second, Servers: 3}.Run(ctx, func(server int) bool {
			asked = append(asked, server)
			if pause := time.Since(ended); round == 3 {
				require.GreaterOrEqual(t, pause, limit/2)
				require.LessOrEqual(t, pause, limit)
				limit, round = min(2*limit, 10*time.Second), 0
			} else {
				require.Zero(t, pause, "the next one at once")
			}
			useful := false
			switch round++; len(asked) {
			case 10: // of use, and gone
				useful, round = true, 3
			case 31: // of use for a while
				useful, round, limit = true, 3, minRetry
				time.Sleep(minStable)
			case 40:
				cancel()
			}
			ended = time.Now()
			return useful
		})
		require.Equal(t, 8*minRetry, limit, "it grew, was short again, and grew")
		for i := range asked {
			require.Equal(t, (asked[0]+i)%3, asked[i])
		}
	})
}

// TestRetryEnds in the middle of a pause.
func TestRetryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		began := time.Now()
		Retry{Max: time.Hour, Servers: 1}.Run(ctx, func(int) bool { return false })
		require.Equal(t, 10*time.Millisecond, time.Since(began))
	})
}

// TestStatus: every end has a code that says whose fault it was.
func TestStatus(t *testing.T) {
	for err, want := range map[error]codes.Code{
		nil: codes.OK, io.EOF: codes.OK, context.Canceled: codes.Unavailable, context.DeadlineExceeded: codes.DeadlineExceeded,
		ErrExpired: codes.Unauthenticated, fanout.ErrNotRead: codes.ResourceExhausted, fanout.ErrNotAcknowledged: codes.ResourceExhausted,
		fanout.ErrHeldTooMuch: codes.ResourceExhausted, fanout.ErrNotSaid: codes.DeadlineExceeded, fanout.ErrUnexpected: codes.InvalidArgument,
		status.Error(codes.PermissionDenied, "no"): codes.PermissionDenied, errors.New("else"): codes.Unknown,
	} {
		require.Equal(t, want, status.Code(StatusError(err)), "%v", err)
		if err != nil {
			require.Equal(t, want, status.Code(StatusError(fmt.Errorf("wrapped: %w", err))), "%v", err)
		}
	}
}

// TestTextsArePutToSize, and stay UTF-8.
func TestTextsArePutToSize(t *testing.T) {
	long := strings.Repeat("ü", 1000)
	for n := range 10 {
		cut := Truncate(long, 100+n)
		require.LessOrEqual(t, len(cut), 100+n)
		require.GreaterOrEqual(t, len(cut), 99+n-1)
		require.True(t, utf8.ValidString(cut))
	}
	require.Equal(t, "as it is", Truncate("as it is", 8))
}

// TestOutage: each server and each reason is told once until a server is heard.
func TestOutage(t *testing.T) {
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
	o.restored(t.Context(), "a") // there was none
	for range 3 {
		o.lost(t.Context(), "a", gone)
		o.lost(t.Context(), "b", gone)
	}
	o.lost(t.Context(), "a", status.Error(codes.Unavailable, "gone for a while"))
	o.lost(t.Context(), "a", status.Error(codes.PermissionDenied, "no"))
	o.lost(t.Context(), "b", errors.New("nonsense"))
	o.lost(t.Context(), "b", errors.New("nonsense"))
	o.lost(t.Context(), "b", errors.New("more nonsense"))
	o.restored(t.Context(), "b")
	o.restored(t.Context(), "b")
	o.lost(t.Context(), "a", gone)
	require.Equal(t, `level=WARN msg=Lost server=a err="rpc error: code = Unavailable desc = gone"
level=WARN msg=Lost server=b err="rpc error: code = Unavailable desc = gone"
level=WARN msg=Lost server=a err="rpc error: code = PermissionDenied desc = no"
level=WARN msg=Lost server=b err=nonsense
level=WARN msg=Lost server=b err="more nonsense"
level=INFO msg="Hears a server again" server=b
level=WARN msg=Lost server=a err="rpc error: code = Unavailable desc = gone"
`, log.String())
}

// namedConn is a connection that knows where it leads.
type namedConn struct{ grpc.ClientConnInterface }

func (namedConn) Target() string { return "there:1" }

func TestServersHaveNames(t *testing.T) {
	servers := []grpc.ClientConnInterface{namedConn{}, struct{ grpc.ClientConnInterface }{}}
	require.Equal(t, "there:1", serverName(servers, 0))
	require.Equal(t, "number 2", serverName(servers, 1))
}

// TestFieldsAreThoseOfAllProtocols: what clients say is decoded by number.
func TestFieldsAreThoseOfAllProtocols(t *testing.T) {
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

// TestLittleIsKeptOfWhatWasSaid: neither texts nor digests stay with a stream.
func TestLittleIsKeptOfWhatWasSaid(t *testing.T) {
	long := &kpng.Ack{Revision: 2, Error: strings.Repeat("x", maxErrorText)}
	for range maxAcksPerMessage {
		long.PreviousAcks = append(long.PreviousAcks, &kpng.Ack{Error: long.Error})
	}
	w := ServerStream{Stream: newFakeStream(t,
		&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: long}},
		&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_HeldDigests{HeldDigests: &kpng.HeldDigests{Digests: make([]uint64, 1000), Last: true}}},
	)}
	for range maxAcksPerMessage + 1 {
		m, err := w.Receive()
		require.NoError(t, err)
		require.Equal(t, long.Error, m.Ack.Error)
	}
	m, err := w.Receive()
	require.NoError(t, err)
	require.Len(t, m.Held, 1000)
	_, err = w.Receive()
	require.ErrorIs(t, err, io.EOF)
	require.Nil(t, w.request.held)
	for _, a := range w.request.acks[:cap(w.request.acks)] {
		require.Zero(t, a)
	}
}

// TestAcknowledgementsLeaveNoGarbage: whatever is in them, as long as they are of success.
func TestAcknowledgementsLeaveNoGarbage(t *testing.T) {
	ack := &kpng.Ack{Revision: 1, PreviousAcks: make([]*kpng.Ack, 1<<18)}
	ack.ProtoReflect().SetUnknown([]byte("\xf2\x3f\x05hello"))
	b, err := proto.Marshal(&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: ack}})
	require.NoError(t, err)
	require.Greater(t, len(b), 1<<19)
	var h clientMessage
	require.Zero(t, testing.AllocsPerRun(10, func() { err = h.DecodeFrame(b) }))
	require.NoError(t, err)
	require.Len(t, h.acks, maxAcksPerMessage+1)
}

// newFakeStream returns a stream on which a client says all of it.
func newFakeStream(t *testing.T, all ...proto.Message) *fakeStream {
	s := &fakeStream{}
	for _, m := range all {
		b, err := proto.Marshal(m)
		require.NoError(t, err)
		s.messages = append(s.messages, b)
	}
	return s
}

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
