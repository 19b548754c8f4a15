// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// TestRejectionsAreLoggedOnce checks that a rejection is logged at level warn with peer and
// reason, and its repetitions are not.
func TestRejectionsAreLoggedOnce(t *testing.T) {
	var log logBuffer
	authenticate := func(ctx context.Context) (Identity, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		if len(md.Get("name")) == 0 {
			return Identity{}, ErrNoCredentials
		}
		return Identity{Name: md.Get("name")[0]}, nil
	}
	guard := Guard{Authenticate: authenticate, Authorize: Rules{}.Authorize, Logger: log.logger()}
	client := dial(t, serve(t, "127.0.0.1:0", ListenConfig{}, ServerLimits{}, guard), insecure.NewCredentials())
	ask := func(name string) error {
		ctx := t.Context()
		if name != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "name", name)
		}
		stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: "n1"})
		require.NoError(t, err)
		_, err = stream.Recv()
		return err
	}
	for range 3 {
		require.Equal(t, codes.Unauthenticated, status.Code(ask("")))
		require.Equal(t, codes.PermissionDenied, status.Code(ask("mallory")))
	}
	require.Equal(t, codes.PermissionDenied, status.Code(ask("trudy")))
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Len(t, lines, 3, log.String())
	require.Contains(t, lines[0], `level=WARN msg="Peer rejected" peer=127.0.0.1:`)
	require.Contains(t, lines[0], "no credentials that the server accepts")
	require.Contains(t, lines[1], "identity=mallory operation=/grpc.health.v1.Health/Watch")
	require.Contains(t, lines[1], `is not permitted to watch-node`)
	require.Contains(t, lines[2], "identity=trudy")
	require.Contains(t, lines[2], "suppressed=4")
}

// TestFailedHandshakesAreLogged checks a peer without a certificate, which never reaches
// the guard.
func TestFailedHandshakesAreLogged(t *testing.T) {
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, nodeName("n1"), inAnHour())
	certificates := load(t, newSecretVolume(t, cert, key, ca.pem).files())
	creds, err := certificates.Server(ClientCertificateRequired)
	require.NoError(t, err)
	var log logBuffer
	address := serve(t, "127.0.0.1:0", ListenConfig{Credentials: creds, Logger: log.logger()}, ServerLimits{},
		Guard{Authenticate: AuthenticateCertificate, Authorize: Rules{}.Authorize})
	probe, err := net.Dial("tcp", address)
	require.NoError(t, err)
	require.NoError(t, probe.Close())
	unauthenticated := load(t, Files{CA: newSecretVolume(t, cert, key, ca.pem).files().CA})
	require.Error(t, check(t, dial(t, address, unauthenticated.Client("kpng.test")), "n1"))
	require.Eventually(t, func() bool { return log.String() != "" }, 20*time.Second, time.Millisecond)
	require.Contains(t, log.String(), "client didn't provide a certificate")
	require.NoError(t, check(t, dial(t, address, certificates.Client("kpng.test")), "n1"))
	require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
}

// TestRejectionLogIsBounded checks that a peer with many addresses and long reasons does
// not fill the log.
func TestRejectionLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		r := newRejectionLog(log.logger())
		logFrom := func(ip byte, err error) {
			r.log(t.Context(), &net.TCPAddr{IP: net.IPv4(10, 0, 0, ip), Port: 1}, "", "m", err)
		}
		for range 3 {
			for ip := range byte(200) {
				logFrom(ip, errors.New(strings.Repeat("x", 10_000)))
			}
		}
		require.Equal(t, maxRejections, strings.Count(log.String(), "\n"))
		require.Less(t, len(log.String()), maxRejections*2*maxReason)
		time.Sleep(rejectionPeriod)
		logFrom(1, errors.New("again"))
		require.Contains(t, log.String(), "err=again suppressed=500")
	})
}
