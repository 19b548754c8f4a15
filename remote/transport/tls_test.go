// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestRotationInterruptsNoStream(t *testing.T) {
	old, young := newAuthority(t, "old"), newAuthority(t, "young")
	both := slices.Concat(old.pem, young.pem)
	serverCert, serverKey := old.issue(t, pkix.Name{CommonName: "server"}, inAnHour())
	nodeCert, nodeKey := old.issue(t, nodeName("n1"), inAnHour())
	serverVolume := newSecretVolume(t, serverCert, serverKey, old.pem)
	nodeVolume := newSecretVolume(t, nodeCert, nodeKey, old.pem)
	serverSide, nodeSide := load(t, serverVolume.files()), load(t, nodeVolume.files())
	stale := load(t, newSecretVolume(t, nodeCert, nodeKey, both).files()).Client("kpng.test") // never renewed
	creds, err := serverSide.Server(ClientCertificateRequired)
	require.NoError(t, err)
	address := serve(t, "127.0.0.1:0", ListenConfig{Credentials: creds}, ServerLimits{}, Guard{Authenticate: AuthenticateCertificate, Authorize: Rules{}.Authorize, Calls: CallLimits{NodeBurst: 1_000_000}})

	// One stream for the whole rotation, and short connections.
	stream, err := dial(t, address, nodeSide.Client("kpng.test")).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "n1"})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	traffic, stop := context.WithCancel(t.Context())
	rounds := make(chan struct{})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			for traffic.Err() == nil {
				conn := connect(t, address, nodeSide.Client("kpng.test"))
				err := check(t, healthpb.NewHealthClient(conn), "n1")
				_ = conn.Close()
				if err != nil {
					t.Error("in the traffic:", err)
				}
				select {
				case rounds <- struct{}{}:
				case <-traffic.Done():
				}
			}
		})
	}
	someTraffic := func() {
		for range 6 {
			<-rounds
		}
	}
	someTraffic()
	for _, step := range []func(){
		func() { serverVolume.swap(serverCert, serverKey, both); nodeVolume.swap(nodeCert, nodeKey, both) },
		func() {
			serverCert, serverKey = young.issue(t, pkix.Name{CommonName: "server"}, inAnHour())
			serverVolume.swap(serverCert, serverKey, both)
		},
		func() {
			nodeCert, nodeKey = young.issue(t, nodeName("n1"), inAnHour())
			nodeVolume.swap(nodeCert, nodeKey, both)
		},
	} {
		step()
		serverSide.reload()
		nodeSide.reload()
		require.NoError(t, serverSide.Err())
		require.NoError(t, nodeSide.Err())
		someTraffic()
	}
	require.NoError(t, check(t, dial(t, address, stale), "n1"), "both CAs are still trusted")

	serverVolume.swap(serverCert, serverKey, young.pem)
	nodeVolume.swap(nodeCert, nodeKey, young.pem)
	serverSide.reload()
	nodeSide.reload()
	someTraffic()
	stop()
	clients.Wait()
	require.Equal(t, codes.Unavailable, status.Code(check(t, dial(t, address, stale), "n1")), "the old CA is gone")

	// The client distrusts the old CA as well.
	oldCert, oldKey := old.issue(t, pkix.Name{CommonName: "server"}, inAnHour())
	creds, err = load(t, newSecretVolume(t, oldCert, oldKey, young.pem).files()).Server(ClientCertificateRequired)
	require.NoError(t, err)
	elsewhere := serve(t, "127.0.0.1:0", ListenConfig{Credentials: creds}, ServerLimits{}, Guard{Authenticate: AuthenticateCertificate, Authorize: Rules{}.Authorize})
	err = check(t, dial(t, elsewhere, nodeSide.Client("kpng.test")), "n1")
	require.ErrorContains(t, err, "certificate signed by unknown authority")
}

func TestTLSRejects(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "ca")
	serverCert, serverKey := ca.issue(t, pkix.Name{CommonName: "server"}, inAnHour())
	serverSide := load(t, newSecretVolume(t, serverCert, serverKey, ca.pem).files())
	creds, err := serverSide.Server(ClientCertificateRequired)
	require.NoError(t, err)
	optional, err := serverSide.Server(ClientCertificateOptional)
	require.NoError(t, err)
	none, err := serverSide.Server(ClientCertificateNone)
	require.NoError(t, err)
	guard := Guard{Authenticate: AuthenticateCertificate, Authorize: Rules{}.Authorize}
	address := serve(t, "127.0.0.1:0", ListenConfig{Credentials: creds}, ServerLimits{}, guard)
	optionalAddress := serve(t, "127.0.0.1:0", ListenConfig{Credentials: optional}, ServerLimits{}, guard)
	noneAddress := serve(t, "127.0.0.1:0", ListenConfig{Credentials: none}, ServerLimits{}, guard)

	with := func(a *authority, subject pkix.Name, end time.Time, trust []byte, usages ...x509.ExtKeyUsage) Files {
		cert, key := a.issue(t, subject, end, usages...)
		return newSecretVolume(t, cert, key, trust).files()
	}
	good := with(ca, nodeName("n1"), inAnHour(), ca.pem)
	bare := Files{CA: good.CA}
	for _, c := range []struct {
		name, address, serverName string
		files                     Files
		want                      codes.Code
		wantErr                   string
	}{
		{"nothing that is in order", address, "kpng.test", good, codes.OK, ""},
		{"nothing when optional", optionalAddress, "kpng.test", good, codes.OK, ""},
		{"a client certificate of another CA", address, "kpng.test", with(other, nodeName("n1"), inAnHour(), ca.pem), codes.Unavailable, ""},
		{"the same where it is optional", optionalAddress, "kpng.test", with(other, nodeName("n1"), inAnHour(), ca.pem), codes.Unavailable, ""},
		{"an expired client certificate", address, "kpng.test", with(ca, nodeName("n1"), time.Now().Add(-time.Second), ca.pem), codes.Unavailable, ""},
		{"a certificate for servers", address, "kpng.test", with(ca, nodeName("n1"), inAnHour(), ca.pem, x509.ExtKeyUsageServerAuth), codes.Unavailable, ""},
		{"no certificate", address, "kpng.test", bare, codes.Unavailable, ""},
		{"no certificate where it is optional, at the guard", optionalAddress, "kpng.test", bare, codes.Unauthenticated, "no credentials"},
		{"a certificate that was not requested", noneAddress, "kpng.test", good, codes.Unauthenticated, "no credentials"},
		{"another node's name", address, "kpng.test", with(ca, nodeName("n2"), inAnHour(), ca.pem), codes.PermissionDenied, `"system:node:n2" (bound to node n2) is not permitted to watch-node "n1"`},
		{"a node's name outside of system:nodes", address, "kpng.test", with(ca, pkix.Name{CommonName: "system:node:n1"}, inAnHour(), ca.pem), codes.PermissionDenied, "bound to no node"},
		{"a server certificate of another CA", address, "kpng.test", with(ca, nodeName("n1"), inAnHour(), other.pem), codes.Unavailable, "unknown authority"},
		{"a server by another name", address, "other.test", good, codes.Unavailable, "valid for kpng.test, not other.test"},
		{"a server by its address when that is not in the certificate", address, "", good, codes.Unavailable, "127.0.0.1"},
	} {
		// In TLS 1.3 the handshake of a client ends before the server has verified its
		// certificate, so the connection may be closed before the client reads why.
		t.Run(c.name, func(t *testing.T) {
			err := check(t, dial(t, c.address, load(t, c.files).Client(c.serverName)), "n1")
			require.Equal(t, c.want, status.Code(err), "%v", err)
			if c.wantErr != "" {
				require.ErrorContains(t, err, c.wantErr)
			}
		})
	}
	t.Run("TLS 1.2", func(t *testing.T) {
		pair, err := tls.LoadX509KeyPair(good.Cert, good.Key)
		require.NoError(t, err)
		old := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true})
		require.ErrorContains(t, check(t, dial(t, address, old), "n1"), "protocol version")

		allowed, err := NewCertificates(serverSide.files, CertificatesConfig{MinVersion: tls.VersionTLS12})
		require.NoError(t, err)
		creds, err := allowed.Server(ClientCertificateRequired)
		require.NoError(t, err)
		address := serve(t, "127.0.0.1:0", ListenConfig{Credentials: creds}, ServerLimits{}, guard)
		require.NoError(t, check(t, dial(t, address, old), "n1"))
	})
}

func TestInvalidCertificateFiles(t *testing.T) {
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, nodeName("n1"), inAnHour())
	_, otherKey := ca.issue(t, nodeName("n1"), inAnHour())
	good := newSecretVolume(t, cert, key, ca.pem).files()
	for _, c := range []struct {
		name, wantErr string
		files         Files
		config        CertificatesConfig
	}{
		{"a key without a certificate", "set both or none", Files{Key: good.Key}, CertificatesConfig{}},
		{"no such file", "Files.Cert: open /nowhere", Files{Cert: "/nowhere", Key: good.Key}, CertificatesConfig{}},
		{"another's key", "does not match", newSecretVolume(t, cert, otherKey, ca.pem).files(), CertificatesConfig{}},
		{"a CA file of text", "Files.CA", newSecretVolume(t, cert, key, []byte("hello")).files(), CertificatesConfig{}},
		{"one bad certificate among CAs", "certificate 2", newSecretVolume(t, cert, key, append(slices.Clone(ca.pem), encode("CERTIFICATE", []byte{1})...)).files(), CertificatesConfig{}},
		{"TLS 1.1", "TLS 1.1", good, CertificatesConfig{MinVersion: tls.VersionTLS11}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewCertificates(c.files, c.config)
			require.ErrorContains(t, err, c.wantErr)
		})
	}
	_, err := load(t, Files{Cert: good.Cert, Key: good.Key}).Server(ClientCertificateOptional)
	require.ErrorContains(t, err, "Files.CA: required", "without a CA every public certificate would be accepted")
	_, err = load(t, Files{CA: good.CA}).Server(ClientCertificateNone)
	require.ErrorContains(t, err, "Files.Cert")
	_, err = load(t, good).Server(7)
	require.ErrorContains(t, err, "ClientCertificate: unknown value 7")
}

// TestInvalidFilesKeepThePreviousOnes uses a synthetic clock.
func TestInvalidFilesKeepThePreviousOnes(t *testing.T) {
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, nodeName("n1"), inAnHour())
	renewed, renewedKey := ca.issue(t, nodeName("n1"), time.Now().Add(2*time.Hour))
	v := newSecretVolume(t, cert, key, ca.pem)
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		c, err := NewCertificates(v.files(), CertificatesConfig{Logger: log.logger()})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { require.NoError(t, c.Run(ctx)) })
		minutes := func(n int) { time.Sleep(time.Duration(n)*time.Minute + time.Second); synctest.Wait() }
		first := c.current.Load()

		minutes(3)
		require.Same(t, first, c.current.Load(), "unchanged files are not replaced")
		v.swap(renewed, key, ca.pem)
		minutes(3)
		require.Same(t, first, c.current.Load())
		require.ErrorContains(t, c.Err(), "does not match")
		v.swap(renewed, renewedKey, nil)
		minutes(1)
		require.ErrorContains(t, c.Err(), "ca.crt: no such file")
		require.Same(t, first, c.current.Load())
		v.swap(renewed, renewedKey, ca.pem)
		minutes(1)
		require.NoError(t, c.Err())
		require.NotSame(t, first, c.current.Load())
		require.WithinDuration(t, c.current.Load().pair.Leaf.NotAfter, c.NotAfter(), 0)
		require.Equal(t, 2, strings.Count(log.String(), "keeping the previous ones"), "once for each error:\n%s", log.String())
		require.Contains(t, log.String(), "are valid again")
		require.NotContains(t, log.String(), "PRIVATE")
		cancel()
		running.Wait()
	})
}

func TestExpiredOwnCertificateIsReported(t *testing.T) {
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, nodeName("n1"), time.Now().Add(-time.Minute))
	c := load(t, newSecretVolume(t, cert, key, ca.pem).files())
	require.ErrorContains(t, c.Err(), "tls.crt expired")
}

// TestStreamEndsWhenItsCertificateExpires waits for a real certificate to expire.
func TestStreamEndsWhenItsCertificateExpires(t *testing.T) {
	ca := newAuthority(t, "ca")
	serverCert, serverKey := ca.issue(t, pkix.Name{CommonName: "server"}, inAnHour())
	creds, err := load(t, newSecretVolume(t, serverCert, serverKey, ca.pem).files()).Server(ClientCertificateRequired)
	require.NoError(t, err)
	hasty := creds.(expiringCredentials)
	hasty.grace = 2 * time.Second
	address := serve(t, "127.0.0.1:0", ListenConfig{Credentials: hasty}, ServerLimits{}, Guard{Authenticate: AuthenticateCertificate, Authorize: Rules{}.Authorize})
	cert, key := ca.issue(t, nodeName("n1"), time.Now().Add(3*time.Second))
	v := newSecretVolume(t, cert, key, ca.pem)
	certificates := load(t, v.files())
	conn := connect(t, address, certificates.Client("kpng.test"))
	defer conn.Close()
	client := healthpb.NewHealthClient(conn)
	stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "n1"})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.Unauthenticated, status.Code(err), "%v", err)
	require.ErrorContains(t, err, `credential of "system:node:n1" has expired`)
	require.Equal(t, codes.Unauthenticated, status.Code(check(t, client, "n1")), "the connection is open and rejects calls")

	cert, key = ca.issue(t, nodeName("n1"), inAnHour())
	v.swap(cert, key, ca.pem)
	certificates.reload()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.True(t, conn.WaitForStateChange(ctx, connectivity.Ready), "the server closes the connection")
	require.NoError(t, check(t, client, "n1"), "a new connection uses the new certificate")
}

func TestConnectionIsClosedAfterItsCertificateExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		conn, begun := closeAt(near, near, time.Now().Add(time.Hour)), time.Now()
		_, err := conn.Read(make([]byte, 1))
		require.Error(t, err)
		require.Equal(t, time.Hour, time.Since(begun))
		require.NoError(t, far.Close())

		near, far = net.Pipe()
		require.NoError(t, closeAt(near, near, time.Now().Add(time.Hour)).Close())
		require.NoError(t, far.Close())
	})
}

func TestClientCredentialsCannotServe(t *testing.T) {
	ca := newAuthority(t, "ca")
	path := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(path, ca.pem, 0o600))
	creds := load(t, Files{CA: path}).Client("")
	_, _, err := creds.ServerHandshake(nil)
	require.Error(t, err)
	copied := creds.Clone()
	require.NoError(t, copied.OverrideServerName("x")) //nolint:staticcheck // credentials.TransportCredentials requires it
	require.Equal(t, "x", copied.Info().ServerName)    //nolint:staticcheck // credentials.TransportCredentials requires it
	require.Empty(t, creds.Info().ServerName)          //nolint:staticcheck // credentials.TransportCredentials requires it
}

// TestSessionsAreNotResumed checks that a client that would resume makes a full handshake.
func TestSessionsAreNotResumed(t *testing.T) {
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, nodeName("n1"), inAnHour())
	certificates := load(t, newSecretVolume(t, cert, key, ca.pem).files())
	creds, err := certificates.Server(ClientCertificateRequired)
	require.NoError(t, err)
	address := serve(t, "127.0.0.1:0", ListenConfig{Credentials: creds}, ServerLimits{}, Guard{})
	config := &tls.Config{Certificates: []tls.Certificate{*certificates.current.Load().pair}, InsecureSkipVerify: true,
		NextProtos: []string{"h2"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for range 2 {
		conn, err := tls.Dial("tcp", address, config)
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 9)) // a session ticket would precede the settings
		require.NoError(t, err)
		require.False(t, conn.ConnectionState().DidResume)
		require.NoError(t, conn.Close())
	}
}
