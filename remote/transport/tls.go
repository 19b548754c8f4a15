// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
)

// ClientCertificate selects whether a server asks clients for a certificate.
type ClientCertificate uint8

const (
	// ClientCertificateRequired rejects clients without a certificate of the CA.
	ClientCertificateRequired ClientCertificate = iota
	// ClientCertificateOptional verifies a certificate that a client sends, and accepts
	// clients without one, which use a token instead.
	ClientCertificateOptional
	// ClientCertificateNone does not ask for a certificate.
	ClientCertificateNone
)

// expiryGrace is the time between the expiry of a client certificate and the close of its
// connection, in which calls end with a status.
const expiryGrace = 5 * time.Second

// Server returns the credentials of a server for grpc.Creds. Each handshake uses the files
// that were read last. A connection is closed 5 s after its client certificate has expired,
// because a new certificate needs a new connection.
func (c *Certificates) Server(client ClientCertificate) (credentials.TransportCredentials, error) {
	modes := map[ClientCertificate]tls.ClientAuthType{
		ClientCertificateRequired: tls.RequireAndVerifyClientCert,
		ClientCertificateOptional: tls.VerifyClientCertIfGiven,
		ClientCertificateNone:     tls.NoClientCert,
	}
	mode, known := modes[client]
	switch {
	case !known:
		return nil, fmt.Errorf("transport: ClientCertificate: unknown value %d", client)
	case c.files.Cert == "":
		return nil, errors.New("transport: Files.Cert, Files.Key: required for a server")
	case client != ClientCertificateNone && c.files.CA == "":
		// Without a CA, crypto/tls would accept certificates of every public CA.
		return nil, errors.New("transport: Files.CA: required to verify client certificates, unless ClientCertificateNone is used")
	}
	return expiringCredentials{grace: expiryGrace, TransportCredentials: credentials.NewTLS(&tls.Config{
		MinVersion: c.cfg.MinVersion,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := c.current.Load()
			return &tls.Config{
				MinVersion:   c.cfg.MinVersion,
				Certificates: []tls.Certificate{*now.pair},
				ClientAuth:   mode,
				ClientCAs:    now.roots,
				// A resumed session would outlive the CA that it was verified with, and
				// connections are too rare for resumption to save anything.
				SessionTicketsDisabled: true,
			}, nil
		},
	})}, nil
}

// Client returns the credentials of a client for grpc.WithTransportCredentials. Each
// handshake uses the certificate and CA that were read last. The certificate of the server
// must be valid for serverName, or for the dialled host when serverName is empty.
func (c *Certificates) Client(serverName string) credentials.TransportCredentials {
	return &clientCredentials{certificates: c, serverName: serverName}
}

// clientCredentials make new TLS credentials for each handshake, because the roots of a
// tls.Config are fixed.
type clientCredentials struct {
	certificates *Certificates
	serverName   string
}

func (c *clientCredentials) newTLS() credentials.TransportCredentials {
	now := c.certificates.current.Load()
	config := &tls.Config{
		MinVersion: c.certificates.cfg.MinVersion,
		RootCAs:    now.roots,
		ServerName: c.serverName,
	}
	if now.pair != nil {
		// crypto/tls does not send Certificates when the server does not list their
		// issuer; GetClientCertificate always sends, so that the server can report why it
		// rejects the certificate.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return now.pair, nil }
	}
	return credentials.NewTLS(config)
}

func (c *clientCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.newTLS().ClientHandshake(ctx, authority, conn)
}

func (c *clientCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("transport: client credentials cannot serve; use Certificates.Server")
}

func (c *clientCredentials) Info() credentials.ProtocolInfo { return c.newTLS().Info() }

func (c *clientCredentials) Clone() credentials.TransportCredentials { copied := *c; return &copied }

func (c *clientCredentials) OverrideServerName(name string) error { c.serverName = name; return nil }

// expiringCredentials close connections whose client certificate has expired.
type expiringCredentials struct {
	credentials.TransportCredentials
	grace time.Duration // time for calls to end with a status
}

func (e expiringCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := e.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	tlsInfo, ok := info.(credentials.TLSInfo)
	if end := latestChainExpiry(tlsInfo.State.VerifiedChains); ok && !end.IsZero() {
		conn = closeAt(conn, raw, end.Add(e.grace))
	}
	return conn, info, nil
}

func (e expiringCredentials) Clone() credentials.TransportCredentials {
	return expiringCredentials{e.TransportCredentials.Clone(), e.grace}
}

// loggingCredentials log and count failed handshakes.
type loggingCredentials struct {
	credentials.TransportCredentials
	rejections  *rejectionLog
	connections *connections
}

func (l loggingCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := l.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		l.connections.countFailedHandshake()
	}
	// TCP probes close the connection; that is not a rejection.
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, net.ErrClosed) {
		l.rejections.log(context.Background(), raw.RemoteAddr(), "", "handshake", err)
	}
	return conn, info, err
}

func (l loggingCredentials) Clone() credentials.TransportCredentials {
	return loggingCredentials{l.TransportCredentials.Clone(), l.rejections, l.connections}
}

// An expiringConn is closed at a set time.
type expiringConn struct {
	net.Conn
	stop func() bool
}

// closeAt closes raw, the connection under conn, at a set time: closing conn itself could
// wait for the peer.
func closeAt(conn, raw net.Conn, at time.Time) net.Conn {
	timer := time.AfterFunc(time.Until(at), func() { _ = raw.Close() })
	return &expiringConn{Conn: conn, stop: timer.Stop}
}

func (c *expiringConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// SyscallConn gives grpc-go access to the socket.
func (c *expiringConn) SyscallConn() (syscall.RawConn, error) { return rawConn(c.Conn) }

func rawConn(conn net.Conn) (syscall.RawConn, error) {
	if c, ok := conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.New("transport: the connection is not a socket")
}
