// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package remoteflags

import (
	"cmp"
	"context"
	"flag"
	"log/slog"
	"strings"

	"google.golang.org/grpc/credentials"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/remote/transport/kubetoken"
)

// listenerFlags are the flags of the address of a server, its TLS, and its clients with
// their permissions.
type listenerFlags struct {
	address, cert, key, clientCA          string
	audiences, agents, relays, inspectors string
	tokenReview, insecure                 bool
	limits                                limitFlags
}

func (f *listenerFlags) define(fs *flag.FlagSet) {
	fs.StringVar(&f.address, "listen", "127.0.0.1:10270", "`address` that serves gRPC: host:port or unix:///path")
	fs.StringVar(&f.cert, "cert", "", "`file` with the server certificate")
	fs.StringVar(&f.key, "key", "", "`file` with the key of the server certificate")
	fs.StringVar(&f.clientCA, "client-ca", "",
		"`file` with the CA of client certificates; a client with CN=system:node:NAME and O=system:nodes is a node and may watch itself")
	fs.BoolVar(&f.tokenReview, "token-review", false, "authenticate clients by bearer tokens, which the API server reviews")
	fs.StringVar(&f.audiences, "audiences", "kpng", "`audiences` (comma-separated), one of which a token must have")
	fs.StringVar(&f.agents, "agents", "", "`users` or group:NAME (comma-separated) allowed to watch the node their token is bound to")
	fs.StringVar(&f.relays, "relays", "", "`users` or group:NAME (comma-separated) allowed to watch any node and the cluster state")
	fs.StringVar(&f.inspectors, "inspectors", "", "`users` or group:NAME (comma-separated) allowed to use the inspection service")
	fs.BoolVar(&f.insecure, "insecure", false,
		"serve without TLS and allow all clients everything, on any address (default: only on loopback and unix sockets, if there is no certificate)")
	f.limits.define(fs)
}

// validate returns an error for flags that contradict each other or would have no effect.
func (f *listenerFlags) validate() error {
	plaintext := f.cert == ""
	if err := f.limits.validate(); err != nil {
		return err
	}
	return command.Conflicts(map[string]bool{
		"-insecure and -cert":                     f.insecure && !plaintext,
		"one of -cert and -key without the other": plaintext != (f.key == ""),
		"-client-ca without -cert":                plaintext && f.clientCA != "",
		"-token-review without -cert":             plaintext && f.tokenReview,
		"-relays without -cert":                   plaintext && f.relays != "",
		"-inspectors without -cert":               plaintext && f.inspectors != "",
		"-agents without -token-review":           f.agents != "" && !f.tokenReview,
		"-token-review without -audiences":        f.tokenReview && len(command.SplitList(f.audiences)) == 0,
		"-cert without -client-ca or -token-review: no client could authenticate": !plaintext && f.clientCA == "" && !f.tokenReview,
	})
}

// serverLimits returns the limits of one connection.
func (f *listenerFlags) serverLimits() transport.ServerLimits {
	return transport.ServerLimits{MaxConnectionAge: f.limits.age}
}

// A listener is an open socket, with what is needed to serve on it.
type listener struct {
	socket *transport.Listener
	guard  transport.Guard
	// followFiles reads the certificate files again as they change, until ctx is done.
	followFiles func(ctx context.Context) error
}

// listen opens the socket at an address, or at that of -listen if it is "". client reviews tokens; it
// may be nil without -token-review.
func (f *listenerFlags) listen(ctx context.Context, address string, client kubernetes.Interface, logger *slog.Logger) (*listener, error) {
	l := &listener{guard: transport.Guard{Logger: logger}, followFiles: func(context.Context) error { return nil }}
	cfg := transport.ListenConfig{Connections: f.limits.connections(), Logger: logger}
	var err error
	if f.cert != "" {
		cfg.Credentials, err = f.secure(l, client)
		if err != nil {
			return nil, err
		}
	} else {
		l.guard.Authenticate, l.guard.Authorize = f.anonymousAuthenticator(), transport.Rules{Allow: allowEverything(anonymous)}.Authorize
		if f.insecure {
			cfg.Plaintext = transport.PlaintextEverywhere
		}
	}
	if l.socket, err = transport.Listen(ctx, cmp.Or(address, f.address), cfg); err != nil {
		err = command.ReplaceInError(err,
			"set ListenConfig.Credentials", "give -cert and -key", "set ListenConfig.Plaintext to PlaintextEverywhere", "give -insecure")
		if address == "" {
			err = command.Prefix("-listen", err)
		}
		return nil, err
	}
	return l, nil
}

// secure makes l authenticate clients by certificates and tokens, and returns the
// credentials of the server.
func (f *listenerFlags) secure(l *listener, client kubernetes.Interface) (credentials.TransportCredentials, error) {
	var err error
	if l.guard.Authenticate, err = f.authenticator(client, l.guard.Logger); err != nil {
		return nil, err
	}
	l.guard.Authorize = f.rules().Authorize
	certificates, err := transport.NewCertificates(transport.Files{Cert: f.cert, Key: f.key, CA: f.clientCA},
		transport.CertificatesConfig{Logger: l.guard.Logger})
	if err != nil {
		return nil, command.ReplaceInError(err, "transport: ", "", "Files.CA", "-client-ca", "Files.Cert", "-cert", "Files.Key", "-key")
	}
	l.followFiles = certificates.Run
	return certificates.Server(f.clientCertificate())
}

// ReviewQPS is the limit of requests per second of the client in ServerConfig: none. The
// server limits concurrent token reviews, of each address and in all. A client with a queue
// of its own, such as the default of client-go with its few requests per second, would let invalid
// tokens delay valid ones.
const ReviewQPS = -1

// anonymous is the name of each client of a server without a certificate.
const anonymous = "system:anonymous"

// anonymousAuthenticator accepts every client: with -insecure from anywhere, and
// otherwise only from this machine.
func (f *listenerFlags) anonymousAuthenticator() transport.Authenticator {
	if f.insecure {
		return func(context.Context) (transport.Identity, error) { return transport.Identity{Name: anonymous}, nil }
	}
	return transport.AnonymousAuthenticator("")
}

func (f *listenerFlags) clientCertificate() transport.ClientCertificate {
	switch {
	case f.clientCA == "":
		return transport.ClientCertificateNone
	case f.tokenReview:
		return transport.ClientCertificateOptional
	}
	return transport.ClientCertificateRequired
}

func (f *listenerFlags) authenticator(client kubernetes.Interface, logger *slog.Logger) (transport.Authenticator, error) {
	var all []transport.Authenticator
	if f.clientCA != "" {
		all = append(all, transport.AuthenticateCertificate)
	}
	if f.tokenReview {
		tokens, err := transport.NewTokens(kubetoken.Reviewer(client.AuthenticationV1().TokenReviews()),
			transport.TokensConfig{Audiences: command.SplitList(f.audiences), Logger: logger})
		if err != nil {
			return nil, err
		}
		all = append(all, tokens.Authenticate)
	}
	return transport.FirstAuthenticator(all...), nil
}

func (f *listenerFlags) rules() transport.Rules {
	relays := subjects(f.relays)
	return transport.Rules{OwnNode: subjects(f.agents), Allow: map[transport.Verb]transport.Subjects{
		transport.VerbWatchNode:    relays,
		transport.VerbWatchCluster: relays,
		transport.VerbInspect:      subjects(f.inspectors),
	}}
}

// subjects parses a list of users and groups.
func subjects(list string) (s transport.Subjects) {
	for _, subject := range command.SplitList(list) {
		if group, ok := strings.CutPrefix(subject, "group:"); ok {
			s.Groups = append(s.Groups, group)
		} else {
			s.Names = append(s.Names, subject)
		}
	}
	return s
}

func allowEverything(names ...string) map[transport.Verb]transport.Subjects {
	all := transport.Subjects{Names: names}
	return map[transport.Verb]transport.Subjects{transport.VerbWatchNode: all, transport.VerbWatchCluster: all, transport.VerbInspect: all}
}
