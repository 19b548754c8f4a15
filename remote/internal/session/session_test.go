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
				time.Sleep(settled)
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
		require.Equal(t, want, status.Code(Status(err)), "%v", err)
		if err != nil {
			require.Equal(t, want, status.Code(Status(fmt.Errorf("wrapped: %w", err))), "%v", err)
		}
	}
}

// TestTextsArePutToSize, and stay UTF-8.
func TestTextsArePutToSize(t *testing.T) {
	long := strings.Repeat("ü", 1000)
	for n := range 10 {
		cut := Cut(long, 100+n)
		require.LessOrEqual(t, len(cut), 100+n)
		require.GreaterOrEqual(t, len(cut), 99+n-1)
		require.True(t, utf8.ValidString(cut))
	}
	require.Equal(t, "as it is", Cut("as it is", 8))
}

// TestOutage: each server and each reason is told once until a server is heard.
func TestOutage(t *testing.T) {
	var log strings.Builder
	o := outage{lost: "Lost", logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))}
	gone := status.Error(codes.Unavailable, "gone")
	o.end(t.Context(), "a") // there was none
	for range 3 {
		o.begin(t.Context(), "a", gone)
		o.begin(t.Context(), "b", gone)
	}
	o.begin(t.Context(), "a", status.Error(codes.Unavailable, "gone for a while"))
	o.begin(t.Context(), "a", status.Error(codes.PermissionDenied, "no"))
	o.begin(t.Context(), "b", errors.New("nonsense"))
	o.begin(t.Context(), "b", errors.New("nonsense"))
	o.begin(t.Context(), "b", errors.New("more nonsense"))
	o.end(t.Context(), "b")
	o.end(t.Context(), "b")
	o.begin(t.Context(), "a", gone)
	require.Equal(t, `level=WARN msg=Lost server=a err="rpc error: code = Unavailable desc = gone"
level=WARN msg=Lost server=b err="rpc error: code = Unavailable desc = gone"
level=WARN msg=Lost server=a err="rpc error: code = PermissionDenied desc = no"
level=WARN msg=Lost server=b err=nonsense
level=WARN msg=Lost server=b err="more nonsense"
level=INFO msg="Hears a server again" server=b
level=WARN msg=Lost server=a err="rpc error: code = Unavailable desc = gone"
`, log.String())
}

// dialled is a connection that knows where it leads.
type dialled struct{ grpc.ClientConnInterface }

func (dialled) Target() string { return "there:1" }

func TestServersHaveNames(t *testing.T) {
	servers := []grpc.ClientConnInterface{dialled{}, struct{ grpc.ClientConnInterface }{}}
	require.Equal(t, "there:1", name(servers, 0))
	require.Equal(t, "number 2", name(servers, 1))
}

// TestFieldsAreThoseOfAllProtocols: what clients say is decoded by number.
func TestFieldsAreThoseOfAllProtocols(t *testing.T) {
	for _, m := range []proto.Message{&kpng.WatchNodeRequest{}, &kpng.WatchClusterRequest{}} {
		fields := m.ProtoReflect().Descriptor().Fields()
		require.Equal(t, 3, fields.Len())
		for number, name := range map[protowire.Number]protoreflect.Name{fieldHello: "hello", fieldHeld: "held_digests", fieldAck: "ack"} {
			require.Equal(t, name, fields.ByNumber(number).Name())
		}
	}
	fields := (&kpng.Ack{}).ProtoReflect().Descriptor().Fields()
	require.Equal(t, 5, fields.Len())
	for number, name := range map[protowire.Number]protoreflect.Name{
		ackRevision: "revision", ackError: "error", ackDuration: "duration_ns", ackAge: "age_ns", ackEarlier: "previous_acks",
	} {
		require.Equal(t, name, fields.ByNumber(number).Name())
	}
}

// TestLittleIsKeptOfWhatWasSaid: neither texts nor digests stay with a stream.
func TestLittleIsKeptOfWhatWasSaid(t *testing.T) {
	long := &kpng.Ack{Revision: 2, Error: strings.Repeat("x", maxErrorText)}
	for range maxTogether {
		long.PreviousAcks = append(long.PreviousAcks, &kpng.Ack{Error: long.Error})
	}
	w := Words{Stream: says(t,
		&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: long}},
		&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_HeldDigests{HeldDigests: &kpng.HeldDigests{Digests: make([]uint64, 1000), Last: true}}},
	)}
	for range maxTogether + 1 {
		m, err := w.Receive()
		require.NoError(t, err)
		require.Equal(t, long.Error, m.Ack.Error)
	}
	m, err := w.Receive()
	require.NoError(t, err)
	require.Len(t, m.Held, 1000)
	_, err = w.Receive()
	require.ErrorIs(t, err, io.EOF)
	require.Nil(t, w.heard.held)
	for _, a := range w.heard.acks[:cap(w.heard.acks)] {
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
	var h heard
	require.Zero(t, testing.AllocsPerRun(10, func() { err = h.DecodeFrame(b) }))
	require.NoError(t, err)
	require.Len(t, h.acks, maxTogether+1)
}

// says returns a stream on which a client says all of it.
func says(t *testing.T, all ...proto.Message) *script {
	s := &script{}
	for _, m := range all {
		b, err := proto.Marshal(m)
		require.NoError(t, err)
		s.messages = append(s.messages, b)
	}
	return s
}

type script struct{ messages [][]byte }

func (s *script) RecvMsg(m any) error {
	if len(s.messages) == 0 {
		return io.EOF
	}
	b := s.messages[0]
	s.messages = s.messages[1:]
	return m.(codec.Decoder).DecodeFrame(b)
}

func (s *script) SendMsg(any) error        { return nil }
func (s *script) Context() context.Context { return context.Background() }
