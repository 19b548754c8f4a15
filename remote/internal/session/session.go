// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package session implements both ends of session.proto: how a stream starts, resumes,
// acknowledges and is retried. It does not depend on the content of updates, which the
// packages remote/node and remote/cluster define.
//
// Files: client.go, connect.go, retry.go, rebalance.go, outage.go and acks.go are the client;
// server.go and decode.go adapt a gRPC stream to package fanout, which schedules what is sent.
//
// A [Client] is in one of four states. It keeps the committed items in all of them.
//
//	state       entered by                        left by
//	connecting  Run, or a lost stream after a     Welcome -> receiving; error or no Welcome
//	            pause (see Retry)                 within 10 s -> lost
//	receiving   Welcome; HeldDigests are sent     first Commit -> synced, OnSynced(true);
//	            if Welcome asks for them          end of stream or invalid message -> lost
//	synced      first Commit of the stream        end of stream, invalid message, or a
//	                                              preferred server is available -> lost,
//	                                              OnSynced(false)
//	lost        any of the above                  next server -> connecting; end of ctx
//	                                              ends Run
//
// An invalid message also invalidates the digests, so that the next stream starts with a
// full sync.
package session

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/fanout"
)

// ErrExpired ends a stream when the authorization of its client expires.
var ErrExpired = errors.New("session: authorization expired; reconnect with new credentials")

// CommonCapabilities returns the capabilities that both a client and a server have.
func CommonCapabilities(client, server []kpng.Capability) (common []kpng.Capability) {
	for _, c := range server {
		if slices.Contains(client, c) {
			common = append(common, c)
		}
	}
	return common
}

// Peer converts a hello, limited to the common capabilities.
func Peer(h *kpng.Hello, common []kpng.Capability) fanout.Peer {
	has := func(c kpng.Capability) bool { return slices.Contains(common, c) }
	return fanout.Peer{
		Deltas:       has(kpng.Capability_CAPABILITY_DELTAS),
		Resumes:      has(kpng.Capability_CAPABILITY_RESUME),
		Acknowledges: has(kpng.Capability_CAPABILITY_ACKNOWLEDGE),
		HeldXor:      h.GetHeldDigestsXor(),
		HeldCount:    int(h.GetHeldCount()),
	}
}

// MaxErrorText is the maximum length of the error text of an acknowledgement, in bytes.
const MaxErrorText = 1024

// Truncate returns the first size bytes of text, without an incomplete rune at the end. The
// result is a copy, so that a long text of a client does not stay in memory.
func Truncate(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return strings.Clone(strings.ToValidUTF8(text[:size], ""))
}

// StatusError returns the gRPC status error for the end of a stream; nil for nil and
// io.EOF.
func StatusError(err error) error {
	code := codes.Unknown
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Unavailable, "server stopping or client disconnected")
	case errors.Is(err, ErrExpired):
		code = codes.Unauthenticated
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, fanout.ErrSendTimeout), errors.Is(err, fanout.ErrAckTimeout), errors.Is(err, fanout.ErrTooManyDigests):
		code = codes.ResourceExhausted
	case errors.Is(err, fanout.ErrDigestsTimeout):
		code = codes.DeadlineExceeded
	case errors.Is(err, fanout.ErrUnexpectedMessage):
		code = codes.InvalidArgument
	default:
		if _, ok := status.FromError(err); ok {
			return err
		}
	}
	return status.Error(code, err.Error())
}
