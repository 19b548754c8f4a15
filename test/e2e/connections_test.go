// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/test/netns"
)

const (
	// descriptorLimit is the limit of open files of a proxy under attack.
	descriptorLimit = 300
	// heldConnections are enough to use all descriptors that the proxy has left.
	heldConnections = 287
)

// TestHeldConnectionsDoNotStarveTheProxy runs the proxy with a low limit of open files while
// a peer holds connections to its ports: the proxy applies changes, connects again to an API
// server that was restarted, opens no more health check ports than it may, and answers health
// checks of other peers.
func TestHeldConnectionsDoNotStarveTheProxy(t *testing.T) {
	fx := newFixture(t)
	p := proxies()[0]
	p.build(t, fx)
	process, err := fx.Node.Namespace.Run(netns.Program{
		Name: "proxy-limited", Path: "/bin/sh", Dir: fx.dir,
		Args: append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, descriptorLimit), p.path}, p.args(fx)...),
	})
	require.NoError(t, err)
	p.process = process
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the proxy:\n%s", process.Tail(40))
		}
		require.NoError(t, process.Kill())
	})
	fx.barrier(t, syncLimit)
	health := netip.AddrPortFrom(fx.Node.Addrs[0], 10256).String()
	for name, bytes := range map[string]string{
		"idle": "", "slow head": "GET /healthz HTTP/1.1\r\nX-Slow: ", "idle after a response": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"slow body": "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
	} {
		release := fx.hold(t, health, bytes)
		fx.expectHealthy(t, p, health)
		begin := time.Now()
		fx.barrier(t, syncLimit)
		t.Logf("%s: %d of %d descriptors are open; a change took %v", name, openFiles(t, p), descriptorLimit, time.Since(begin))
		release()
	}

	release := fx.hold(t, health, "")
	require.NoError(t, fx.control.APIServer.Kill())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, fx.control.StartAPIServer(ctx))
	fx.barrier(t, syncLimit)
	fx.expectHealthy(t, p, health)
	release()

	var many []service
	for i := range descriptorLimit {
		many = append(many, service{
			name: fmt.Sprintf("checked%d", i), kind: corev1.ServiceTypeLoadBalancer, ports: []string{"80/tcp"},
			slices: endpoints("pod1"), edit: func(s *corev1.ServiceSpec) { s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal },
		})
	}
	fx.apply(t, nil, many)
	release = fx.hold(t, health, "")
	fx.barrier(t, time.Minute)
	fx.expectHealthy(t, p, health)
	t.Logf("with %d health check ports wanted, %d descriptors are open", 2*len(many), openFiles(t, p))
	release()
}

// hold opens connections to the proxy from one peer and sends data on each.
func (fx *fixture) hold(t *testing.T, address, data string) (release func()) {
	t.Helper()
	var conns []net.Conn
	for range heldConnections {
		c, err := fx.Client.Namespace.DialContext(t.Context(), net.Dialer{Timeout: 10 * time.Second}, "tcp", address)
		require.NoError(t, err)
		_, err = io.WriteString(c, data)
		require.NoError(t, err)
		conns = append(conns, c)
	}
	return func() {
		for _, c := range conns {
			c.Close()
		}
	}
}

// expectHealthy checks a health check of the node and the number of open files.
func (fx *fixture) expectHealthy(t *testing.T, p *proxyUnderTest, address string) {
	t.Helper()
	code, body, err := fx.get(t.Context(), address, "/healthz")
	require.NoError(t, err)
	require.Equal(t, 200, code, body)
	p.alive(t)
	require.Less(t, openFiles(t, p), descriptorLimit-20)
}

// openFiles returns the number of open files of a proxy.
func openFiles(t *testing.T, p *proxyUnderTest) int {
	t.Helper()
	files, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(p.process.PID()), "fd"))
	require.NoError(t, err)
	return len(files)
}
