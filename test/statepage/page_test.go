// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package statepage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/problems"
	"sigs.k8s.io/kpng/nodeproxy/servertier"
	"sigs.k8s.io/kpng/nodeproxy/status"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// images is the folder with the screenshots of the documentation, which UPDATE_SCREENSHOTS=1 writes.
const images = "../../docs/images"

// shown is what the page shows.
type shown struct {
	Title, Properties, Count, Detail, Error string
	Rows                                    [][]string
	Levels, Problems                        []string
	Overflow                                bool // the page is wider than the screen
}

// A browser is a page in Chromium.
type browser struct {
	t       *testing.T
	in      io.WriteCloser
	answers *bufio.Reader
}

// open starts Chromium. It needs node, npm and chromium, which test/tools.sh installs on Debian.
func openBrowser(t *testing.T) *browser {
	paths := map[string]string{}
	for _, name := range []string{"node", "npm", "chromium"} {
		path, err := exec.LookPath(name)
		if err != nil {
			if os.Getenv("KPNG_REQUIRE_NODE") != "" {
				t.Fatalf("KPNG_REQUIRE_NODE is set, but %s is missing", name)
			}
			t.Skipf("%s is missing; test/tools.sh installs it on Debian", name)
		}
		paths[name] = path
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "page.mjs"} {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NotContains(t, string(data), `"resolved"`, "%s must not contain URLs of a registry", name)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	install := exec.CommandContext(t.Context(), paths["npm"], "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	out, err := install.CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), paths["node"], filepath.Join(dir, "page.mjs"), paths["chromium"])
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Wait())
	})
	return &browser{t, in, bufio.NewReader(stdout)}
}

// do sends a command, and returns what the page shows after it.
func (b *browser) do(command string, arguments map[string]any) (s shown) {
	b.t.Helper()
	line := map[string]any{"do": command}
	maps.Copy(line, arguments)
	require.NoError(b.t, json.NewEncoder(b.in).Encode(line))
	answer, err := b.answers.ReadBytes('\n')
	require.NoError(b.t, err)
	require.NoError(b.t, json.Unmarshal(answer, &s))
	require.Empty(b.t, s.Error, "%s %v", command, arguments)
	require.Empty(b.t, s.Problems, "of the console")
	require.False(b.t, s.Overflow, "the page is wider than the screen")
	return s
}

func (b *browser) open(url string, width int, dark bool) shown {
	return b.do("open", map[string]any{"url": url, "width": width, "height": 800, "dark": dark})
}

func (b *browser) text(command, text string) shown {
	return b.do(command, map[string]any{"text": text})
}

func (b *browser) screenshot(name string) {
	if os.Getenv("UPDATE_SCREENSHOTS") != "" {
		path, err := filepath.Abs(filepath.Join(images, name))
		require.NoError(b.t, err)
		b.do("screenshot", map[string]any{"path": path})
	}
}

// cluster returns a store with some Services, one of which has an invalid field, and one of whose
// endpoints is not ready.
func cluster(services int) *watchers.Store {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) {
		tx.SetNode(&watchers.Node{Name: "node-1", Zone: "zone-a", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
		for i := range services {
			name := watchers.ServiceName{Namespace: "shop", Name: fmt.Sprintf("svc-%d", i)}
			tx.SetService(&watchers.Service{
				Name: name, ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i / 250), byte(i%250 + 1)})}, IPFamilies: []watchers.IPFamily{4},
				Ports: []watchers.ServicePort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}},
			})
			tx.SetEndpointSlice(&watchers.EndpointSlice{
				Service: name, Namespace: name.Namespace, Name: name.Name + "-x", Family: 4,
				Ports: []watchers.EndpointPort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 8080}},
				Endpoints: []watchers.Endpoint{
					{Addr: netip.AddrFrom4([4]byte{10, 244, byte(i / 250), byte(i%250 + 1)}), Ready: true, Serving: true, Node: "node-1"},
					{Addr: netip.AddrFrom4([4]byte{10, 245, byte(i / 250), byte(i%250 + 1)}), Node: "node-2"},
				},
			})
		}
		tx.SetSynced()
	})
	return store
}

// refusing is a sink that does not program one Service.
type refusing struct{ name localsink.ServiceName }

func (refusing) Sync(context.Context, *localsink.Update) error { return nil }

func (r refusing) NotProgrammed() map[localsink.ServiceName]error {
	return map[localsink.ServiceName]error{r.name: errors.New("no space in the set")}
}

// nodePage serves the pages of a node, and returns a function that applies the state of the store.
func nodePage(t *testing.T, store *watchers.Store) (url string, apply func(err error)) {
	cfg := nodelocal.Config{NodeName: "node-1"}
	var failure error
	refused := refusing{localsink.ServiceName{Namespace: "shop", Name: "svc-1"}}
	applied := status.NewAppliedSink(localsink.Chain(refused, localsink.Func(func(context.Context, *localsink.Update) error { return failure })))
	tracker := problems.NewTracker(applied, nil)
	server := httptest.NewServer(status.Handler(status.Config{Applied: applied, Problems: tracker, Explain: func(name localsink.ServiceName) (*nodelocal.Explanation, error) {
		return nodelocal.Explain(store.Snapshot(), cfg, name)
	}}))
	t.Cleanup(server.CloseClientConnections)
	resolver, err := nodelocal.NewResolver(store, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, resolver.Close()) })
	driver := sinktest.Driver{Sink: tracker}
	return server.URL + "/state", func(err error) {
		failure = err
		resolver.Refresh()
		u := resolver.FullUpdate()
		driver.Node = u.Node
		require.ErrorIs(t, driver.Sync(t.Context(), u.All), err)
	}
}

// A person finds a Service, sees why an endpoint is not used, and sees changes without a reload.
func TestNodePageInBrowser(t *testing.T) {
	b := openBrowser(t)
	store := cluster(600)
	url, apply := nodePage(t, store)
	apply(nil)
	s := b.open(url, 1100, false)
	require.Equal(t, "Services of node node-1", s.Title)
	require.Len(t, s.Rows, 500)
	require.Contains(t, s.Count, "600 of 600, the first 500 are shown")
	require.Contains(t, s.Properties, "192.0.2.1")

	s = b.text("search", "svc-11 10.96")
	require.Equal(t, []string{"shop/svc-11", "10.96.0.12:80/TCP", "1", ""}, s.Rows[0])
	s = b.text("search", "SVC-599")
	require.Len(t, s.Rows, 1)
	b.text("search", "")
	s = b.do("problems", nil)
	require.Equal(t, [][]string{{"shop/svc-1", "10.96.0.2:80/TCP", "1", "no space in the set"}}, s.Rows)
	require.Equal(t, []string{"error"}, s.Levels)

	b.text("row", "shop/svc-1")
	s = b.text("wait", "10.245.0.2:8080")
	require.Contains(t, s.Detail, "not used")
	require.Contains(t, s.Detail, "no space in the set")
	require.Contains(t, s.Detail, "not ready")
	b.screenshot("state-node.png")

	store.Update(func(tx *watchers.Tx) {
		tx.DeleteService(watchers.ServiceName{Namespace: "shop", Name: "svc-2"})
		tx.SetService(&watchers.Service{
			Name: watchers.ServiceName{Namespace: "shop", Name: "new"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.9.9")}, IPFamilies: []watchers.IPFamily{4},
			Ports: []watchers.ServicePort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}},
		})
	})
	apply(nil)
	b.do("problems", nil)
	b.text("search", "shop/new")
	s = b.text("wait", "10.96.9.9:80/TCP")
	require.Len(t, s.Rows, 1)
	b.text("search", "")
	s = b.text("wait", "600 of 600") // one more, one less
	require.NotContains(t, fmt.Sprint(s.Rows), "shop/svc-2 ")

	apply(errors.New("kernel <i>busy</i>"))
	s = b.text("wait", "kernel <i>busy</i>") // as text
	require.Contains(t, s.Properties, "Last attempt failed")
	apply(nil)
	b.text("gone", "kernel <i>busy</i>")
	require.Empty(t, b.do("close", nil).Detail)
}

// The page fits a phone, and follows a link to a Service.
func TestNodePageOnPhone(t *testing.T) {
	b := openBrowser(t)
	url, apply := nodePage(t, cluster(3))
	apply(nil)
	b.open(url+"/shop/svc-0?output=html", 390, true)
	s := b.text("wait", "10.245.0.1:8080")
	require.Len(t, s.Rows, 3)
	require.Contains(t, s.Detail, "shop/svc-0")
	b.screenshot("state-phone.png")
}

// serverPage serves the pages of a server whose cluster state is that of store, with one connected node.
func serverPage(t *testing.T, store *watchers.Store) string {
	tier, err := servertier.New(servertier.Config{Name: "test", Store: store})
	require.NoError(t, err)
	listener, err := transport.Listen(t.Context(), "127.0.0.1:0", transport.ListenConfig{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	guard := transport.Guard{
		Authenticate: transport.AnonymousAuthenticator(""),
		Authorize:    func(context.Context, transport.Identity, transport.Access) error { return nil },
	}
	running.Go(func() { _ = tier.Run(ctx, nil, listener, guard) })
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	client, err := node.NewClient(node.ClientConfig{NodeName: "node-1", ClientName: "browser test"}, conn)
	require.NoError(t, err)
	running.Go(func() {
		_ = client.Run(ctx, localsink.Func(func(context.Context, *localsink.Update) error { return nil }))
	})
	server := httptest.NewServer(tier.StateHandler())
	t.Cleanup(func() {
		server.CloseClientConnections()
		cancel()
		running.Wait()
		require.NoError(t, conn.Close())
		require.NoError(t, tier.Close())
	})
	return server.URL + "/state"
}

// Nodes and Services of a server, with the reasons for each endpoint.
func TestServerPagesInBrowser(t *testing.T) {
	b := openBrowser(t)
	store := cluster(3)
	store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "node-2", Zone: "zone-b"}) })
	url := serverPage(t, store)
	b.open(url, 1100, false)
	s := b.text("wait", "1 of 2")
	require.Equal(t, "Nodes of this server", s.Title)
	require.Equal(t, []string{"node-1", "connected"}, s.Rows[0][:2])
	require.Equal(t, "browser test", s.Rows[0][6])
	require.Equal(t, []string{"node-2", "disconnected"}, s.Rows[1][:2])
	require.Equal(t, []string{"", "warning"}, s.Levels)
	b.text("row", "node-1")
	require.Contains(t, b.text("wait", "zone-a").Detail, "node-1")
	b.text("follow", "Services")
	s = b.text("wait", "3 of 3")
	require.Equal(t, "shop/svc-0", s.Rows[0][0])
	b.text("row", "shop/svc-2")
	s = b.text("wait", "10.245.0.3:8080")
	require.Contains(t, s.Detail, "applied by 1 nodes, lagging 0, disconnected 1")
	require.Contains(t, s.Detail, `Node node-1, zone "zone-a"`)
	require.Contains(t, s.Detail, "not ready")
	b.screenshot("state-server.png")
}
