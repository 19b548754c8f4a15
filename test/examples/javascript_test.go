// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// javascript installs the client and its dependencies in a temporary folder, next to the
// protos that it loads, and returns a func that starts it.
func javascript(t *testing.T) func(args ...string) *process {
	node, nodeErr := exec.LookPath("node")
	npm, npmErr := exec.LookPath("npm")
	if nodeErr != nil || npmErr != nil {
		if os.Getenv("KPNG_REQUIRE_NODE") != "" {
			t.Fatal("KPNG_REQUIRE_NODE is set, but node or npm is missing")
		}
		t.Skip("node or npm is missing; test/tools.sh installs both on Debian")
	}
	dir := t.TempDir()
	app := filepath.Join(dir, "examples", "node-client-js")
	require.NoError(t, os.CopyFS(filepath.Join(dir, "api"), os.DirFS("../../api")))
	require.NoError(t, os.MkdirAll(app, 0o755))
	for _, name := range []string{"package.json", "package-lock.json", "index.js", "state.js"} {
		data, err := os.ReadFile(filepath.Join("../../examples/node-client-js", name))
		require.NoError(t, err)
		require.NotContains(t, string(data), `"resolved"`, "%s must not contain URLs of a registry", name)
		require.NoError(t, os.WriteFile(filepath.Join(app, name), data, 0o644))
	}
	install := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = app
	out, err := install.CombinedOutput()
	require.NoError(t, err, string(out))
	return func(args ...string) *process {
		return start(t, node, append([]string{filepath.Join(app, "index.js")}, args...)...)
	}
}

// last returns the last printed state. Each state starts with the node.
func last(text string) string { return text[max(strings.LastIndex(text, "# node "), 0):] }

// waitLast waits until the last printed state equals want.
func (o *output) waitLast(t *testing.T, want string) {
	t.Helper()
	for expired := time.After(timeout); ; {
		text, changed := o.current()
		if last(text) == want {
			return
		}
		select {
		case <-changed:
		case <-expired:
			require.Equal(t, want, last(text))
		}
	}
}

// state returns the desired state of a node, from kpng state. The Node may be missing.
func state(t *testing.T, address, node string) string {
	t.Helper()
	out, stderr, code := ask(t, "state", node, "--server", address)
	if !strings.Contains(stderr, "there is no Node") {
		require.Zero(t, code, stderr)
	}
	return out
}

// The JavaScript client, which uses only the protos, reaches the same state as the Go
// client, for random objects and over a restart of the server.
func TestJavaScriptClientMatchesGo(t *testing.T) {
	node := javascript(t)
	t.Run("once", func(t *testing.T) {
		_, address, _ := serve(t, "testdata/manifests")
		for _, name := range []string{"node-1", "node-2", "node-3", "unknown"} {
			p := node("--server", address, "--node", name, "--once")
			require.NoError(t, <-p.done, p.stderr.text())
			p.done = nil
			require.Equal(t, state(t, address, name), p.stdout.text())
		}
	})
	t.Run("flags", func(t *testing.T) {
		for _, flags := range [][]string{{}, {"--unknown"}, {"--node", "node-1", "--token-file", "none"}} {
			p := node(flags...)
			require.EqualError(t, <-p.done, "exit status 2")
			p.done = nil
			require.Regexp(t, `^node-client-js: .+\nusage: node index.js .+\n$`, p.stderr.text())
		}
	})
	t.Run("resumes", func(t *testing.T) {
		dir := manifests(t)
		server, address, _ := serve(t, dir)
		p := node("--server", address, "--node", "node-1")
		p.stderr.wait(t, `revision 1: 4 Services received, 4 held`)
		p.stdout.waitLast(t, state(t, address, "node-1"))
		server.terminate()
		p.stderr.wait(t, "Server connection failed, retrying")
		edit(t, dir, "10.244.1.3", "10.244.1.4")
		server, again, _ := serveAt(t, address, dir)
		require.Equal(t, address, again)
		p.stdout.waitLast(t, state(t, address, "node-1"))
		p.stderr.wait(t, `revision 1: 1 Services received, 4 held`)

		// A server without the Node object uses the addresses that the client sends.
		server.terminate()
		edit(t, dir, "\n  name: node-1\n", "\n  name: node-9\n")
		serveAt(t, address, dir)
		p.stdout.wait(t, `# node node-1 \[192\.0\.2\.1[^\n]* deleting\n`)
	})
	for _, resolver := range []nodelocal.MultiNodeConfig{
		{},
		{MasqueradeAll: true, LocalPods: nodelocal.PodDetection{NodeCIDR: true}, Policy: passExternal},
	} {
		t.Run("random objects", func(t *testing.T) {
			random, store := watchertest.NewRandom(7, 4, 6), watchers.NewStore()
			random.Extended = true
			store.Update(func(tx *watchers.Tx) {
				random.Step()(tx)
				tx.SetSynced()
			})
			address := serveStore(t, store, resolver)
			a, b := node("--server", address, "--node", "node-0"), node("--server", address, "--node", "node-1")
			for range 10 {
				for range 30 {
					store.Update(random.Step())
				}
				want := resolve(t, store, resolver, "node-0")
				a.stdout.waitLast(t, want)
				b.stdout.waitLast(t, resolve(t, store, resolver, "node-1"))
				require.Equal(t, want, state(t, address, "node-0"))
			}
		})
	}
}

// passExternal is a policy with the verdict Pass.
func passExternal(_ *watchers.Service, port *nodelocal.PolicyPort) error {
	port.PassExternal = true
	return nil
}

// serveStore runs a server for a store in this process.
func serveStore(t *testing.T, store *watchers.Store, resolver nodelocal.MultiNodeConfig) (address string) {
	nodes, err := node.NewServer(store, node.ServerConfig{Resolver: resolver, MinInterval: time.Microsecond})
	require.NoError(t, err)
	server := grpc.NewServer(node.ServerOption())
	nodes.Register(server)
	nodes.RegisterInspect(server)
	listener, err := transport.Listen(t.Context(), "127.0.0.1:0", transport.ListenConfig{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) })
	running.Go(func() { _ = nodes.Run(ctx) })
	t.Cleanup(func() {
		server.Stop()
		cancel()
		running.Wait()
		nodes.Close()
	})
	return listener.Addr().String()
}

// resolve returns the state of a node as a local Resolver computes it. It completes the
// Node first, or creates it.
func resolve(t *testing.T, store *watchers.Store, cfg nodelocal.MultiNodeConfig, node string) string {
	if object := store.Snapshot().Node(node); object == nil || len(object.IPs) == 0 || cfg.LocalPods.NodeCIDR && len(object.PodCIDRs) == 0 {
		// The state of an absent or incomplete Node depends on the versions before it.
		complete := &watchers.Node{Name: node, Zone: "zone-1", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.9")},
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}}
		store.Update(func(tx *watchers.Tx) { tx.SetNode(complete) })
	}
	resolver, err := nodelocal.NewResolver(store, cfg.ForNode(node))
	require.NoError(t, err)
	defer resolver.Close()
	resolver.Refresh()
	u := resolver.FullUpdate()
	text := fmt.Sprintf("# node %s %v", node, u.Node.IPs)
	if u.Node.Deleting {
		text += " deleting"
	}
	text += "\n"
	for svc := range u.All.All() {
		text += svc.Text()
	}
	return text
}
