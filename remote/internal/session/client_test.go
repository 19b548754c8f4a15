// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
)

// A response is a message of the server.
type response struct{ welcome *kpng.Welcome }

func (r response) GetWelcome() *kpng.Welcome { return r.welcome }
func (r response) GetCommit() *kpng.Commit   { return nil }

// An endingStream has ended after some messages. Send accepts as many requests.
type endingStream struct {
	accepted  int
	sendErr   error
	responses []response
	err       error
}

func (s *endingStream) Send(any) error {
	if s.accepted == 0 {
		return s.sendErr
	}
	s.accepted--
	return nil
}

func (s *endingStream) Recv() (response, error) {
	if len(s.responses) == 0 {
		return response{}, s.err
	}
	r := s.responses[0]
	s.responses = s.responses[1:]
	return r, nil
}

// An emptyState holds one item, so that the client sends digests on request.
type emptyState struct{}

func (emptyState) HeldXor() (xor uint64, count uint32) { return 1, 1 }
func (emptyState) HeldDigests() []uint64               { return []uint64{1} }
func (emptyState) StartStream(bool)                    {}
func (emptyState) Apply(response) error                { return nil }
func (emptyState) Invalidate()                         {}

// TestStreamEndsWhileClientSends: the error is the reason of the server, also if it has sent messages before
// that the client has not received.
func TestStreamEndsWhileClientSends(t *testing.T) {
	reason, broken := errors.New("reason"), errors.New("broken")
	welcome := response{&kpng.Welcome{SendDigests: true}}
	for _, stream := range []*endingStream{
		{accepted: 0, sendErr: io.EOF, err: reason},
		{accepted: 0, sendErr: io.EOF, responses: []response{welcome, {}}, err: reason},
		{accepted: 1, sendErr: io.EOF, responses: []response{welcome}, err: reason},
		{accepted: 1, sendErr: io.EOF, responses: []response{welcome, {}, {}}, err: reason},
		{accepted: 1, sendErr: broken, responses: []response{welcome, {}}, err: reason},
	} {
		c := &Client[any, response]{
			Servers: []grpc.ClientConnInterface{nil}, State: emptyState{}, Logger: slog.New(slog.DiscardHandler),
			Open:  func(context.Context, grpc.ClientConnInterface) (Stream[any, response], error) { return stream, nil },
			Hello: func(h *kpng.Hello) any { return h }, Held: func(h *kpng.HeldDigests) any { return h },
		}
		want := reason
		if stream.sendErr != io.EOF { //nolint:errorlint // as it is
			want = stream.sendErr
		}
		_, err := c.watch(t.Context(), 0, welcomeTimeout, nil)
		require.ErrorIs(t, err, want)
	}
}
