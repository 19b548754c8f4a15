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

// ClientCertificate says what a server wants of its clients' certificates.
type ClientCertificate uint8

const (
	// ClientCertificateRequired lets nobody in without a certificate that leads to the
	// CA.
	ClientCertificateRequired ClientCertificate = iota
	// ClientCertificateOptional checks a certificate that is shown, and lets in who has
	// none: for clients that have a token instead.
	ClientCertificateOptional
	// ClientCertificateNone does not ask for one.
	ClientCertificateNone
)

// expiryGrace is what a stream has to end with a status of its own, after the
// certificate of its connection has expired, before the connection is closed.
const expiryGrace = 5 * time.Second

// Server returns the credentials of a server, good for grpc.Creds. Each handshake uses
// what was last read. A connection is closed soon after its client's certificate has
// expired, as only a new one can show a new certificate.
func (c *Certificates) Server(client ClientCertificate) (credentials.TransportCredentials, error) {
	modes := map[ClientCertificate]tls.ClientAuthType{
		ClientCertificateRequired: tls.RequireAndVerifyClientCert,
		ClientCertificateOptional: tls.VerifyClientCertIfGiven,
		ClientCertificateNone:     tls.NoClientCert,
	}
	mode, known := modes[client]
	switch {
	case !known:
		return nil, fmt.Errorf("transport: ClientCertificate is %d, which is none of those there are", client)
	case c.files.Cert == "":
		return nil, errors.New("transport: Files.Cert and Files.Key are empty, and a server needs a certificate")
	case client != ClientCertificateNone && c.files.CA == "":
		// Without this the system's roots would do, which vouch for the whole world.
		return nil, errors.New("transport: Files.CA is empty, so no client certificate can be checked; name the file, or take NoClientCertificate")
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
				// A resumed session would outlive the CA that vouched for it, and
				// connections are too rare for it to save anything.
				SessionTicketsDisabled: true,
			}, nil
		},
	})}, nil
}

// Client returns the credentials of a client, good for
// grpc.WithTransportCredentials. Each handshake uses what was last read: certificate
// and CA. The server must have a certificate for serverName; if that is empty, for the
// host that is dialed.
func (c *Certificates) Client(serverName string) credentials.TransportCredentials {
	return &clientCredentials{certificates: c, serverName: serverName}
}

// A clientCredentials makes new credentials for each handshake, as the roots in a tls.Config
// cannot be exchanged without giving up its own verification.
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
		// Not Certificates: those are kept back if the server does not name their
		// issuer, which leaves both sides guessing.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return now.pair, nil }
	}
	return credentials.NewTLS(config)
}

func (c *clientCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.newTLS().ClientHandshake(ctx, authority, conn)
}

func (c *clientCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("transport: the credentials of a client cannot serve; take Certificates.Server")
}

func (c *clientCredentials) Info() credentials.ProtocolInfo { return c.newTLS().Info() }

func (c *clientCredentials) Clone() credentials.TransportCredentials { copied := *c; return &copied }

func (c *clientCredentials) OverrideServerName(name string) error { c.serverName = name; return nil }

// expiringCredentials closes connections whose client's certificate has expired.
type expiringCredentials struct {
	credentials.TransportCredentials
	grace time.Duration // until streams have ended with a status of their own
}

func (e expiringCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := e.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	tlsInfo, ok := info.(credentials.TLSInfo)
	if end := chainsEnd(tlsInfo.State.VerifiedChains); ok && !end.IsZero() {
		conn = closeAt(conn, raw, end.Add(e.grace))
	}
	return conn, info, nil
}

func (e expiringCredentials) Clone() credentials.TransportCredentials {
	return expiringCredentials{e.TransportCredentials.Clone(), e.grace}
}

// loggingCredentials tells who is turned away before any call: without a certificate, say.
type loggingCredentials struct {
	credentials.TransportCredentials
	rejections *rejectionLog
}

func (l loggingCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := l.TransportCredentials.ServerHandshake(raw)
	// A peer that goes away, as probes of TCP do, was not refused.
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		l.rejections.log(context.Background(), raw.RemoteAddr(), "", "handshake", err)
	}
	return conn, info, err
}

func (l loggingCredentials) Clone() credentials.TransportCredentials {
	return loggingCredentials{l.TransportCredentials.Clone(), l.rejections}
}

// A expiringConn is closed at a set time.
type expiringConn struct {
	net.Conn
	stop func() bool
}

// closeAt closes the raw connection under conn, which never waits for the peer.
func closeAt(conn, raw net.Conn, at time.Time) net.Conn {
	timer := time.AfterFunc(time.Until(at), func() { _ = raw.Close() })
	return &expiringConn{Conn: conn, stop: timer.Stop}
}

func (c *expiringConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// SyscallConn lets gRPC see the socket.
func (c *expiringConn) SyscallConn() (syscall.RawConn, error) { return rawConn(c.Conn) }

func rawConn(conn net.Conn) (syscall.RawConn, error) {
	if c, ok := conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.New("transport: a connection that is no socket")
}
