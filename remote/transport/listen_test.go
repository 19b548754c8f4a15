// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials/insecure"
)

func TestPlaintextNeedsALocalAddress(t *testing.T) {
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, nodeName("n1"), inAnHour())
	creds, err := load(t, newSecretVolume(t, cert, key, ca.pem).files()).Server(ClientCertificateRequired)
	require.NoError(t, err)
	for _, c := range []struct {
		name, address string
		config        ListenConfig
		protocol      string
	}{
		{"loopback", "127.0.0.1:0", ListenConfig{}, "insecure"},
		{"loopback by name", "localhost:0", ListenConfig{}, "insecure"},
		{"all addresses", ":0", ListenConfig{}, ""},
		{"all IPv4 addresses", "0.0.0.0:0", ListenConfig{}, ""},
		{"with insecure credentials", "0.0.0.0:0", ListenConfig{Credentials: insecure.NewCredentials()}, ""},
		{"with PlaintextEverywhere", "0.0.0.0:0", ListenConfig{Plaintext: PlaintextEverywhere}, "insecure"},
		{"with TLS", "0.0.0.0:0", ListenConfig{Credentials: creds}, "tls"},
		{"a socket", "unix://" + filepath.Join(t.TempDir(), "s"), ListenConfig{}, "unix"},
		{"a socket with TLS", "unix://" + filepath.Join(t.TempDir(), "s"), ListenConfig{Credentials: creds}, "tls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			listener, err := Listen(t.Context(), c.address, c.config)
			if c.protocol == "" {
				require.ErrorContains(t, err, "PlaintextEverywhere")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.protocol, listener.Credentials().Info().SecurityProtocol)
			require.NoError(t, listener.Close())
		})
	}
	_, _, err = SocketCredentials().ServerHandshake(tcpConn(t))
	require.ErrorContains(t, err, "not a Unix socket")
}

// tcpConn returns a TCP connection inside this process.
func tcpConn(t *testing.T) net.Conn {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(); _ = listener.Close() })
	return conn
}

func TestInvalidAddresses(t *testing.T) {
	for _, address := range []string{"unix://relative", "unix:relative", "unix:/path", "/path", "127.0.0.1", "tcp://127.0.0.1:1", "unix://" + filepath.Join(t.TempDir(), "none", "s")} {
		_, err := Listen(t.Context(), address, ListenConfig{})
		require.ErrorContains(t, err, address)
	}
}

func TestSocketFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listen := func() (*Listener, error) { return Listen(t.Context(), "unix://"+path, ListenConfig{}) }
	listener, err := listen()
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	}
	_, err = listen()
	require.ErrorContains(t, err, "another process listens")
	require.NoError(t, listener.Close())
	require.NoFileExists(t, path)

	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	listener, err = listen()
	require.NoError(t, err, "no process listens on the socket")
	require.NoError(t, listener.Close())

	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = listen()
	require.ErrorContains(t, err, "not a socket")
	require.FileExists(t, path)
	_, err = Listen(t.Context(), "unix://"+filepath.Dir(path)+strings.Repeat("x", 200), ListenConfig{})
	require.Error(t, err)
}
