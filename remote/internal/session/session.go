// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package session translates between the words of session.proto and those of package
// fanout; it knows neither Services nor facts.
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

// ErrExpired ends a stream whose peer's permission has ended.
var ErrExpired = errors.New("session: the permission to watch has expired; authenticate anew")

// CommonCapabilities returns the capabilities that both a client and a server have.
func CommonCapabilities(client, server []kpng.Capability) (out []kpng.Capability) {
	for _, c := range server {
		if slices.Contains(client, c) {
			out = append(out, c)
		}
	}
	return out
}

// Peer returns what a client's hello says, as far as both sides understand it.
func Peer(h *kpng.Hello, common []kpng.Capability) fanout.Peer {
	has := func(c kpng.Capability) bool { return slices.Contains(common, c) }
	return fanout.Peer{
		Diffs:        has(kpng.Capability_CAPABILITY_DELTAS),
		Resumes:      has(kpng.Capability_CAPABILITY_RESUME),
		Acknowledges: has(kpng.Capability_CAPABILITY_ACKNOWLEDGE),
		HeldRoot:     h.GetHeldDigestsXor(),
		HeldCount:    int(h.GetHeldCount()),
	}
}

// maxErrorText bounds what is kept of a peer's error.
const maxErrorText = 1024

// Truncate returns the beginning of a peer's text, in memory of its own: nobody may fill a
// server's memory with what it calls itself.
func Truncate(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return strings.Clone(strings.ToValidUTF8(text[:size], ""))
}

// StatusError returns the error of gRPC for the end of a stream.
func StatusError(err error) error {
	code := codes.Unknown
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Unavailable, "the server is about to stop, or the client has gone")
	case errors.Is(err, ErrExpired):
		code = codes.Unauthenticated
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, fanout.ErrNotRead), errors.Is(err, fanout.ErrNotAcknowledged), errors.Is(err, fanout.ErrHeldTooMuch):
		code = codes.ResourceExhausted
	case errors.Is(err, fanout.ErrNotSaid):
		code = codes.DeadlineExceeded
	case errors.Is(err, fanout.ErrUnexpected):
		code = codes.InvalidArgument
	default:
		if _, ok := status.FromError(err); ok {
			return err
		}
	}
	return status.Error(code, err.Error())
}
