// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package serving has what the commands that serve the gRPC endpoints share: flags, and
// what they lead to.
package serving

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"strings"

	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/examples/internal/cli"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/remote/transport/kubetoken"
)

// A listener is what flags say of where to listen, and who may do what.
type listener struct {
	address, cert, key, clientCA       string
	audiences, agents, relays, readers string
	tokenReview, insecure              bool
}

// define defines the flags.
func (l *listener) define(fs *flag.FlagSet) {
	fs.StringVar(&l.address, "listen", "127.0.0.1:10270", "the `address` to serve gRPC on: host:port or unix:///path")
	fs.StringVar(&l.cert, "cert", "", "`file` with the certificate of this server")
	fs.StringVar(&l.key, "key", "", "`file` with its key")
	fs.StringVar(&l.clientCA, "client-ca", "", "`file` with the CA of clients' certificates; a node is known by system:node:NAME in system:nodes, and may watch itself")
	fs.BoolVar(&l.tokenReview, "token-review", false, "know clients by bearer tokens, which the API server reviews")
	fs.StringVar(&l.audiences, "audiences", "kpng", "`audiences`, comma separated, one of which a token must be meant for")
	fs.StringVar(&l.agents, "agents", "", "`who`, comma separated, may watch the node that the token is bound to: names, or group:NAME")
	fs.StringVar(&l.relays, "relays", "", "`who` may watch any node and the facts of the cluster")
	fs.StringVar(&l.readers, "inspectors", "", "`who` may use the inspection service")
	fs.BoolVar(&l.insecure, "insecure", false, "serve without TLS wherever it listens, and let everybody do everything; without this flag that is so on loopback and unix sockets only, and only without a certificate")
}

// check refuses flags that contradict each other, or would be passed over in silence:
// whoever names clients must not be served without knowing any.
func (l *listener) check() error {
	plaintext := l.cert == ""
	return cli.Refuse(map[string]bool{
		"-insecure and -cert":                                              l.insecure && !plaintext,
		"one of -cert and -key without the other":                          plaintext != (l.key == ""),
		"-client-ca without -cert":                                         plaintext && l.clientCA != "",
		"-token-review without -cert":                                      plaintext && l.tokenReview,
		"-relays without -cert":                                            plaintext && l.relays != "",
		"-inspectors without -cert":                                        plaintext && l.readers != "",
		"-agents without -token-review":                                    l.agents != "" && !l.tokenReview,
		"-token-review without -audiences":                                 l.tokenReview && len(cli.List(l.audiences)) == 0,
		"-cert without -client-ca or -token-review: nobody could be known": !plaintext && l.clientCA == "" && !l.tokenReview,
	})
}

// open begins to listen, and returns who may do what. client may be nil when tokens
// are not reviewed. certificates follows certificates until its context is done.
func (l *listener) open(ctx context.Context, client kubernetes.Interface, log *slog.Logger) (
	socket *transport.Listener, guard transport.Guard, certificates func(ctx context.Context) error, err error,
) {
	cfg := transport.ListenConfig{Logger: log}
	guard.Logger = log
	certificates = func(context.Context) error { return nil }
	if l.cert == "" {
		guard.Authenticate, guard.Authorize = l.everybody(), transport.Rules{Allow: everything(anonymous)}.Authorize
		if l.insecure {
			cfg.Plaintext = transport.PlaintextEverywhere
		}
	} else {
		if guard.Authenticate, err = l.authenticator(client, log); err != nil {
			return nil, guard, nil, err
		}
		guard.Authorize = l.rules().Authorize
		files, err := transport.NewCertificates(transport.Files{Cert: l.cert, Key: l.key, CA: l.clientCA},
			transport.CertificatesConfig{Logger: log})
		if err != nil {
			return nil, guard, nil, cli.InFlags(err, "transport: ", "", "Files.CA", "-client-ca", "Files.Cert", "-cert", "Files.Key", "-key")
		}
		certificates = files.Run
		if cfg.Credentials, err = files.Server(l.clientCertificate()); err != nil {
			return nil, guard, nil, err
		}
	}
	if socket, err = transport.Listen(ctx, l.address, cfg); err != nil {
		err = fmt.Errorf("-listen: %w", cli.InFlags(err,
			"set ListenConfig.Credentials", "give -cert and -key", "set ListenConfig.Plaintext to PlaintextEverywhere", "give -insecure"))
	}
	return socket, guard, certificates, err
}

const anonymous = "system:anonymous"

// everybody knows everybody, if only as somebody.
func (l *listener) everybody() transport.Authenticator {
	if l.insecure {
		return func(context.Context) (transport.Identity, error) { return transport.Identity{Name: anonymous}, nil }
	}
	return transport.AnonymousAuthenticator("")
}

func (l *listener) clientCertificate() transport.ClientCertificate {
	switch {
	case l.clientCA == "":
		return transport.ClientCertificateNone
	case l.tokenReview:
		return transport.ClientCertificateOptional
	}
	return transport.ClientCertificateRequired
}

func (l *listener) authenticator(client kubernetes.Interface, log *slog.Logger) (transport.Authenticator, error) {
	var all []transport.Authenticator
	if l.clientCA != "" {
		all = append(all, transport.AuthenticateCertificate)
	}
	if l.tokenReview {
		tokens, err := transport.NewTokens(kubetoken.Reviewer(client.AuthenticationV1().TokenReviews()),
			transport.TokensConfig{Audiences: cli.List(l.audiences), Logger: log})
		if err != nil {
			return nil, err
		}
		all = append(all, tokens.Authenticate)
	}
	return transport.FirstAuthenticator(all...), nil
}

func (l *listener) rules() transport.Rules {
	relays := subjects(l.relays)
	return transport.Rules{OwnNode: subjects(l.agents), Allow: map[transport.Verb]transport.Subjects{
		transport.VerbWatchNode:    relays,
		transport.VerbWatchCluster: relays,
		transport.VerbInspect:      subjects(l.readers),
	}}
}

func subjects(list string) (s transport.Subjects) {
	for _, who := range cli.List(list) {
		if group, ok := strings.CutPrefix(who, "group:"); ok {
			s.Groups = append(s.Groups, group)
		} else {
			s.Names = append(s.Names, who)
		}
	}
	return s
}

func everything(names ...string) map[transport.Verb]transport.Subjects {
	all := transport.Subjects{Names: names}
	return map[transport.Verb]transport.Subjects{transport.VerbWatchNode: all, transport.VerbWatchCluster: all, transport.VerbInspect: all}
}
