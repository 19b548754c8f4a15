// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

func TestRules(t *testing.T) {
	node := Identity{Name: "system:node:n1", Groups: []string{"system:nodes"}, Node: "n1"}
	agent := Identity{Name: "system:serviceaccount:kube-system:kpng", Groups: []string{"system:serviceaccounts"}, Node: "n1"}
	pod := Identity{Name: "system:serviceaccount:default:web", Groups: []string{"system:serviceaccounts"}, Node: "n1"}
	relay := Identity{Name: "relay", Groups: []string{"kpng:relays"}}
	unbound := Identity{Name: agent.Name}
	rules := Rules{
		OwnNode: Subjects{Names: []string{agent.Name}},
		Allow: map[Verb]Subjects{
			VerbWatchCluster: {Groups: []string{"kpng:relays"}},
			VerbWatchNode:    {Groups: []string{"kpng:relays"}},
			VerbInspect:      {Names: []string{"jane"}},
		},
	}
	for _, c := range []struct {
		name     string
		rules    Rules
		identity Identity
		access   Access
		want     codes.Code
	}{
		{"a node watches itself", Rules{}, node, Access{VerbWatchNode, "n1"}, codes.OK},
		{"a node watches another node", rules, node, Access{VerbWatchNode, "n2"}, codes.PermissionDenied},
		{"a node watches without a node name", rules, node, Access{VerbWatchNode, ""}, codes.InvalidArgument},
		{"a node watches the cluster", rules, node, Access{VerbWatchCluster, ""}, codes.PermissionDenied},
		{"a node inspects itself", rules, node, Access{VerbInspect, "n1"}, codes.PermissionDenied},
		{"an agent watches its node", rules, agent, Access{VerbWatchNode, "n1"}, codes.OK},
		{"an agent watches another node", rules, agent, Access{VerbWatchNode, "n2"}, codes.PermissionDenied},
		{"an agent that is not listed", Rules{}, agent, Access{VerbWatchNode, "n1"}, codes.PermissionDenied},
		{"an agent that is bound to no node", rules, unbound, Access{VerbWatchNode, "n1"}, codes.PermissionDenied},
		{"any pod of the node", rules, pod, Access{VerbWatchNode, "n1"}, codes.PermissionDenied},
		{"a relay watches the cluster", rules, relay, Access{VerbWatchCluster, ""}, codes.OK},
		{"a relay watches any node", rules, relay, Access{VerbWatchNode, "n7"}, codes.OK},
		{"a relay inspects", rules, relay, Access{VerbInspect, ""}, codes.PermissionDenied},
		{"permitted by name", rules, Identity{Name: "jane"}, Access{VerbInspect, ""}, codes.OK},
		{"a group is not a name", rules, Identity{Name: "kpng:relays"}, Access{VerbWatchCluster, ""}, codes.PermissionDenied},
		{"an unknown verb", rules, relay, Access{"unknown-verb", ""}, codes.PermissionDenied},
		{"no identity, no node name", rules, Identity{}, Access{VerbWatchNode, ""}, codes.InvalidArgument},
		{"no identity", rules, Identity{}, Access{VerbWatchNode, "n1"}, codes.PermissionDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, status.Code(c.rules.Authorize(t.Context(), c.identity, c.access)))
		})
	}
	require.ErrorContains(t, rules.Authorize(t.Context(), node, Access{VerbWatchNode, "n2"}), `"system:node:n1" (bound to node n1) is not permitted to watch-node "n2"`)
	require.ErrorContains(t, rules.Authorize(t.Context(), node, Access{VerbWatchCluster, ""}), `"system:node:n1" is not permitted to watch-cluster`)
}

func TestFirstAuthenticatorStopsAtTheFirstCredential(t *testing.T) {
	none := func(context.Context) (Identity, error) { return Identity{}, ErrNoCredentials }
	bad := func(context.Context) (Identity, error) { return Identity{}, errUnauthenticated("bad") }
	good := func(context.Context) (Identity, error) { return Identity{Name: "x"}, nil }
	identity, err := FirstAuthenticator(none, good, bad)(t.Context())
	require.NoError(t, err)
	require.Equal(t, "x", identity.Name)
	_, err = FirstAuthenticator(none, bad, good)(t.Context())
	require.ErrorContains(t, err, "bad")
	_, err = FirstAuthenticator(none)(t.Context())
	require.ErrorIs(t, err, ErrNoCredentials)
	for _, authenticate := range []Authenticator{AuthenticateCertificate, SocketAuthenticator("n1"), AnonymousAuthenticator("n1")} {
		_, err := authenticate(t.Context())
		require.ErrorIs(t, err, ErrNoCredentials)
	}
}

func TestAnonymousPeersMustBeLocal(t *testing.T) {
	for address, local := range map[net.Addr]bool{
		&net.UnixAddr{Name: "@"}:                            true,
		&net.TCPAddr{IP: net.ParseIP("127.1.2.3")}:          true,
		&net.TCPAddr{IP: net.ParseIP("::1")}:                true,
		&net.TCPAddr{IP: net.ParseIP("10.0.0.1")}:           false,
		&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "x"}: false,
		&net.TCPAddr{}: false,
		&net.IPAddr{IP: net.ParseIP("127.0.0.1")}: false,
	} {
		identity, err := AnonymousAuthenticator("n1")(peer.NewContext(t.Context(), &peer.Peer{Addr: address}))
		if !local {
			require.ErrorIs(t, err, ErrNoCredentials, "%v", address)
			continue
		}
		require.NoError(t, err, "%v", address)
		require.Equal(t, Identity{Name: "system:anonymous", Groups: []string{"system:unauthenticated"}, Node: "n1"}, identity)
	}
}

func TestChainExpiresWithItsFirstCertificate(t *testing.T) {
	at := func(hours ...int) (chain []*x509.Certificate) {
		for _, h := range hours {
			chain = append(chain, &x509.Certificate{NotAfter: time.Unix(0, 0).Add(time.Duration(h) * time.Hour)})
		}
		return chain
	}
	require.Equal(t, at(3)[0].NotAfter, latestChainExpiry([][]*x509.Certificate{at(5, 2, 9), at(5, 3, 4), at(1, 9)}))
	require.Zero(t, latestChainExpiry(nil))
}

// An unguardedHealth service does not call Allow.
type unguardedHealth struct{ *health.Server }

func TestHandlerWithoutAllowSendsNothing(t *testing.T) {
	guard := Guard{Authenticate: AnonymousAuthenticator("n1"), Authorize: func(context.Context, Identity, Access) error { return nil }}
	address := serveService(t, "127.0.0.1:0", ListenConfig{}, ServerLimits{}, guard, unguardedHealth{health.NewServer()})
	client := dial(t, address, insecure.NewCredentials())
	require.Equal(t, codes.PermissionDenied, status.Code(check(t, client, "")))
	stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.PermissionDenied, status.Code(err))

	guard.OpenMethods = []string{"grpc.health.v1.Health"}
	address = serveService(t, "127.0.0.1:0", ListenConfig{}, ServerLimits{}, guard, unguardedHealth{health.NewServer()})
	client = dial(t, address, insecure.NewCredentials())
	require.NoError(t, check(t, client, ""))
	stream, err = client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)

	guard.OpenMethods = []string{"/grpc.health.v1.Health/Check"}
	address = serveService(t, "127.0.0.1:0", ListenConfig{}, ServerLimits{}, guard, unguardedHealth{health.NewServer()})
	client = dial(t, address, insecure.NewCredentials())
	require.NoError(t, check(t, client, ""))
	stream, err = client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

func TestZeroGuardRejectsAllPeers(t *testing.T) {
	for _, c := range []struct {
		name  string
		guard Guard
		want  codes.Code
	}{
		{"no authenticator", Guard{Authorize: func(context.Context, Identity, Access) error { return nil }}, codes.Unauthenticated},
		{"no authorizer", Guard{Authenticate: AnonymousAuthenticator("n1")}, codes.PermissionDenied},
		{"an internal error", Guard{Authenticate: func(context.Context) (Identity, error) { return Identity{}, errors.New("secret") }}, codes.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := serve(t, "127.0.0.1:0", ListenConfig{}, ServerLimits{}, c.guard)
			err := check(t, dial(t, address, insecure.NewCredentials()), "n1")
			require.Equal(t, c.want, status.Code(err))
			require.NotContains(t, err.Error(), "secret")
		})
	}
	require.Equal(t, codes.Unauthenticated, status.Code(Allow(t.Context(), Access{VerbWatchNode, "n1"})), "no guard at all")
	_, ok := PeerIdentity(t.Context())
	require.False(t, ok)
}

func TestSocketPeersAreIdentified(t *testing.T) {
	seen := make(chan Identity, 1)
	guard := Guard{Authenticate: FirstAuthenticator(SocketAuthenticator("n1"), AnonymousAuthenticator("")), Authorize: func(ctx context.Context, identity Identity, _ Access) error {
		same, _ := PeerIdentity(ctx)
		require.Equal(t, identity, same)
		seen <- identity
		return nil
	}}
	address := serve(t, "unix://"+filepath.Join(t.TempDir(), "s"), ListenConfig{}, ServerLimits{}, guard)
	require.NoError(t, check(t, dial(t, address, SocketCredentials()), "n1"))
	require.Equal(t, ownIdentity("n1"), <-seen)
	require.NoError(t, check(t, dial(t, address, insecure.NewCredentials()), "n1"), "clients need no socket credentials")
	require.Equal(t, ownIdentity("n1"), <-seen)
}
