// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

// SocketCredentials are those of unix sockets, for both sides: nothing is encrypted,
// as nothing leaves the machine, and on Linux the kernel tells a server who its peer
// is; see [SocketAuthenticator]. Other connections are refused.
func SocketCredentials() credentials.TransportCredentials { return socketCredentials{} }

// SocketInfo is what is known of the peer on a unix socket.
type SocketInfo struct {
	credentials.CommonAuthInfo
	// Valid says that the system told who the peer was when it connected.
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
		return nil, nil, errors.New("transport: SocketCredentials on a connection that is not a unix socket")
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
