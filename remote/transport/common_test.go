// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An authority is a CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB, name string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert, key, encode("CERTIFICATE", der)}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// issue returns a certificate and its key, for clients and servers unless usages are given.
func (a *authority) issue(t testing.TB, subject pkix.Name, notAfter time.Time, usages ...x509.ExtKeyUsage) (cert, key []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	if usages == nil {
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: subject, DNSNames: []string{"kpng.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usages,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER)
}

func nodeName(node string) pkix.Name {
	return pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}
}

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// A secretVolume is a directory that is replaced as the kubelet replaces mounted Secrets.
type secretVolume struct {
	t   testing.TB
	dir string
	n   int
}

func newSecretVolume(t testing.TB, cert, key, ca []byte) *secretVolume {
	v := &secretVolume{t: t, dir: t.TempDir()}
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(v.dir, name)))
	}
	v.swap(cert, key, ca)
	return v
}

func (v *secretVolume) swap(cert, key, ca []byte) {
	v.n++
	version := filepath.Join(v.dir, "..v"+string(rune('a'+v.n)))
	require.NoError(v.t, os.Mkdir(version, 0o700))
	for name, content := range map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": ca} {
		if content != nil {
			require.NoError(v.t, os.WriteFile(filepath.Join(version, name), content, 0o600))
		}
	}
	fresh := filepath.Join(v.dir, "..data_tmp")
	require.NoError(v.t, os.Symlink(filepath.Base(version), fresh))
	require.NoError(v.t, os.Rename(fresh, filepath.Join(v.dir, "..data")))
}

func (v *secretVolume) files() Files {
	return Files{Cert: filepath.Join(v.dir, "tls.crt"), Key: filepath.Join(v.dir, "tls.key"), CA: filepath.Join(v.dir, "ca.crt")}
}

func load(t testing.TB, files Files) *Certificates {
	c, err := NewCertificates(files, CertificatesConfig{})
	require.NoError(t, err)
	return c
}

// guardedHealth is a health service that calls Allow: the service name of a request is used
// as the node name, and "" as the cluster.
type guardedHealth struct{ *health.Server }

func (w guardedHealth) allow(ctx context.Context, r *healthpb.HealthCheckRequest) error {
	if r.GetService() == "" {
		return Allow(ctx, Access{Verb: VerbWatchCluster})
	}
	return Allow(ctx, Access{Verb: VerbWatchNode, Node: r.GetService()})
}

func (w guardedHealth) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if err := w.allow(ctx, r); err != nil {
		return nil, err
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func (w guardedHealth) Watch(r *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	if err := w.allow(stream.Context(), r); err != nil {
		return err
	}
	return w.Server.Watch(r, stream)
}

// serve serves until the test ends, and returns its address.
func serve(t testing.TB, address string, config ListenConfig, limits ServerLimits, guard Guard) string {
	return serveService(t, address, config, limits, guard, guardedHealth{health.NewServer()})
}

func serveService(t testing.TB, address string, config ListenConfig, limits ServerLimits, guard Guard, service healthpb.HealthServer) string {
	listener, err := Listen(t.Context(), address, config)
	require.NoError(t, err)
	options := append(ServerOptions(limits), guard.ServerOptions(listener)...)
	server := grpc.NewServer(append(options, grpc.Creds(listener.Credentials()))...)
	healthpb.RegisterHealthServer(server, service)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	if _, ok := listener.Addr().(*net.UnixAddr); ok {
		return address
	}
	return listener.Addr().String()
}

// dial returns a client that is closed when the test ends.
func dial(t testing.TB, address string, creds credentials.TransportCredentials, options ...grpc.DialOption) healthpb.HealthClient {
	conn := connect(t, address, creds, options...)
	t.Cleanup(func() { _ = conn.Close() })
	return healthpb.NewHealthClient(conn)
}

func connect(t testing.TB, address string, creds credentials.TransportCredentials, options ...grpc.DialOption) *grpc.ClientConn {
	options = append(append(ClientOptions(ClientLimits{}), grpc.WithTransportCredentials(creds)), options...)
	conn, err := grpc.NewClient(address, options...)
	require.NoError(t, err)
	return conn
}

// check calls the service for a node and returns the error.
func check(t testing.TB, client healthpb.HealthClient, node string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: node})
	return err
}

// A logBuffer collects log output.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
