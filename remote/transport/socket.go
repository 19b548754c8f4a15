// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

// SocketCredentials returns the credentials of Unix sockets, for clients and servers.
// Nothing is encrypted, because nothing leaves the machine. On Linux a server receives the
// user of its peer from the kernel; see [SocketAuthenticator]. Handshakes on other
// connections fail.
func SocketCredentials() credentials.TransportCredentials { return socketCredentials{} }

// SocketInfo is the AuthInfo of a connection on a Unix socket.
type SocketInfo struct {
	credentials.CommonAuthInfo
	// Valid reports whether the kernel provided the user of the peer.
	Valid    bool
	UID, GID uint32
}

// AuthType implements credentials.AuthInfo.
func (SocketInfo) AuthType() string { return "unix" }

type socketCredentials struct{}

func (socketCredentials) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return handshake(conn)
}

func (socketCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return handshake(conn)
}

func handshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if _, ok := conn.RemoteAddr().(*net.UnixAddr); !ok {
		return nil, nil, errors.New("transport: SocketCredentials: the connection is not a Unix socket")
	}
	info := peerOf(conn)
	info.CommonAuthInfo = credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return conn, info, nil
}

func (socketCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix"}
}

func (c socketCredentials) Clone() credentials.TransportCredentials { return c }

func (socketCredentials) OverrideServerName(string) error { return nil }
