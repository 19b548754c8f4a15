// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// anyone returns a guard that permits every local peer to watch every node.
func anyone() Guard {
	return Guard{Authenticate: AnonymousAuthenticator(""), Authorize: func(context.Context, Identity, Access) error { return nil }}
}

// bystander opens a stream that must stay undisturbed while other peers misbehave.
func bystander(t *testing.T, address string, creds credentials.TransportCredentials) (unharmed func()) {
	client := dial(t, address, creds)
	stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "n1"})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { _, err := stream.Recv(); ended <- err }()
	return func() {
		require.NoError(t, check(t, client, "n1"))
		select {
		case err := <-ended:
			t.Fatal("the undisturbed stream ended:", err)
		default:
		}
	}
}

func TestIncompleteHandshakesAreClosed(t *testing.T) {
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, nodeName("n1"), inAnHour())
	certificates := load(t, newSecretVolume(t, cert, key, ca.pem).files())
	creds, err := certificates.Server(ClientCertificateRequired)
	require.NoError(t, err)
	guard := Guard{Authenticate: AuthenticateCertificate, Authorize: Rules{}.Authorize}
	address := serve(t, "127.0.0.1:0", ListenConfig{Credentials: creds}, ServerLimits{HandshakeTimeout: 300 * time.Millisecond}, guard)
	unharmed := bystander(t, address, certificates.Client("kpng.test"))

	silent := func() net.Conn {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		return conn
	}
	garbage := func() net.Conn {
		conn := silent()
		_, _ = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		return conn
	}
	silentAfterHandshake := func() net.Conn { // completes TLS and sends nothing
		pair := certificates.current.Load().pair
		conn, err := tls.Dial("tcp", address, &tls.Config{Certificates: []tls.Certificate{*pair}, InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		require.NoError(t, err)
		return conn
	}
	var conns []net.Conn
	for range 10 {
		conns = append(conns, silent(), garbage(), silentAfterHandshake())
	}
	for _, conn := range conns {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
		_, err := io.Copy(io.Discard, conn)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server has not closed the connection")
		_ = conn.Close()
	}
	unharmed()
}

func TestLargeMessagesAreRejected(t *testing.T) {
	address := serve(t, "127.0.0.1:0", ListenConfig{}, ServerLimits{}, anyone())
	unharmed := bystander(t, address, insecure.NewCredentials())
	client := dial(t, address, insecure.NewCredentials())
	require.NoError(t, check(t, client, "n1")) // of an unauthenticated peer less is read
	require.NoError(t, check(t, client, strings.Repeat("n", 1<<20-100)))
	err := check(t, client, strings.Repeat("n", 1<<20))
	require.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
	require.ErrorContains(t, err, "larger than max")

	large := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+strings.Repeat("a", 17<<10))
	_, err = client.Check(large, &healthpb.HealthCheckRequest{Service: "n1"})
	require.Error(t, err)
	small := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+strings.Repeat("a", 8<<10))
	_, err = client.Check(small, &healthpb.HealthCheckRequest{Service: "n1"})
	require.NoError(t, err)
	unharmed()
}

func TestCallsAboveTheLimitWait(t *testing.T) {
	address := serve(t, "127.0.0.1:0", ListenConfig{}, ServerLimits{MaxStreams: 4}, anyone())
	unharmed := bystander(t, address, insecure.NewCredentials())
	client := dial(t, address, insecure.NewCredentials())
	watch, stop := context.WithCancel(t.Context())
	defer stop()
	for range 4 {
		stream, err := client.Watch(watch, &healthpb.HealthCheckRequest{Service: "n1"})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
	}
	one, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := client.Check(one, &healthpb.HealthCheckRequest{Service: "n1"})
	require.Equal(t, codes.DeadlineExceeded, status.Code(err), "there is no fifth")
	unharmed()

	var many sync.WaitGroup // short calls
	for range 50 {
		many.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, _ = client.Check(ctx, &healthpb.HealthCheckRequest{Service: "n1"})
		})
	}
	many.Wait()
	unharmed()
	stop()
	require.NoError(t, check(t, client, "n1"))
}

// TestOldConnectionsAreReplaced checks that a connection ends at its maximum age and that
// the client replaces it transparently.
func TestOldConnectionsAreReplaced(t *testing.T) {
	address := serve(t, "127.0.0.1:0", ListenConfig{}, ServerLimits{MaxConnectionAge: 300 * time.Millisecond, MaxConnectionAgeGrace: 100 * time.Millisecond}, anyone())
	client := dial(t, address, insecure.NewCredentials())
	for range 2 {
		stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "n1"}, grpc.WaitForReady(true))
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		_, err = stream.Recv()
		require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	}
}
