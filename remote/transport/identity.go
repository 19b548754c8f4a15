// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// An Identity is who a peer is. It is shared, and must not be changed.
type Identity struct {
	// Name and Groups are those of Kubernetes where it vouched for the peer, such as
	// "system:node:n1" in "system:nodes".
	Name   string
	Groups []string
	// Node is the node that the peer is bound to; "" if none.
	Node string
	// Expires is when what the peer showed is no longer good; zero if it stays so.
	Expires time.Time
}

// In reports whether an identity is in a group.
func (i Identity) In(group string) bool { return slices.Contains(i.Groups, group) }

func (i Identity) expired(now time.Time) bool {
	return !i.Expires.IsZero() && !now.Before(i.Expires)
}

const (
	nodePrefix           = "system:node:"
	nodesGroup           = "system:nodes"
	serviceAccountPrefix = "system:serviceaccount:"
	anonymous            = "system:anonymous"
	unauthenticated      = "system:unauthenticated"
)

// nodeOf returns the node whose own identity this is, or "".
func nodeOf(name string, groups []string) string {
	if node, ok := strings.CutPrefix(name, nodePrefix); ok && slices.Contains(groups, nodesGroup) {
		return node
	}
	return ""
}

// An Authenticator says who the peer of a call is; ctx is that of the call, with its
// peer and its metadata. The error is ErrNoCredentials if the peer shows nothing that
// this authenticator judges, and else one for the peer, with a gRPC status.
type Authenticator func(ctx context.Context) (Identity, error)

// ErrNoCredentials is the error of an [Authenticator] that another one may follow.
var ErrNoCredentials = errors.New("transport: nothing to be authenticated by")

// FirstAuthenticator asks one after another until one has something to judge. Its verdict stands:
// who shows a bad token is not taken for somebody anonymous.
func FirstAuthenticator(authenticators ...Authenticator) Authenticator {
	return func(ctx context.Context) (Identity, error) {
		for _, authenticate := range authenticators {
			identity, err := authenticate(ctx)
			if !errors.Is(err, ErrNoCredentials) {
				return identity, err
			}
		}
		return Identity{}, ErrNoCredentials
	}
}

// AuthenticateCertificate knows a peer by its TLS client certificate, which the handshake has
// verified: CN is the name and each O a group, as in Kubernetes. The node is that of
// "system:node:NAME" in "system:nodes".
func AuthenticateCertificate(ctx context.Context) (Identity, error) {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return Identity{}, ErrNoCredentials
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return Identity{}, ErrNoCredentials
	}
	subject := info.State.VerifiedChains[0][0].Subject
	if subject.CommonName == "" {
		return Identity{}, ErrNoCredentials
	}
	return Identity{
		Name:    subject.CommonName,
		Groups:  subject.Organization,
		Node:    nodeOf(subject.CommonName, subject.Organization),
		Expires: chainsEnd(info.State.VerifiedChains),
	}, nil
}

// chainsEnd returns when no chain will be good any more, or zero if there is none.
func chainsEnd(chains [][]*x509.Certificate) (end time.Time) {
	for _, chain := range chains {
		first := chain[0].NotAfter
		for _, cert := range chain[1:] {
			if cert.NotAfter.Before(first) {
				first = cert.NotAfter
			}
		}
		if first.After(end) {
			end = first
		}
	}
	return end
}

// SocketAuthenticator knows a peer on a unix socket by what the kernel says of it: the name is
// "unix:uid:N" and the group "unix:gid:N". node is the node that this machine is, or
// "". Only Linux tells, and only where [SocketCredentials] are in use.
func SocketAuthenticator(node string) Authenticator {
	return func(ctx context.Context) (Identity, error) {
		p, _ := peer.FromContext(ctx)
		if p == nil {
			return Identity{}, ErrNoCredentials
		}
		info, ok := p.AuthInfo.(SocketInfo)
		if !ok || !info.Valid {
			return Identity{}, ErrNoCredentials
		}
		return Identity{
			Name:   fmt.Sprintf("unix:uid:%d", info.UID),
			Groups: []string{fmt.Sprintf("unix:gid:%d", info.GID)},
			Node:   node,
		}, nil
	}
}

// AnonymousAuthenticator takes every peer on a unix socket or the loopback interface for
// "system:anonymous" in "system:unauthenticated". node is the node that this machine
// is, or "". Whoever can open a connection on this machine is then somebody; where
// something forwards connections from elsewhere, such as a mesh's sidecar, that is
// everybody.
func AnonymousAuthenticator(node string) Authenticator {
	return func(ctx context.Context) (Identity, error) {
		p, _ := peer.FromContext(ctx)
		if p == nil || !isLocal(p.Addr) {
			return Identity{}, ErrNoCredentials
		}
		return Identity{Name: anonymous, Groups: []string{unauthenticated}, Node: node}, nil
	}
}

// isLocal reports whether an address cannot be reached from another machine.
func isLocal(addr net.Addr) bool {
	if _, ok := addr.(*net.UnixAddr); ok {
		return true
	}
	return ipOf(addr).IsLoopback()
}

// ipOf returns the IP of an address, or the zero one if it has none.
func ipOf(addr net.Addr) netip.Addr {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// errUnauthenticated returns the error for a peer that did not show who it is.
func errUnauthenticated(format string, args ...any) error {
	return status.Errorf(codes.Unauthenticated, format, args...)
}
