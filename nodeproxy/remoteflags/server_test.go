// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package remoteflags

import (
	"context"
	"flag"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// TestServerFlagsAreNeverIgnored checks that errors name flags, and that a server with a
// list of clients does not serve all clients.
func TestServerFlagsAreNeverIgnored(t *testing.T) {
	parse := func(line string) error {
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		s := DefineServer(fs)
		require.NoError(t, command.Parse(fs, strings.Fields(line)))
		return s.Validate()
	}
	for line, want := range map[string]string{
		"-insecure -cert a -key b -client-ca c":        "-insecure and -cert",
		"-cert a -client-ca c":                         "one of -cert and -key without the other",
		"-key b":                                       "one of -cert and -key without the other",
		"-client-ca c":                                 "-client-ca without -cert",
		"-token-review":                                "-token-review without -cert",
		"-relays r":                                    "-relays without -cert",
		"-inspectors i -insecure":                      "-inspectors without -cert",
		"-agents a -cert a -key b -client-ca c":        "-agents without -token-review",
		"-token-review -cert a -key b -audiences ,":    "-token-review without -audiences",
		"-cert a -key b":                               "-cert without -client-ca or -token-review",
		"-node-cidr -cluster-cidr 10.0.0.0/8":          "-cluster-cidr and -node-cidr",
		"-cluster-cidr 10.0.0.0/8,11.0.0.0/8":          "-cluster-cidr: more than one IPv4 network",
		"-cluster-cidr ten":                            `-cluster-cidr: "ten" is not a network`,
		"-nodeport-addresses primary,eth0":             `-nodeport-addresses[1]: "eth0" is neither a network nor one of`,
		"-nodeport-addresses primary,primary":          `-nodeport-addresses[1]: "primary" is given twice`,
		"-no-masquerade-cidrs ten":                     `-no-masquerade-cidrs: "ten" is not a network`,
		"-frontend-kinds ClusterIP,Ingress":            `-frontend-kinds: "Ingress" is not one of [ClusterIP NodePort ExternalIP LoadBalancer]`,
		"-ip-families IPv5":                            `-ip-families: "IPv5" is not IPv4 or IPv6`,
		"-max-connections 0":                           "-max-connections: must be positive",
		"-max-unauthenticated -1":                      "-max-unauthenticated: must be positive",
		"-max-unauthenticated-per-address 0":           "-max-unauthenticated-per-address: must be positive",
		"-authentication-timeout 0s":                   "-authentication-timeout: must be positive",
		"-max-connection-age -1s":                      "-max-connection-age: must be positive",
		"-relays r -inspectors i -cert a -insecure -v": "; -insecure and -cert; ",
	} {
		err := parse(line)
		require.ErrorIs(t, err, command.ErrUsage, line)
		require.ErrorContains(t, err, want, line)
		require.NotContains(t, err.Error(), "Config", line)
	}
	for _, line := range []string{
		"", "-insecure", "-ignore-external-ips", "-node-cidr -nodeport-addresses localhost", "-cluster-cidr 10.0.0.0/8,fd00::/64",
		"-cert a -key b -client-ca c -relays r -inspectors i", "-cert a -key b -token-review -agents a",
	} {
		require.NoError(t, parse(line), line)
	}
}

func TestScopeFlags(t *testing.T) {
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	s := DefineServer(fs)
	require.NoError(t, command.Parse(fs, strings.Fields("-no-masquerade-cidrs 10.0.0.0/8,fd00::/8 -frontend-kinds ClusterIP,NodePort -ip-families IPv6")))
	cfg, err := s.resolver.config()
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}, cfg.NoMasquerade)
	require.Equal(t, []localsink.FrontendKind{localsink.KindClusterIP, localsink.KindNodePort}, cfg.Scope.FrontendKinds)
	require.Equal(t, []watchers.IPFamily{watchers.FamilyIPv6}, cfg.Scope.Families)
}

// A blockedWatcher brings an empty cluster state.
type blockedWatcher struct{}

func (blockedWatcher) Run(ctx context.Context, store *watchers.Store) error {
	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	<-ctx.Done()
	return nil
}

func TestLimitFlags(t *testing.T) {
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	s := DefineServer(fs)
	require.NoError(t, command.Parse(fs, strings.Fields("-max-connections 1 -max-unauthenticated 2 -max-unauthenticated-per-address 3 -authentication-timeout 4s -max-connection-age 5s")))
	require.Equal(t, transport.ConnectionLimits{Total: 1, Unauthenticated: 2, UnauthenticatedPerAddress: 3, AuthenticationTimeout: 4 * time.Second},
		s.listener.limits.connections())
	require.Equal(t, transport.ServerLimits{MaxConnectionAge: 5 * time.Second}, s.listener.serverLimits())
}

func TestServerRunsAsTheFlagsDescribe(t *testing.T) {
	defer goleak.VerifyNone(t)
	run := func(ctx context.Context, line string, collectors ...prometheus.Collector) error {
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		s := DefineServer(fs)
		require.NoError(t, command.Parse(fs, strings.Fields(line)))
		require.NoError(t, s.Validate())
		return s.Run(ctx, ServerConfig{Name: "test", Watcher: blockedWatcher{}, Collectors: collectors})
	}
	socket := "unix://" + filepath.Join(t.TempDir(), "socket")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, "-listen "+socket) }()

	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	c := DefineClient(fs, "server", "", socket)
	require.NoError(t, command.Parse(fs, nil))
	conns, err := c.Dial()
	require.NoError(t, err)
	// The server answers Unavailable until it has resolved the cluster state.
	require.Eventually(t, func() bool {
		_, err := kpng.NewInspectServiceClient(conns.Conns[0]).GetLag(ctx, &kpng.GetLagRequest{}, grpc.WaitForReady(true))
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, conns.Close())
	cancel()
	require.NoError(t, <-done)

	require.ErrorContains(t, run(t.Context(), "-listen 0.0.0.0:0"), "give -insecure")
	require.ErrorContains(t, run(t.Context(), "-listen nowhere:x"), "-listen: ")
	err = DefineServer(flag.NewFlagSet("x", flag.ContinueOnError)).Run(t.Context(), ServerConfig{Watcher: blockedWatcher{}, Listen: "nowhere:x"})
	require.ErrorContains(t, err, "nowhere")
	require.NotContains(t, err.Error(), "-listen")
	require.ErrorContains(t, run(t.Context(), "-listen "+socket+" -metrics nowhere:x"), "-metrics: ")
	require.ErrorContains(t, run(t.Context(), "-listen "+socket+" -cert nope -key nope -client-ca nope"), "-cert: open nope")
	twice := prometheus.NewCounter(prometheus.CounterOpts{Name: "x_total", Help: "x"})
	require.ErrorContains(t, run(t.Context(), "-listen "+socket, twice, twice), "metrics: ")
}
