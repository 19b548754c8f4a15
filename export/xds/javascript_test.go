// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/export/xds"
	"sigs.k8s.io/kpng/localsink"
)

// javascript installs the client of testdata/js and its dependencies in a temporary directory.
func javascript(t *testing.T) (node, dir string) {
	if testing.Short() {
		t.Skip("installs packages from npm")
	}
	node, nodeErr := exec.LookPath("node")
	npm, npmErr := exec.LookPath("npm")
	if nodeErr != nil || npmErr != nil {
		if os.Getenv("KPNG_REQUIRE_NODE") != "" {
			t.Fatal("KPNG_REQUIRE_NODE is set, but node or npm is missing")
		}
		t.Skip("node or npm is missing; test/tools.sh installs both on Debian")
	}
	dir = t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/js")))
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	require.NoError(t, err)
	require.NotContains(t, string(lock), `"resolved"`, "package-lock.json must not contain URLs of a registry")
	install := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	out, err := install.CombinedOutput()
	require.NoError(t, err, string(out))
	return node, dir
}

// A javascriptClient is a process that calls a Service for each line.
type javascriptClient struct {
	t     *testing.T
	in    *os.File
	lines *bufio.Scanner
}

// startJavascript starts a client of a name, until the test ends.
func (f *fixture) startJavascript(t *testing.T, node, dir, name string) *javascriptClient {
	bootstrap := filepath.Join(t.TempDir(), "bootstrap.json")
	require.NoError(t, os.WriteFile(bootstrap, fmt.Appendf(nil,
		`{"xds_servers":[{"server_uri":%q,"channel_creds":[{"type":"insecure"}]}],"node":{"id":"js","locality":{}}}`, f.address), 0o600))
	stdin, in, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(node, filepath.Join(dir, "client.js"), "xds:///"+name)
	cmd.Env = append(os.Environ(), "GRPC_XDS_BOOTSTRAP="+bootstrap)
	cmd.Stdin, cmd.Stderr = stdin, t.Output()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	stdin.Close()
	t.Cleanup(func() {
		in.Close()
		require.NoError(t, cmd.Wait())
	})
	return &javascriptClient{t, in, bufio.NewScanner(stdout)}
}

// call returns the backend that answers, or the error.
func (c *javascriptClient) call() string {
	_, err := fmt.Fprintln(c.in)
	require.NoError(c.t, err)
	require.True(c.t, c.lines.Scan(), c.lines.Err())
	return c.lines.Text()
}

// untilServedBy calls until a backend answers.
func (c *javascriptClient) untilServedBy(b *backend) {
	for range 1000 {
		if c.call() == b.addr.String() {
			return
		}
	}
	require.Fail(c.t, "no answer from "+b.addr.String(), c.call())
}

// TestJavaScriptClientReachesEndpoints calls with @grpc/grpc-js-xds: with weights, with a hash ring, after
// changes and with refused calls.
func TestJavaScriptClientReachesEndpoints(t *testing.T) {
	node, dir := javascript(t)
	f := newFixture(t, xds.Config{})
	b := newBackends(t, 3)
	f.set(service("web", endpointsOf(b[0])...))
	c := f.startJavascript(t, node, dir, webName)
	require.Equal(t, b[0].addr.String(), c.call())

	f.set(service("web", endpoint(b[1].addr, 1), endpoint(b[2].addr, 4)))
	c.untilServedBy(b[1])
	c.untilServedBy(b[2])
	used := map[string]int{}
	for range 500 {
		used[c.call()]++
	}
	require.Zero(t, used[b[0].addr.String()])
	require.InDelta(t, 100, used[b[1].addr.String()], 40)
	require.InDelta(t, 400, used[b[2].addr.String()], 40)

	web := service("web", endpointsOf(b...)...)
	web.Ports[0].Selection = localsink.SelectionClient
	f.set(web)
	same := 0
	for last := ""; same < 50; { // the change arrives meanwhile
		got := c.call()
		if same++; got != last {
			last, same = got, 0
		}
	}

	web = service("web", endpointsOf(b...)...)
	web.Ports[0].Selection = localsink.SelectionLeastConnections
	web.Ports[0].RefusedPerMille = 1000
	f.set(web)
	for !strings.HasPrefix(c.call(), "error ") {
		require.NoError(t, t.Context().Err())
	}
	f.accepted()
}
