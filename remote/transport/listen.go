// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Plaintext selects the listeners that may serve without TLS.
type Plaintext uint8

const (
	// PlaintextLocal permits Unix sockets and loopback addresses.
	PlaintextLocal Plaintext = iota
	// PlaintextEverywhere also permits addresses that other machines can reach, where
	// anything on the path can read tokens and change the desired state of nodes.
	PlaintextEverywhere
)

// ListenConfig configures [Listen].
type ListenConfig struct {
	// Credentials secure the connections, for example those of [Certificates.Server]. nil
	// means [SocketCredentials] on Unix sockets and plaintext elsewhere.
	Credentials credentials.TransportCredentials
	// Plaintext selects the listeners for which Credentials may be nil.
	Plaintext Plaintext
	// Connections limit the open connections.
	Connections ConnectionLimits
	// Logger receives refused connections and failed handshakes, once in ten minutes for
	// each peer and reason. nil is silent.
	Logger *slog.Logger
}

// A Listener is a listening socket with its credentials.
type Listener struct {
	net.Listener
	credentials credentials.TransportCredentials
	connections *connections
}

// Credentials returns the credentials for grpc.Creds.
func (l *Listener) Credentials() credentials.TransportCredentials { return l.credentials }

const (
	unixScheme = "unix://"
	socketMode = 0o600
)

// Listen listens on "unix:///path" or "host:port". ctx bounds the time to open the socket,
// not the lifetime of the listener.
//
// A socket file has mode 0600 and is removed when the listener is closed. An existing
// socket file without a listening process is replaced. Only Linux creates the file with
// its mode; elsewhere its directory should be private.
func Listen(ctx context.Context, address string, cfg ListenConfig) (*Listener, error) {
	inner, err := listen(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("transport: listen on %q: %w", address, err)
	}
	creds, err := cfg.credentialsFor(inner.Addr())
	if err != nil {
		_ = inner.Close()
		return nil, fmt.Errorf("transport: listen on %q: %w", address, err)
	}
	connections := newConnections(inner.Addr(), cfg.Connections, cfg.Logger)
	creds = loggingCredentials{creds, newRejectionLog(cfg.Logger), connections}
	return &Listener{&countedListener{inner, connections}, creds, connections}, nil
}

// credentialsFor checks the bound address: a name can resolve to anything.
func (c ListenConfig) credentialsFor(bound net.Addr) (credentials.TransportCredentials, error) {
	if c.Credentials != nil && c.Credentials.Info().SecurityProtocol != "insecure" {
		return c.Credentials, nil
	}
	if _, ok := bound.(*net.UnixAddr); ok {
		return SocketCredentials(), nil
	}
	if !isLocal(bound) && c.Plaintext != PlaintextEverywhere {
		return nil, fmt.Errorf("%s is reachable from the network and TLS is not configured: "+
			"set ListenConfig.Credentials, listen on a loopback address or a Unix socket, or set ListenConfig.Plaintext to PlaintextEverywhere", bound)
	}
	return insecure.NewCredentials(), nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, unixScheme)
	switch {
	case isUnix && !strings.HasPrefix(path, "/"):
		return nil, errors.New("the path of a Unix socket must be absolute, as in unix:///run/kpng.sock")
	case isUnix:
		return listenUnix(ctx, path)
	case strings.HasPrefix(address, "unix:"), strings.Contains(address, "/"):
		return nil, errors.New("the address must be unix:///path or host:port")
	}
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", address)
}

func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: privateSocket}
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		_ = listener.Close()
		return nil, err
	}
	return listener, nil
}

// removeStale removes the socket file that a terminated process left.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("the file exists and is not a socket")
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return errors.New("another process listens on the socket")
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	}
	return fmt.Errorf("connecting to the existing socket: %w", err)
}
