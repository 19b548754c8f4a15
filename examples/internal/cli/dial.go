// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"sigs.k8s.io/kpng/remote/transport"
)

// A Dialer is what flags say of servers and of how to reach them.
type Dialer struct {
	flag, prefix                                  string // of the flag that names the servers, and of the others
	servers, ca, cert, key, tokenFile, serverName string
	insecure                                      bool
	certificates                                  *transport.Certificates
}

// Define defines the flags. Those beside name itself begin with prefix.
func (d *Dialer) Define(fs *flag.FlagSet, name, prefix, address string) {
	d.flag, d.prefix = name, prefix
	fs.StringVar(&d.servers, name, address, "`addresses`, comma separated: host:port or unix:///path; when one fails the next is tried")
	fs.StringVar(&d.ca, prefix+"ca", "", "`file` with the CA of the servers' certificates; the system's CAs without it")
	fs.StringVar(&d.cert, prefix+"cert", "", "`file` with a certificate to show")
	fs.StringVar(&d.key, prefix+"key", "", "`file` with its key")
	fs.StringVar(&d.tokenFile, prefix+"token-file", "", "`file` with a bearer token to show, read again for each call")
	fs.StringVar(&d.serverName, prefix+"server-name", "", "the `name` that the servers' certificate must have, instead of the host that is dialled")
	fs.BoolVar(&d.insecure, prefix+"insecure", false, "no TLS, wherever the server is; without this flag that is so on loopback and unix sockets only, and only when no other flag asks for TLS")
}

// Dial returns a connection to each server. They connect when they are used.
func (d *Dialer) Dial() ([]*grpc.ClientConn, error) {
	addresses, err := List(d.servers), d.check()
	switch {
	case err != nil:
		return nil, err
	case len(addresses) == 0:
		return nil, fmt.Errorf("%w: -%s names no server", ErrUsage, d.flag)
	}
	files := transport.Files{CA: d.ca, Cert: d.cert, Key: d.key}
	if d.certificates, err = transport.NewCertificates(files, transport.CertificatesConfig{}); err != nil {
		return nil, InFlags(err, "transport: ", "", "Files.CA", "-"+d.prefix+"ca", "Files.Cert", "-"+d.prefix+"cert", "Files.Key", "-"+d.prefix+"key")
	}
	if d.tokenFile != "" {
		if _, err := os.ReadFile(d.tokenFile); err != nil { // it is read again for each call
			return nil, fmt.Errorf("-%stoken-file: %w", d.prefix, err)
		}
	}
	conns := make([]*grpc.ClientConn, 0, len(addresses))
	for _, a := range addresses {
		options := append(transport.ClientOptions(transport.ClientLimits{MaxReceiveSize: maxMessage}),
			grpc.WithTransportCredentials(d.credentials(a)))
		if d.tokenFile != "" {
			options = append(options, grpc.WithPerRPCCredentials(transport.BearerTokenFile(d.tokenFile)))
		}
		conn, err := grpc.NewClient(a, options...)
		if err != nil {
			Close(conns)
			return nil, fmt.Errorf("server %s: %w", a, err)
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// check refuses flags that would be passed over in silence.
func (d *Dialer) check() error {
	flag := func(name string) string { return "-" + d.prefix + name }
	with := func(name string) string { return flag("insecure") + " and " + flag(name) }
	return Refuse(map[string]bool{
		with("ca"):          d.insecure && d.ca != "",
		with("cert"):        d.insecure && d.cert != "",
		with("token-file"):  d.insecure && d.tokenFile != "",
		with("server-name"): d.insecure && d.serverName != "",
		"one of " + flag("cert") + " and " + flag("key") + " without the other": (d.cert == "") != (d.key == ""),
	})
}

// maxMessage bounds what a server may say at once: all of a node's state, say.
const maxMessage = 256 << 20

func (d *Dialer) credentials(address string) credentials.TransportCredentials {
	switch {
	case strings.HasPrefix(address, "unix:"):
		return transport.SocketCredentials()
	case d.insecure, d.ca == "" && d.cert == "" && d.tokenFile == "" && d.serverName == "" && loopback(address):
		return insecure.NewCredentials()
	}
	return d.certificates.Client(d.serverName)
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Run follows certificates as their files change, until ctx is done.
func (d *Dialer) Run(ctx context.Context) error { return d.certificates.Run(ctx) }

// Close closes connections.
func Close(conns []*grpc.ClientConn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// Interfaces returns connections as clients take them.
func Interfaces(conns []*grpc.ClientConn) []grpc.ClientConnInterface {
	all := make([]grpc.ClientConnInterface, len(conns))
	for i, c := range conns {
		all[i] = c
	}
	return all
}
