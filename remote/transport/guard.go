// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// A Guard authenticates every call of a server. A call reaches its handler when the peer
// has an identity; the handler can send only after [Allow] returned nil. When the
// credential of the peer expires, the context of the call ends, and the call ends with
// Unauthenticated as soon as its handler returns.
type Guard struct {
	// Authenticate returns the identity of a peer. nil rejects all peers.
	Authenticate Authenticator
	// Authorize decides what an identity may do. nil denies everything.
	Authorize Authorizer
	// OpenMethods lists services ("grpc.health.v1.Health") and methods
	// ("/grpc.health.v1.Health/Check") that need no identity.
	OpenMethods []string
	// Calls bound the rate of calls of one identity.
	Calls CallLimits
	// Logger receives rejected calls, once in ten minutes for each peer and reason, with the
	// number of suppressed lines. nil is silent.
	Logger *slog.Logger

	rejections  *rejectionLog
	rates       *callRates
	connections *connections // of the listener; nil if it is unknown
}

// ServerOptions returns the interceptors of the guard. The limits of authenticated and
// unauthenticated connections of listener apply from now on, before it accepts connections.
// listener is nil if the server uses another one, which then has no such limits.
func (g Guard) ServerOptions(listener *Listener) []grpc.ServerOption {
	serving := g
	serving.Logger, serving.rejections = silentIfNil(g.Logger), newRejectionLog(g.Logger)
	serving.rates = newCallRates(g.Calls)
	if listener != nil {
		serving.connections = listener.connections
		listener.connections.guarded.Store(true) // their limits apply
	}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(serving.unary), grpc.ChainStreamInterceptor(serving.stream)}
}

// Allow returns nil when the peer of a call is permitted to do access, and otherwise the
// error that the call must end with. ctx is the context of the call. Without a [Guard]
// nothing is permitted.
func Allow(ctx context.Context, access Access) error {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return errUnauthenticated("the server does not authenticate its peers")
	}
	if err := c.authorize(ctx, c.identity, access); err != nil {
		return err
	}
	if c.conn != nil {
		if err := c.conn.all.authenticate(c.conn, c.identity); err != nil {
			return err
		}
	}
	c.allowed.Store(true)
	return nil
}

// PeerIdentity returns the identity of the peer of a call. ctx is the context of the call.
// There is none without a [Guard] and in calls of [Guard.OpenMethods].
func PeerIdentity(ctx context.Context) (Identity, bool) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c.identity, true
	}
	return Identity{}, false
}

type callKey struct{}

// A call is an authenticated call.
type call struct {
	identity  Identity
	authorize Authorizer
	conn      *peerConn // nil if it is unknown
	expired   error     // cause of the context when the credential expires
	allowed   atomic.Bool
	blocked   atomic.Bool // the handler tried to send before Allow returned nil
}

// admit authenticates a call and ends its context when the credential expires.
func (g Guard) admit(ctx context.Context) (context.Context, *call, context.CancelFunc, error) {
	conn, from := g.connection(ctx)
	if !conn.startCall(false) {
		return nil, nil, nil, errUnauthenticated("too many calls without permission")
	}
	identity, err := g.authenticate(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if wait := g.rates.take(keyOf(identity, from)); wait > 0 {
		conn.limitedCall()
		err := errTooManyCalls(identity.Name, wait)
		g.rejections.log(ctx, from, identity.Name, "calls", err)
		return nil, nil, nil, err
	}
	c := &call{identity: identity, authorize: g.Authorize, conn: conn,
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

// connection returns the connection of a call, or nil if it is unknown, and its remote
// address.
func (g Guard) connection(ctx context.Context) (*peerConn, net.Addr) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, nil
	}
	return g.connections.of(p.Addr), p.Addr
}

// admitOpen counts a call that needs no identity.
func (g Guard) admitOpen(ctx context.Context) error {
	if conn, _ := g.connection(ctx); !conn.startCall(true) {
		return errUnauthenticated("too many calls without permission")
	}
	return nil
}

func (g Guard) authenticate(ctx context.Context) (Identity, error) {
	if g.Authenticate == nil {
		return Identity{}, errUnauthenticated("the server accepts no peers")
	}
	identity, err := g.Authenticate(ctx)
	if errors.Is(err, ErrNoCredentials) {
		return Identity{}, errUnauthenticated("no credentials that the server accepts")
	}
	if err != nil && status.Code(err) == codes.Unknown { // an internal error, which the peer must not see
		g.Logger.WarnContext(ctx, "Authentication failed", "err", err)
		return Identity{}, status.Error(codes.Unavailable, "authentication is not possible now")
	}
	return identity, err
}

// result returns the error that a call ends with.
func (c *call) result(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), c.expired) {
		return c.expired
	}
	if err == nil || c.blocked.Load() { // a handler may replace the error of SendMsg by its own
		if refused := c.checkAllowed(); refused != nil {
			return refused
		}
	}
	return err
}

// checkAllowed returns an error until Allow has returned nil for the call.
func (c *call) checkAllowed() error {
	if !c.allowed.Load() {
		c.blocked.Store(true)
		return status.Errorf(codes.PermissionDenied, "%q has no permission for this call", c.identity.Name)
	}
	return nil
}

func (g Guard) isOpen(method string) bool {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return slices.Contains(g.OpenMethods, method) || slices.Contains(g.OpenMethods, service)
}

func (g Guard) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if g.isOpen(info.FullMethod) {
		if err := g.admitOpen(ctx); err != nil {
			return nil, err
		}
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
		if err := g.admitOpen(stream.Context()); err != nil {
			return err
		}
		return handler(server, stream)
	}
	ctx, c, cancel, err := g.admit(stream.Context())
	if err != nil {
		return g.finish(stream.Context(), nil, info.FullMethod, err)
	}
	defer cancel()
	return g.finish(ctx, c, info.FullMethod, c.result(ctx, handler(server, &guarded{ServerStream: stream, ctx: ctx, call: c})))
}

// finish returns the error that a call ends with, and logs it when the peer caused it. c is
// nil when the call was not authenticated.
func (g Guard) finish(ctx context.Context, c *call, method string, err error) error {
	switch code := status.Code(err); code {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument:
		g.connections.countRejected(code)
	case codes.ResourceExhausted:
		if c == nil {
			g.connections.countRejected(code)
		}
		return err
	default:
		return err
	}
	identity := ""
	if c != nil {
		if errors.Is(context.Cause(ctx), c.expired) {
			return err // not an attack: the peer reconnects with a new credential
		}
		identity = c.identity.Name
	}
	if p, ok := peer.FromContext(ctx); ok {
		g.rejections.log(ctx, p.Addr, identity, method, err)
	}
	return err
}

// A guarded stream rejects messages before Allow has returned nil, and after the credential
// of the peer has expired.
type guarded struct {
	grpc.ServerStream
	ctx  context.Context
	call *call
}

func (s *guarded) Context() context.Context { return s.ctx }

func (s *guarded) SendMsg(m any) error {
	if errors.Is(context.Cause(s.ctx), s.call.expired) {
		return s.call.expired
	}
	if err := s.call.checkAllowed(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}
