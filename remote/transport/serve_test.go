// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// start serves the nodes of store on loopback, with only inspection allowed when
// guarded, and returns a connection and what stops the server.
func start(t *testing.T, store *watchers.Store, guard transport.Guard, extra ...transport.Service) (*grpc.ClientConn, func() error) {
	nodes, err := node.NewServer(store, node.ServerConfig{Authorize: transport.AllowNode, AuthorizeInspect: transport.AllowInspect})
	require.NoError(t, err)
	listener, err := transport.Listen(t.Context(), "127.0.0.1:0", transport.ListenConfig{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- transport.Serve(ctx, listener, transport.ServeConfig{Guard: guard, Register: nodes.RegisterInspect},
			append([]transport.Service{nodes}, extra...)...)
	}()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	var result error
	stop := func() error {
		if cancel(); done != nil {
			result, done = <-done, nil
			nodes.Close()
			conn.Close()
		}
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return conn, stop
}

func local(rules transport.Rules) transport.Guard {
	return transport.Guard{Authenticate: transport.AnonymousAuthenticator("node-1"), Authorize: rules.Authorize}
}

func anonymous() transport.Subjects { return transport.Subjects{Names: []string{"system:anonymous"}} }

// TestHealthFollowsReadiness: not serving, serving when the store is synced, not
// serving while it stops; streams end at once, not after the grace period.
func TestHealthFollowsReadiness(t *testing.T) {
	store := watchers.NewStore()
	conn, stop := start(t, store, local(transport.Rules{OwnNode: anonymous()}))
	asking, asked := context.WithCancel(t.Context())
	health, err := healthpb.NewHealthClient(conn).Watch(asking, &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	next := func() healthpb.HealthCheckResponse_ServingStatus {
		got, err := health.Recv()
		require.NoError(t, err)
		return got.GetStatus()
	}
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, next())
	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, next())

	stream, err := kpng.NewNodeServiceClient(conn).WatchNode(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Hello{Hello: &kpng.NodeHello{NodeName: "node-1"}}}))
	_, err = stream.Recv()
	require.NoError(t, err)

	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, next())
	asked()
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	require.Equal(t, codes.Unavailable, status.Code(err), err)
	require.NoError(t, <-stopped)
}

// TestGuardedServices checks that health and reflection are open to every peer and that
// other services need a permission.
func TestGuardedServices(t *testing.T) {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	for name, c := range map[string]struct {
		guard          transport.Guard
		node, inspects codes.Code
	}{
		"no authenticator":   {transport.Guard{}, codes.Unauthenticated, codes.Unauthenticated},
		"nothing is allowed": {local(transport.Rules{}), codes.PermissionDenied, codes.PermissionDenied},
		"its own node":       {local(transport.Rules{OwnNode: anonymous()}), codes.OK, codes.PermissionDenied},
		"inspection": {local(transport.Rules{Allow: map[transport.Verb]transport.Subjects{transport.VerbInspect: anonymous()}}),
			codes.PermissionDenied, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			conn, _ := start(t, store, c.guard)
			_, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
			require.NoError(t, err)
			stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
			require.NoError(t, err)
			require.NoError(t, stream.Send(&reflectionpb.ServerReflectionRequest{
				MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{},
			}))
			services, err := stream.Recv()
			require.NoError(t, err)
			var names []string
			for _, s := range services.GetListServicesResponse().GetService() {
				names = append(names, s.GetName())
			}
			require.Subset(t, names, []string{"kpng.v1alpha1.NodeService", "kpng.v1alpha1.InspectService", "grpc.health.v1.Health"})

			watch, err := kpng.NewNodeServiceClient(conn).WatchNode(t.Context())
			require.NoError(t, err)
			// A rejected peer may see the error before it has sent anything.
			_ = watch.Send(&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Hello{Hello: &kpng.NodeHello{NodeName: "node-1"}}})
			_, err = watch.Recv()
			require.Equal(t, c.node, status.Code(err), err)
			_, err = kpng.NewInspectServiceClient(conn).GetLag(t.Context(), &kpng.GetLagRequest{}, grpc.WaitForReady(true))
			if c.inspects == codes.OK && status.Code(err) == codes.Unavailable {
				return // permitted; the first state is not ready
			}
			require.Equal(t, c.inspects, status.Code(err), err)
		})
	}
}

type broken struct{ err error }

func (broken) Register(grpc.ServiceRegistrar)  {}
func (broken) Ready() <-chan struct{}          { return nil }
func (b broken) Run(ctx context.Context) error { return b.err }

// TestFailingServiceStopsTheServer checks that the server does not continue with the
// remaining services.
func TestFailingServiceStopsTheServer(t *testing.T) {
	no := errors.New("no more")
	listener, err := transport.Listen(t.Context(), "127.0.0.1:0", transport.ListenConfig{})
	require.NoError(t, err)
	require.ErrorIs(t, transport.Serve(t.Context(), listener, transport.ServeConfig{}, broken{no}), no)
}
