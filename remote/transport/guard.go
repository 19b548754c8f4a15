// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// A Guard stands before the services of a server. A call is let in if the peer is
// known, and gets nothing from its handler before that has asked [Allow]. When the
// peer's credential expires, the context of the call is done, and the call ends with
// Unauthenticated as soon as its handler returns.
type Guard struct {
	// Authenticate says who a peer is. nil knows nobody.
	Authenticate Authenticator
	// Authorize says what it may do. nil allows nothing.
	Authorize Authorizer
	// OpenMethods lists services ("grpc.health.v1.Health") and methods
	// ("/grpc.health.v1.Health/Check") that everybody may call.
	OpenMethods []string
	// Logger is told who was turned away: at level warn each peer once in ten minutes for
	// the same reason, and at level debug again. nil is silent.
	Logger *slog.Logger

	rejections *rejectionLog
}

// ServerOptions returns what makes a server heed the guard.
func (g Guard) ServerOptions() []grpc.ServerOption {
	g.Logger, g.rejections = silentIfNil(g.Logger), newRejectionLog(g.Logger)
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(g.unary), grpc.ChainStreamInterceptor(g.stream)}
}

// Allow returns nil if the peer of a call may have an access, and else the error to
// end the call with; ctx is that of the call. Without a guard nobody may have any.
func Allow(ctx context.Context, access Access) error {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return errUnauthenticated("the server does not ask who its peers are")
	}
	if err := c.authorize(ctx, c.identity, access); err != nil {
		return err
	}
	c.allowed.Store(true)
	return nil
}

// PeerIdentity returns who the peer of a call is; ctx is that of the call. There is
// none without a guard, and in what the guard holds open.
func PeerIdentity(ctx context.Context) (Identity, bool) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c.identity, true
	}
	return Identity{}, false
}

type callKey struct{}

// A call was let in.
type call struct {
	identity  Identity
	authorize Authorizer
	expired   error // the cause of the end of its context when the credential expires
	allowed   atomic.Bool
	blocked  atomic.Bool // something was sent before anything was allowed
}

// admit lets a call in, and bounds its context by its peer's credential.
func (g Guard) admit(ctx context.Context) (context.Context, *call, context.CancelFunc, error) {
	identity, err := g.authenticate(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	c := &call{identity: identity, authorize: g.Authorize,
		expired: errUnauthenticated("the credential of %q has expired", identity.Name)}
	if c.authorize == nil {
		c.authorize = denyEverything
	}
	if identity.expired(time.Now()) {
		return nil, nil, nil, c.expired
	}
	ctx, cancel := context.WithValue(ctx, callKey{}, c), context.CancelFunc(func() {})
	if !identity.Expires.IsZero() {
		ctx, cancel = context.WithDeadlineCause(ctx, identity.Expires, c.expired)
	}
	return ctx, c, cancel, nil
}

func (g Guard) authenticate(ctx context.Context) (Identity, error) {
	if g.Authenticate == nil {
		return Identity{}, errUnauthenticated("nobody is known here")
	}
	identity, err := g.Authenticate(ctx)
	if errors.Is(err, ErrNoCredentials) {
		return Identity{}, errUnauthenticated("the peer shows no credentials that are accepted here")
	}
	if err != nil && status.Code(err) == codes.Unknown { // not for the peer
		g.Logger.WarnContext(ctx, "cannot authenticate", "err", err)
		return Identity{}, status.Error(codes.Unavailable, "the peer cannot be authenticated now")
	}
	return identity, err
}

// result returns what a call ends with.
func (c *call) result(ctx context.Context, err error) error {
	if context.Cause(ctx) == c.expired {
		return c.expired
	}
	if err == nil || c.blocked.Load() { // handlers may call what SendMsg said something else
		if refused := c.checkAllowed(); refused != nil {
			return refused
		}
	}
	return err
}

// checkAllowed keeps what no access was asked for from the peer.
func (c *call) checkAllowed() error {
	if !c.allowed.Load() {
		c.blocked.Store(true)
		return status.Errorf(codes.PermissionDenied, "%q was allowed nothing here", c.identity.Name)
	}
	return nil
}

func (g Guard) isOpen(method string) bool {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return slices.Contains(g.OpenMethods, method) || slices.Contains(g.OpenMethods, service)
}

func (g Guard) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if g.isOpen(info.FullMethod) {
		return handler(ctx, request)
	}
	inner, c, cancel, err := g.admit(ctx)
	if err != nil {
		return nil, g.finish(ctx, nil, info.FullMethod, err)
	}
	defer cancel()
	response, err := handler(inner, request)
	if err = c.result(inner, err); err != nil {
		return nil, g.finish(inner, c, info.FullMethod, err)
	}
	return response, nil
}

func (g Guard) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if g.isOpen(info.FullMethod) {
		return handler(server, stream)
	}
	ctx, c, cancel, err := g.admit(stream.Context())
	if err != nil {
		return g.finish(stream.Context(), nil, info.FullMethod, err)
	}
	defer cancel()
	return g.finish(ctx, c, info.FullMethod, c.result(ctx, handler(server, &guarded{ServerStream: stream, ctx: ctx, call: c})))
}

// finish returns what a call ends with, and tells operators if it is the peer's fault. c is
// nil if it was not let in.
func (g Guard) finish(ctx context.Context, c *call, method string, err error) error {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument:
	default:
		return err
	}
	identity := ""
	if c != nil {
		if context.Cause(ctx) == c.expired {
			return err // the peer comes back with a new credential
		}
		identity = c.identity.Name
	}
	if p, ok := peer.FromContext(ctx); ok {
		g.rejections.log(ctx, p.Addr, identity, method, err)
	}
	return err
}

// A guarded stream ends with its peer's credential, and sends nothing unasked.
type guarded struct {
	grpc.ServerStream
	ctx  context.Context
	call *call
}

func (s *guarded) Context() context.Context { return s.ctx }

func (s *guarded) SendMsg(m any) error {
	if context.Cause(s.ctx) == s.call.expired {
		return s.call.expired
	}
	if err := s.call.checkAllowed(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}
