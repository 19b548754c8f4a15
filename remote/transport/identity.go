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

// An Identity is an authenticated peer. Identities are shared and immutable.
type Identity struct {
	// Name and Groups are the user name and groups in Kubernetes, for example
	// "system:node:n1" in "system:nodes".
	Name   string
	Groups []string
	// Node is the name of the node that the peer is bound to; "" if it is bound to none.
	Node string
	// Expires is when the credential of the peer expires; the zero time if it does not.
	Expires time.Time
}

// In reports whether i is a member of group.
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

// nodeOf returns the node whose kubelet identity this is, or "".
func nodeOf(name string, groups []string) string {
	if node, ok := strings.CutPrefix(name, nodePrefix); ok && slices.Contains(groups, nodesGroup) {
		return node
	}
	return ""
}

// An Authenticator returns the identity of the peer of a call. ctx is the context of the
// call, with its peer and metadata. The error is [ErrNoCredentials] when the call has no
// credential of the kind that the authenticator checks, and otherwise a gRPC status error,
// which the peer receives. Calls may overlap.
type Authenticator func(ctx context.Context) (Identity, error)

// ErrNoCredentials is returned by an [Authenticator] when another one may be tried.
var ErrNoCredentials = errors.New("transport: no credentials")

// FirstAuthenticator returns an authenticator that tries authenticators in order until one
// returns something else than [ErrNoCredentials]. An invalid credential is therefore an
// error, even when a later authenticator accepts anonymous peers.
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

// AuthenticateCertificate is an [Authenticator] for TLS client certificates, which the
// handshake has verified: CN is the name and each O a group, as in Kubernetes. A peer named
// "system:node:NAME" in "system:nodes" is bound to node NAME.
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
		Expires: latestChainExpiry(info.State.VerifiedChains),
	}, nil
}

// latestChainExpiry returns when the last valid chain expires, or the zero time if there is none.
func latestChainExpiry(chains [][]*x509.Certificate) (end time.Time) {
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

// SocketAuthenticator returns an authenticator for peers on a Unix socket, which the kernel
// identifies: the name is "unix:uid:N" and the group "unix:gid:N". Peers are bound to node,
// which may be "". It works on Linux, on connections with [SocketCredentials].
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

// AnonymousAuthenticator returns an authenticator that accepts every peer on a Unix socket
// or a loopback address as "system:anonymous" in "system:unauthenticated", bound to node,
// which may be "". Any process of the machine can connect, and where a proxy forwards
// connections to loopback, such as the sidecar of a mesh, any peer of that proxy.
func AnonymousAuthenticator(node string) Authenticator {
	return func(ctx context.Context) (Identity, error) {
		p, _ := peer.FromContext(ctx)
		if p == nil || !isLocal(p.Addr) {
			return Identity{}, ErrNoCredentials
		}
		return Identity{Name: anonymous, Groups: []string{unauthenticated}, Node: node}, nil
	}
}

// isLocal reports whether addr is reachable from this machine only.
func isLocal(addr net.Addr) bool {
	if _, ok := addr.(*net.UnixAddr); ok {
		return true
	}
	return ipOf(addr).IsLoopback()
}

// ipOf returns the IP address of addr, or the zero Addr if it has none.
func ipOf(addr net.Addr) netip.Addr {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// errUnauthenticated returns the status error of a peer without an identity.
func errUnauthenticated(format string, args ...any) error {
	return status.Errorf(codes.Unauthenticated, format, args...)
}
