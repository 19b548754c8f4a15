// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// guardedServer returns a listener whose server has the method /guarded/Check, which needs a
// permission, beside the health service, which needs none.
func guardedServer(t *testing.T, cfg ListenConfig, guard Guard) *Listener {
	listener, err := Listen(t.Context(), "127.0.0.1:0", cfg)
	require.NoError(t, err)
	guarded := grpc.ServiceDesc{ServiceName: "guarded", Streams: []grpc.StreamDesc{{
		StreamName: "Check", ServerStreams: true,
		Handler: func(_ any, stream grpc.ServerStream) error {
			var request healthpb.HealthCheckRequest
			if err := stream.RecvMsg(&request); err != nil {
				return err
			}
			if err := Allow(stream.Context(), Access{Verb: VerbWatchNode, Node: request.GetService()}); err != nil {
				return err
			}
			return stream.SendMsg(&healthpb.HealthCheckResponse{})
		},
	}}}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, listener, ServeConfig{Guard: guard, Grace: time.Millisecond, Register: func(r grpc.ServiceRegistrar) {
			r.RegisterService(&guarded, nil)
		}})
	}()
	t.Cleanup(func() { cancel(); require.NoError(t, <-served) })
	return listener
}

// checkGuarded calls the method that needs a permission, for node n1.
func checkGuarded(t *testing.T, conn *grpc.ClientConn) error { return checkNode(t, conn, "n1") }

func checkNode(t *testing.T, conn *grpc.ClientConn, node string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/guarded/Check")
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&healthpb.HealthCheckRequest{Service: node}); err == nil {
		_ = stream.CloseSend()
	}
	for err == nil {
		err = stream.RecvMsg(&healthpb.HealthCheckResponse{})
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// awaitStats waits for statistics of a listener.
func awaitStats(t *testing.T, l *Listener, want func(ListenerStats) bool) {
	t.Helper()
	if !assertEventually(func() bool { return want(l.Stats()) }) {
		t.Fatalf("timeout; statistics: %+v", l.Stats())
	}
}

func assertEventually(condition func() bool) bool {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if condition() {
			return true
		}
	}
	return false
}

// A mode is a way in which a server authenticates its peers, with a peer that it accepts and
// one that has no valid credential.
type mode struct {
	server   ListenConfig
	guard    Guard
	client   credentials.TransportCredentials
	attacker *tls.Config // nil for plaintext
	options  []grpc.DialOption
}

func modes(t *testing.T) map[string]mode {
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, nodeName("n1"), inAnHour())
	certificates := load(t, newSecretVolume(t, cert, key, ca.pem).files())
	withoutCert := load(t, Files{CA: newSecretVolume(t, cert, key, ca.pem).files().CA})
	required, err := certificates.Server(ClientCertificateRequired)
	require.NoError(t, err)
	none, err := certificates.Server(ClientCertificateNone)
	require.NoError(t, err)
	tokens, err := NewTokens(func(_ context.Context, token string, audiences []string) (TokenReview, error) {
		return TokenReview{Authenticated: token == "good", Name: "system:node:n1", Groups: []string{"system:nodes"}, Audiences: audiences}, nil
	}, TokensConfig{Audiences: []string{"kpng"}})
	require.NoError(t, err)
	token := t.TempDir() + "/token"
	require.NoError(t, os.WriteFile(token, []byte("good"), 0o600))
	attacker := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	local := Rules{Allow: map[Verb]Subjects{VerbWatchNode: {Names: []string{anonymous}}}}
	return map[string]mode{
		"tokens": {ListenConfig{Credentials: none}, Guard{Authenticate: tokens.Authenticate, Authorize: Rules{}.Authorize},
			withoutCert.Client("kpng.test"), attacker, []grpc.DialOption{grpc.WithPerRPCCredentials(BearerTokenFile(token))}},
		"client certificates": {ListenConfig{Credentials: required}, Guard{Authenticate: AuthenticateCertificate, Authorize: Rules{}.Authorize},
			certificates.Client("kpng.test"), attacker, nil},
		"no authentication": {ListenConfig{}, Guard{Authenticate: AnonymousAuthenticator(""), Authorize: local.Authorize},
			insecure.NewCredentials(), nil, nil},
	}
}

// idle opens a connection as far as it gets without a credential: TCP alone, TLS, or the
// start of HTTP/2.
func (m mode) idle(address string, stage int) (net.Conn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil || stage == 0 {
		return conn, err
	}
	if m.attacker != nil {
		secured := tls.Client(conn, m.attacker)
		if err := secured.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return conn, err
		}
		if err := secured.Handshake(); err != nil {
			return conn, nil //nolint:nilerr // the server has closed it
		}
		conn = secured
	}
	if stage == 2 {
		_, _ = io.WriteString(conn, http2.ClientPreface)
		_ = http2.NewFramer(conn, conn).WriteSettings()
	}
	return conn, nil
}

// A thousand idle connections from the address of an agent, at any stage, neither keep it out
// nor disturb it.
func TestIdleConnectionsDoNotShutOutPeers(t *testing.T) {
	for name, m := range modes(t) {
		t.Run(name, func(t *testing.T) {
			l := guardedServer(t, m.server, m.guard)
			connected := connect(t, l.Addr().String(), m.client, m.options...)
			defer connected.Close()
			require.NoError(t, checkGuarded(t, connected))
			for stage := range 3 {
				for range 350 {
					conn, err := m.idle(l.Addr().String(), stage)
					require.NoError(t, err)
					defer conn.Close()
				}
				late := connect(t, l.Addr().String(), m.client, m.options...)
				defer late.Close()
				begin := time.Now()
				require.NoError(t, checkGuarded(t, late), "stage %d", stage)
				require.Less(t, time.Since(begin), 3*time.Second)
				require.NoError(t, checkGuarded(t, connected))
			}
			// Within seconds, no more than the budget is left.
			awaitStats(t, l, func(s ListenerStats) bool { return s.Unauthenticated <= 50 })
			require.NoError(t, checkGuarded(t, connected))
		})
	}
}

// Health and reflection calls do not prolong the life of a connection, a permitted call does.
func TestOpenCallsDoNotAuthenticate(t *testing.T) {
	for name, m := range modes(t) {
		t.Run(name, func(t *testing.T) {
			m.server.Connections.AuthenticationTimeout = time.Second
			l := guardedServer(t, m.server, m.guard)
			permitted, open := connect(t, l.Addr().String(), m.client, m.options...), connect(t, l.Addr().String(), m.client, m.options...)
			defer permitted.Close()
			defer open.Close()
			watch := func(conn *grpc.ClientConn) grpc.ServerStreamingClient[healthpb.HealthCheckResponse] {
				stream, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
				require.NoError(t, err)
				_, err = stream.Recv()
				require.NoError(t, err)
				return stream
			}
			require.NoError(t, checkGuarded(t, permitted))
			watch(permitted)
			begin := time.Now()
			_, err := watch(open).Recv()
			require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
			require.Less(t, time.Since(begin), 10*time.Second)
			require.Equal(t, uint64(1), l.Stats().Closed[CloseAuthenticationTimeout])
			require.Equal(t, 1, l.Stats().Authenticated)
			require.NoError(t, checkGuarded(t, permitted))
		})
	}
}

// An identity without permission does not leave the budget of unauthenticated peers.
func TestRejectedCallsDoNotAuthenticate(t *testing.T) {
	m := modes(t)["client certificates"]
	l := guardedServer(t, m.server, m.guard)
	conn := connect(t, l.Addr().String(), m.client)
	defer conn.Close()
	for range maxUnauthenticatedCalls {
		require.Equal(t, codes.PermissionDenied, status.Code(checkNode(t, conn, "n2")))
	}
	require.Zero(t, l.Stats().Authenticated)
	require.EqualValues(t, maxUnauthenticatedCalls, l.Stats().Rejected[codes.PermissionDenied])
	require.Error(t, checkNode(t, conn, "n2"))
	awaitStats(t, l, func(s ListenerStats) bool { return s.Closed[CloseUnauthenticatedCalls] == 1 })
}

// requestHeaders returns the encoded headers of a call.
func requestHeaders(encode *hpack.Encoder, path string) {
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		_ = encode.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
}

// Floods of frames end the connection of an unauthenticated peer soon.
func TestUnauthenticatedFloodsAreClosed(t *testing.T) {
	call := func(path string) func(f *http2.Framer, i uint32, block func(string) []byte) error {
		return func(f *http2.Framer, i uint32, block func(string) []byte) error {
			stream := 2*i + 1
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block(path), EndHeaders: true}); err != nil {
				return err
			}
			return f.WriteRSTStream(stream, http2.ErrCodeCancel)
		}
	}
	floods := map[string]func(f *http2.Framer, i uint32, block func(string) []byte) error{
		"pings":                func(f *http2.Framer, _ uint32, _ func(string) []byte) error { return f.WritePing(false, [8]byte{}) },
		"acknowledged pings":   func(f *http2.Framer, _ uint32, _ func(string) []byte) error { return f.WritePing(true, [8]byte{1}) },
		"settings":             func(f *http2.Framer, _ uint32, _ func(string) []byte) error { return f.WriteSettings() },
		"window updates":       func(f *http2.Framer, _ uint32, _ func(string) []byte) error { return f.WriteWindowUpdate(0, 1) },
		"cancelled calls":      call("/guarded/Check"),
		"cancelled open calls": call("/grpc.health.v1.Health/Check"),
		"unknown methods":      call("/other/Method"),
	}
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			m := modes(t)["tokens"]
			l := guardedServer(t, m.server, m.guard)
			conn, err := m.idle(l.Addr().String(), 2)
			require.NoError(t, err)
			defer conn.Close()
			go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with conn
			var buffer strings.Builder
			encoder := hpack.NewEncoder(&buffer)
			framer := http2.NewFramer(conn, nil)
			require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
			sent := uint32(0)
			for err == nil && sent < 200_000 {
				err = flood(framer, sent, func(path string) []byte {
					buffer.Reset()
					requestHeaders(encoder, path)
					return []byte(buffer.String())
				})
				sent++
			}
			require.Error(t, err, "the server has not closed the connection")
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			awaitStats(t, l, func(s ListenerStats) bool { return s.Unauthenticated == 0 })
		})
	}
}

// An identity that opens streams in a loop is rejected with the time of the next attempt, and
// finally disconnected. Another identity is not affected.
func TestCallsOfOneIdentityAreLimited(t *testing.T) {
	var log logBuffer
	m := modes(t)["client certificates"]
	m.guard.Logger = log.logger()
	l := guardedServer(t, m.server, m.guard)
	conn := connect(t, l.Addr().String(), m.client)
	defer conn.Close()
	begin, permitted, limited := time.Now(), 0, 0
	for l.Stats().Closed[CloseCallLimit] == 0 {
		switch err := checkGuarded(t, conn); status.Code(err) {
		case codes.OK:
			permitted++
		case codes.ResourceExhausted:
			limited++
			details := status.Convert(err).Details()
			require.Len(t, details, 1)
			delay := details[0].(*errdetails.RetryInfo).GetRetryDelay().AsDuration()
			require.Positive(t, delay)
			require.LessOrEqual(t, delay, time.Second)
		case codes.Unavailable: // the connection was closed
		default:
			require.NoError(t, err)
		}
		require.Less(t, limited, 10*maxLimitedCalls)
	}
	require.LessOrEqual(t, permitted, 20+1+int(time.Since(begin)/time.Second))
	require.GreaterOrEqual(t, permitted, 20)
	require.Equal(t, 1, strings.Count(log.String(), "too many calls"), log.String())
	require.GreaterOrEqual(t, l.Stats().Rejected[codes.ResourceExhausted], uint64(maxLimitedCalls))
}

func TestCallRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newCallRates(CallLimits{})
		node, relay := identityKey{name: "system:node:n1", node: "n1"}, identityKey{name: "relay"}
		take := func(key identityKey) (n int) {
			for r.take(key) == 0 {
				n++
			}
			return n
		}
		require.Equal(t, 20, take(node))
		require.Equal(t, 2000, take(relay))
		require.Equal(t, time.Second, r.take(node))
		time.Sleep(10 * time.Second)
		require.Equal(t, 10, take(node))
		require.Equal(t, 2000, take(relay))
		// A correct agent that loses its server again and again is never rejected: its
		// pauses grow.
		time.Sleep(time.Minute)
		for pause := 100 * time.Millisecond; pause < time.Hour; pause *= 2 {
			require.Zero(t, r.take(node))
			time.Sleep(min(pause, 10*time.Second) / 2)
		}
		for i := range 3 * minSweep {
			r.take(identityKey{name: "x", node: string(rune(i))})
			time.Sleep(10 * time.Millisecond)
		}
		require.LessOrEqual(t, len(r.buckets), minSweep+2, "full buckets are removed")
	})
}

// A node with many connections loses its oldest ones; the total limit rejects.
func TestAuthenticatedConnectionsAreLimited(t *testing.T) {
	m := modes(t)["client certificates"]
	m.server.Connections = ConnectionLimits{PerNode: 3}
	l := guardedServer(t, m.server, m.guard)
	var conns []*grpc.ClientConn
	for range 5 {
		conns = append(conns, connect(t, l.Addr().String(), m.client))
		defer conns[len(conns)-1].Close()
		require.NoError(t, checkGuarded(t, conns[len(conns)-1]))
	}
	require.Equal(t, 3, l.Stats().Authenticated)
	require.EqualValues(t, 2, l.Stats().Closed[CloseIdentityLimit])

	m.server.Connections = ConnectionLimits{Total: 2}
	l = guardedServer(t, m.server, m.guard)
	for i := range 3 {
		conn := connect(t, l.Addr().String(), m.client)
		defer conn.Close()
		if err := checkGuarded(t, conn); i < 2 {
			require.NoError(t, err)
		} else {
			require.Error(t, err)
		}
	}
	require.Equal(t, 2, l.Stats().Authenticated)
	require.EqualValues(t, 1, l.Stats().Closed[CloseTotalLimit])
}

// A fakeConn is a connection from a chosen address.
type fakeConn struct {
	net.Conn
	remote net.Addr
	closed atomic.Bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return c.remote }
func (c *fakeConn) Close() error         { c.closed.Store(true); return nil }

// Under pressure the oldest connections are closed: those of an address with many, those older
// than three seconds above the budget, and any above the total.
func TestOldestUnauthenticatedConnectionsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		all := newConnections(&net.TCPAddr{}, ConnectionLimits{Total: 40, Unauthenticated: 20, UnauthenticatedPerAddress: 2}, log.logger())
		all.guarded.Store(true)
		accept := func(ip byte) *fakeConn {
			c := &fakeConn{remote: &net.TCPAddr{IP: net.IPv4(10, 0, 0, ip), Port: 1}}
			require.NotNil(t, all.accept(c))
			return c
		}
		open := func(list []*fakeConn) (n int) {
			for _, c := range list {
				if !c.closed.Load() {
					n++
				}
			}
			return n
		}
		var one, many []*fakeConn
		for range 25 {
			one = append(one, accept(1))
		}
		require.Equal(t, 20, open(one), "ten times the budget while they are young")
		require.True(t, one[0].closed.Load())
		for ip := range byte(30) {
			many = append(many, accept(ip+2))
		}
		require.Equal(t, 40, open(one)+open(many), "the total")
		require.Equal(t, 30, open(many), "the oldest gave way")
		time.Sleep(crowdedTimeout + time.Second)
		synctest.Wait()
		require.LessOrEqual(t, open(one), 20)
		left := open(one) + open(many)
		require.LessOrEqual(t, left, 20)
		require.GreaterOrEqual(t, left, 2)
		young := accept(99)
		require.False(t, young.closed.Load())
		require.Equal(t, min(left, 19), open(one)+open(many))
		time.Sleep(12 * time.Second)
		synctest.Wait()
		require.Equal(t, 0, open(one)+open(many), "the timeout")
		require.False(t, young.closed.Load())
		time.Sleep(4 * time.Second)
		synctest.Wait()
		require.True(t, young.closed.Load())
		require.Zero(t, len(all.byPeer)+len(all.byAddress)+all.unauthenticated.Len())
		require.Less(t, strings.Count(log.String(), "\n"), 5)
	})
}
