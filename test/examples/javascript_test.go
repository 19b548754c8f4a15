// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"context"
	"fmt"
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

// javascript installs the client from its registry, beside the protos that it reads, and
// returns what starts it.
func javascript(t *testing.T) func(args ...string) *process {
	node, nodeErr := exec.LookPath("node")
	npm, npmErr := exec.LookPath("npm")
	if nodeErr != nil || npmErr != nil {
		if os.Getenv("KPNG_REQUIRE_NODE") != "" {
			t.Fatal("KPNG_REQUIRE_NODE is set, and there is no node or no npm")
		}
		t.Skip("there is no node or no npm here; test/tools.sh installs both on Debian")
	}
	dir := t.TempDir()
	app := filepath.Join(dir, "examples", "node-client-js")
	require.NoError(t, os.CopyFS(filepath.Join(dir, "api"), os.DirFS("../../api")))
	require.NoError(t, os.MkdirAll(app, 0o755))
	for _, name := range []string{"package.json", "package-lock.json", "index.js", "state.js"} {
		data, err := os.ReadFile(filepath.Join("../../examples/node-client-js", name))
		require.NoError(t, err)
		require.NotContains(t, string(data), `"resolved"`, "%s: where it was loaded from is nobody's business", name)
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

// last returns what was printed last: each state begins with the node.
func last(text string) string { return text[max(strings.LastIndex(text, "# node "), 0):] }

// waitLast returns when the state that was printed last is want.
func (o *output) waitLast(t *testing.T, want string) {
	t.Helper()
	for late := time.After(patience); ; {
		text, changed := o.look()
		if last(text) == want {
			return
		}
		select {
		case <-changed:
		case <-late:
			require.Equal(t, want, last(text))
		}
	}
}

// state is what a node must do, or what it would do if there were one of that name.
func state(t *testing.T, address, node string) string {
	t.Helper()
	out, stderr, code := kpngctl(t, "state", node, "-server", address)
	if !strings.Contains(stderr, "there is no Node") {
		require.Zero(t, code, stderr)
	}
	return out
}

// TestJavaScript: a client in another language, made from the protos alone, understands
// what this one does, whatever the facts are, and over a restart of the server.
func TestJavaScript(t *testing.T) {
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
	t.Run("resumes", func(t *testing.T) {
		dir := manifests(t)
		server, address, _ := serve(t, dir)
		p := node("--server", address, "--node", "node-1")
		p.stderr.wait(t, `revision 1: 4 Services received, 4 held`)
		p.stdout.waitLast(t, state(t, address, "node-1"))
		server.terminate()
		p.stderr.wait(t, "lost the server")
		edit(t, dir, "10.244.1.3", "10.244.1.4")
		_, again, _ := serve(t, dir, "-listen", address)
		require.Equal(t, address, again)
		p.stdout.waitLast(t, state(t, address, "node-1"))
		p.stderr.wait(t, `revision 1: 1 Services received, 4 held`)
	})
	for _, meaning := range []nodelocal.MultiNodeConfig{{}, {MasqueradeAll: true, LocalPods: nodelocal.PodDetection{NodeCIDR: true}}} {
		t.Run("random facts", func(t *testing.T) {
			random, store := watchertest.NewRandom(7, 4, 6), watchers.NewStore()
			store.Update(func(tx *watchers.Tx) {
				random.Step()(tx)
				tx.SetSynced()
			})
			address := fleet(t, store, meaning)
			a, b := node("--server", address, "--node", "node-0"), node("--server", address, "--node", "node-1")
			for range 10 {
				for range 30 {
					store.Update(random.Step())
				}
				want := table(t, store, meaning, "node-0")
				a.stdout.waitLast(t, want)
				b.stdout.waitLast(t, table(t, store, meaning, "node-1"))
				require.Equal(t, want, state(t, address, "node-0"))
			}
		})
	}
}

// fleet serves a store in this process.
func fleet(t *testing.T, store *watchers.Store, meaning nodelocal.MultiNodeConfig) (address string) {
	nodes, err := node.NewServer(store, node.ServerConfig{Resolver: meaning, MinInterval: time.Microsecond})
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

// table is what a node would compute by itself.
func table(t *testing.T, store *watchers.Store, meaning nodelocal.MultiNodeConfig, node string) string {
	own, err := nodelocal.NewResolver(store, meaning.ForNode(node))
	require.NoError(t, err)
	defer own.Close()
	own.Refresh()
	u := own.FullUpdate()
	text := fmt.Sprintf("# node %s %v", node, u.Node.IPs)
	if u.Node.Deleting {
		text += " leaving"
	}
	text += "\n"
	for svc := range u.All.All() {
		text += svc.Text()
	}
	return text
}
