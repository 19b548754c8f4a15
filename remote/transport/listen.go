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

// Plaintext says where connections may go without TLS.
type Plaintext uint8

const (
	// PlaintextLocal is on unix sockets and the loopback interface.
	PlaintextLocal Plaintext = iota
	// PlaintextEverywhere is also on the network, where anyone on the way can read
	// tokens and change what nodes are told.
	PlaintextEverywhere
)

// ListenConfig is how to listen.
type ListenConfig struct {
	// Credentials secure the connections: those of [Certificates.Server], or any
	// other. nil is plaintext, and on unix sockets [SocketCredentials].
	Credentials credentials.TransportCredentials
	// Plaintext says where Credentials may be nil.
	Plaintext Plaintext
	// Connections limits how many there are.
	Connections ConnectionLimits
	// Logger is told of refused connections, and of peers that TLS turns away: each once
	// in ten minutes. nil is silent.
	Logger *slog.Logger
}

// A Listener is a socket and the credentials to serve on it with.
type Listener struct {
	net.Listener
	credentials credentials.TransportCredentials
}

// Credentials are for grpc.Creds.
func (l *Listener) Credentials() credentials.TransportCredentials { return l.credentials }

const (
	unixScheme = "unix://"
	socketMode = 0o600
)

// Listen listens on "unix:///path" or "host:port". ctx bounds how long it takes to
// begin, not how long it lasts.
//
// A socket file has mode 0600, and goes when the listener is closed. One that is there
// is removed if nobody listens on it any more. On Linux the mode is there with the
// file; elsewhere its directory should be private.
func Listen(ctx context.Context, address string, config ListenConfig) (*Listener, error) {
	inner, err := listen(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("transport: cannot listen on %q: %w", address, err)
	}
	creds, err := config.credentialsFor(inner.Addr())
	if err != nil {
		_ = inner.Close()
		return nil, fmt.Errorf("transport: will not listen on %q: %w", address, err)
	}
	creds = loggingCredentials{creds, newRejectionLog(config.Logger)}
	return &Listener{LimitConnections(inner, config.Connections, config.Logger), creds}, nil
}

// credentialsFor judges what was bound, not what was written: names may mean anything.
func (c ListenConfig) credentialsFor(bound net.Addr) (credentials.TransportCredentials, error) {
	if c.Credentials != nil && c.Credentials.Info().SecurityProtocol != "insecure" {
		return c.Credentials, nil
	}
	if _, ok := bound.(*net.UnixAddr); ok {
		return SocketCredentials(), nil
	}
	if !isLocal(bound) && c.Plaintext != PlaintextEverywhere {
		return nil, fmt.Errorf("%s can be reached from the network, and there is no TLS: set ListenConfig.Credentials, listen on loopback or a unix socket, or set ListenConfig.Plaintext to PlaintextEverywhere", bound)
	}
	return insecure.NewCredentials(), nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, unixScheme)
	switch {
	case isUnix && !strings.HasPrefix(path, "/"):
		return nil, errors.New("a path must be absolute, as in unix:///run/kpng.sock")
	case isUnix:
		return listenUnix(ctx, path)
	case strings.HasPrefix(address, "unix:"), strings.Contains(address, "/"):
		return nil, errors.New("an address is unix:///path or host:port")
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

// removeStale removes the socket file of a process that has ended.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file that is not a socket")
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return errors.New("somebody listens there already")
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	}
	return fmt.Errorf("there is a socket, and it cannot be told whether somebody listens: %w", err)
}
