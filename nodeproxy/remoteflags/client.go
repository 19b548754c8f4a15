// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package remoteflags

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/remote/transport"
)

// maxReceiveSize is the maximum size of a message from a server, in bytes: the whole
// state of a node, for example.
const maxReceiveSize = 256 << 20

// A Client has the flags that locate servers and secure the connections to them.
type Client struct {
	name, prefix                                  string // of the flag with the addresses, and of all others
	servers, ca, cert, key, tokenFile, serverName string
	insecure                                      bool
	rebalance                                     time.Duration
}

// DefineClient defines the flag name, with the addresses of servers, and flags whose
// names begin with prefix.
func DefineClient(fs *flag.FlagSet, name, prefix, defaultAddress string) *Client {
	c := &Client{name: name, prefix: prefix}
	fs.StringVar(&c.servers, name, defaultAddress,
		"`addresses` of servers (comma-separated): host:port or unix:///path; if one fails, the client uses the next")
	fs.StringVar(&c.ca, prefix+"ca", "", "`file` with the CA of the server certificates (default: the CAs of the system)")
	fs.StringVar(&c.cert, prefix+"cert", "", "`file` with the client certificate")
	fs.StringVar(&c.key, prefix+"key", "", "`file` with the key of the client certificate")
	fs.StringVar(&c.tokenFile, prefix+"token-file", "", "`file` with a bearer token, read for each call")
	fs.StringVar(&c.serverName, prefix+"server-name", "", "`name` in the server certificate (default: the host of the address)")
	fs.BoolVar(&c.insecure, prefix+"insecure", false,
		"connect without TLS (default: without TLS only on loopback and unix sockets, if no other flag requires TLS)")
	return c
}

// DefineWatcher defines the flags of DefineClient, without a default address, and those of a
// client that stays connected; see RebalanceInterval.
func DefineWatcher(fs *flag.FlagSet, name, prefix string) *Client {
	c := DefineClient(fs, name, prefix, "")
	fs.DurationVar(&c.rebalance, prefix+"rebalance-interval", time.Minute,
		"mean `time` between checks whether a preferred server is available again; each client prefers the servers in a random order; 0 disables the checks")
	return c
}

// RebalanceInterval returns the RebalanceInterval of a node.ClientConfig or
// cluster.ClientConfig.
func (c *Client) RebalanceInterval() time.Duration {
	if c.rebalance == 0 {
		return -1 // in these Configs, 0 is the default
	}
	return c.rebalance
}

// Connections are connections to servers. They connect when they are used.
type Connections struct {
	Conns        []*grpc.ClientConn // in the order of the flag
	certificates *transport.Certificates
}

// Dial returns connections as the flags describe them, which must be closed.
func (c *Client) Dial() (*Connections, error) { return c.dial(c.servers, "-"+c.name+": ") }

// DialAddresses is Dial with other addresses than those of the flag (comma-separated).
func (c *Client) DialAddresses(addresses string) (*Connections, error) { return c.dial(addresses, "") }

// dial begins errors about addresses with prefix.
func (c *Client) dial(list, prefix string) (*Connections, error) {
	addresses, err := command.SplitList(list), c.validate()
	switch {
	case err != nil:
		return nil, err
	case len(addresses) == 0:
		return nil, fmt.Errorf("%w: %srequired, at least one address", command.ErrUsage, prefix)
	}
	conns := &Connections{}
	files := transport.Files{CA: c.ca, Cert: c.cert, Key: c.key}
	if conns.certificates, err = transport.NewCertificates(files, transport.CertificatesConfig{}); err != nil {
		return nil, certificateError(err, "-"+c.prefix)
	}
	if c.tokenFile != "" {
		if _, err := os.ReadFile(c.tokenFile); err != nil { // a missing file is an error now, not with the first call
			return nil, fmt.Errorf("-%stoken-file: %w", c.prefix, err)
		}
	}
	for _, address := range addresses {
		options := append(transport.ClientOptions(transport.ClientLimits{MaxReceiveSize: maxReceiveSize}),
			grpc.WithTransportCredentials(c.credentials(address, conns.certificates)))
		if c.tokenFile != "" {
			options = append(options, grpc.WithPerRPCCredentials(transport.BearerTokenFile(c.tokenFile)))
		}
		conn, err := grpc.NewClient(address, options...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%sserver %s: %w", prefix, address, err), conns.Close())
		}
		conns.Conns = append(conns.Conns, conn)
	}
	return conns, nil
}

// validate returns an error for flags that would have no effect.
func (c *Client) validate() error {
	flag := func(name string) string { return "-" + c.prefix + name }
	both := func(name string) string { return flag("insecure") + " and " + flag(name) }
	return command.Conflicts(map[string]bool{
		both("ca"):          c.insecure && c.ca != "",
		both("cert"):        c.insecure && c.cert != "",
		both("token-file"):  c.insecure && c.tokenFile != "",
		both("server-name"): c.insecure && c.serverName != "",
		flag("rebalance-interval") + ": must not be negative":                   c.rebalance < 0,
		"one of " + flag("cert") + " and " + flag("key") + " without the other": (c.cert == "") != (c.key == ""),
	})
}

func (c *Client) credentials(address string, certificates *transport.Certificates) credentials.TransportCredentials {
	switch {
	case strings.HasPrefix(address, "unix:") && c.ca == "" && c.cert == "" && c.serverName == "":
		return transport.SocketCredentials()
	case c.insecure, c.ca == "" && c.cert == "" && c.tokenFile == "" && c.serverName == "" && isLoopback(address):
		return insecure.NewCredentials()
	}
	return certificates.Client(c.serverName)
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Run reads the certificate files again as they change, until ctx is done; then it
// returns nil.
func (c *Connections) Run(ctx context.Context) error { return c.certificates.Run(ctx) }

// Close closes all connections.
func (c *Connections) Close() error {
	var errs []error
	for _, conn := range c.Conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// Interfaces returns the connections in the type that clients of the library take.
func (c *Connections) Interfaces() []grpc.ClientConnInterface {
	all := make([]grpc.ClientConnInterface, len(c.Conns))
	for i, conn := range c.Conns {
		all[i] = conn
	}
	return all
}

// certificateError replaces the fields of transport.Files in err by flags that begin with
// prefix.
func certificateError(err error, prefix string) error {
	return command.ReplaceInError(err, "transport: ", "", "Files.CA", prefix+"ca", "Files.Cert", prefix+"cert", "Files.Key", prefix+"key")
}
