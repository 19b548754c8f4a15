// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// describe returns a gRPC error in words for operators, and any other error as it is.
func describe(err error) error {
	s, ok := status.FromError(err)
	if !ok || s.Code() == codes.OK {
		return err
	}
	switch s.Code() {
	case codes.Unavailable:
		return fmt.Errorf("the server cannot be reached or is not ready: %s%s", s.Message(), tlsHint(s.Message()))
	case codes.Unauthenticated:
		return fmt.Errorf("the server could not authenticate this client: %s", s.Message())
	case codes.PermissionDenied:
		return fmt.Errorf("not allowed: %s", s.Message())
	case codes.DeadlineExceeded:
		return errors.New("the server did not answer in time")
	case codes.Unimplemented:
		return fmt.Errorf("the server has no inspection service, or an older one: %s", s.Message())
	}
	return errors.New(s.Message())
}

// tlsHint returns the flag of kpng that a failed handshake suggests.
func tlsHint(message string) string {
	switch {
	case strings.Contains(message, "certificate required"):
		return " (the server requires a client certificate: set --cert and --key)"
	case strings.Contains(message, "signed by unknown authority"):
		return " (set --ca to the CA of the server certificate)"
	case strings.Contains(message, "error reading server preface"), closedEarly(message):
		return " (if the server uses TLS, set --ca; if it requires a client certificate, also --cert and --key)"
	case strings.Contains(message, "first record does not look like a TLS handshake"):
		return " (the server does not use TLS; --insecure connects without)"
	}
	return ""
}

// closedEarly reports whether the server closed the connection without a response. With
// TLS 1.3 a client gets the error that it lacks a certificate only after its handshake, and its next
// write may fail before it reads the reason.
func closedEarly(message string) bool {
	return strings.Contains(message, "broken pipe") || strings.Contains(message, "connection reset by peer")
}

func isUnavailable(err error) bool { return status.Code(err) == codes.Unavailable }
