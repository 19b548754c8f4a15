// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
)

// The answers of a server, as kpng prints them, equal testdata/answers.txtar. KPNG_UPDATE=1 rewrites the file.
func TestAnswersOfServers(t *testing.T) {
	_, address, conn := serve(t, "testdata/manifests")
	printingAgent(t, "node-1", address)
	current(t, conn)
	const path = "testdata/answers.txtar"
	archive, err := txtar.ParseFile(path)
	require.NoError(t, err)
	for i := range archive.Files {
		f := &archive.Files[i]
		stdout, stderr, code := ask(t, append(strings.Fields(f.Name), "--server", address)...)
		require.Zero(t, code, "%s: %s", f.Name, stderr)
		got := stable(stdout)
		if os.Getenv("KPNG_UPDATE") != "" {
			f.Data = []byte(got)
		}
		require.Equal(t, string(f.Data), got, f.Name)
		again, _, _ := ask(t, append(strings.Fields(f.Name), "--server", address)...)
		require.Equal(t, got, stable(again), "the output is deterministic")
	}
	if os.Getenv("KPNG_UPDATE") != "" {
		require.NoError(t, os.WriteFile(path, txtar.Format(archive), 0o644))
	}
}

// stable replaces times, addresses and versions in the output.
func stable(s string) string {
	for pattern, with := range map[string]string{
		`\d{4}-\d\d-\d\dT[\d:.]+Z`:           "TIME",
		`127\.0\.0\.1:\d+`:                   "PEER",
		`"(connected|changed)UnixNs": "\d+"`: `"${1}UnixNs": "N"`,
		`"applyDurationNs": "\d+"`:           `"applyDurationNs": "N"`,
		`kpng \S+?(["\s])`:                   "kpng VERSION$1",
	} {
		s = regexp.MustCompile(pattern).ReplaceAllString(s, with)
	}
	return s
}

// A change reaches kpng watch, in both formats, and the agent of the node.
func TestChangeReachesAllWatchers(t *testing.T) {
	dir := manifests(t)
	server, address, conn := serve(t, dir, "--metrics", "127.0.0.1:0")
	agent := printingAgent(t, "node-2", address)
	watch := kpng(t, "watch", "node-2", "--server", address)
	lines := kpng(t, "watch", "node-2", "--server", address, "-o", "json")
	watch.stdout.wait(t, `(?m)^\+ shop/web\n`)
	lines.stdout.wait(t, `"complete":true`)
	current(t, conn)

	edit(t, dir, "10.244.1.3", "10.244.1.4")
	const want = `(?m)^\+ kube-system/dns\n  port "dns" UDP\n    draining: \[10\.244\.3\.3:53\]\n    ClusterIP 10\.96\.0\.2:53\n      LocalPods -> 10\.244\.1\.4:53\n`
	watch.stdout.wait(t, want)
	agent.stdout.wait(t, want)
	lines.stdout.wait(t, `10\.244\.1\.4`)
	for line := range strings.Lines(lines.stdout.text()) {
		require.True(t, json.Valid([]byte(line)), line)
	}
	edit(t, dir, "name: dns, namespace", "name: dns2, namespace")
	agent.stdout.wait(t, `(?m)^- kube-system/dns\n`)
	watch.stdout.wait(t, `(?m)^- kube-system/dns\n`)
	current(t, conn)
	out, _, code := ask(t, "progress", "kube-system/dns2", "--server", address)
	require.Zero(t, code, out)
	require.Regexp(t, `^revision \d+ of \S+: applied 1, lagging 0, disconnected 2\n`, out)

	metrics := get(t, "http://"+server.address("Serving HTTP")+"/metrics")
	require.Contains(t, metrics, `kpng_server_nodes{state="connected"} 1`)
	require.Contains(t, metrics, `kpng_server_nodes_current 1`)
	require.Regexp(t, `kpng_network_programming_stage_duration_seconds_count\{stage="acknowledge"\} [3-9]`, metrics)
	require.Equal(t, "ok\n", get(t, "http://"+server.address("Serving HTTP")+"/readyz"))
	watch.stop(os.Interrupt)
	agent.terminate()
	server.terminate()
}

func get(t *testing.T, url string) string {
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 200, resp.StatusCode)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

// A node keeps its state without a server, and receives only differences from the next one.
func TestAgentResumesAfterServerRestart(t *testing.T) {
	dir := manifests(t)
	socket := "unix://" + filepath.Join(t.TempDir(), "kpng.sock")
	server := func() *process {
		p := kpng(t, "run", "--from", "file:"+dir, "--node-cidr", everything(socket))
		p.address("Serving gRPC")
		return p
	}
	first := server()
	agent := printingAgent(t, "node-2", "unix:///nowhere,"+socket)
	agent.stdout.wait(t, `(?m)^\+ shop/web\n`)
	first.terminate()
	agent.stderr.wait(t, "Server connection failed, retrying; programmed Services are kept")
	edit(t, dir, "10.244.1.3", "10.244.1.4")
	server()
	agent.stdout.wait(t, `10\.244\.1\.4`)
	text := agent.stdout.text()
	require.Equal(t, 1, strings.Count(text, "+ shop/web\n"), text)
	require.Equal(t, 2, strings.Count(text, "+ kube-system/dns\n"), text)
	require.NotContains(t, text, "\n- ")
}

// A question fails for the name of a missing Node, although it prints the state that such a node
// would get.
func TestUnknownNodeIsReported(t *testing.T) {
	dir := manifests(t)
	_, address, _ := serve(t, dir)
	const message = `kpng: there is no Node "nodd-1" in the cluster state`
	for _, line := range []string{"state nodd-1", "state nodd-1 shop/web", "explain nodd-1 shop/web", "state nodd-1 -o json", "explain nodd-1 shop/web -o json"} {
		out, stderr, code := ask(t, append(strings.Fields(line), "--server", address)...)
		require.Equal(t, 1, code, line)
		require.Contains(t, stderr, message, line)
		require.Contains(t, out, "10.96.0.10:80", line)
		if strings.Contains(line, "json") {
			require.Contains(t, out, `"nodeUnknown": true`, line)
		}
	}
	_, stderr, code := ask(t, "state", "nodd-1", "shop/wab", "--server", address)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, message)
	require.Contains(t, stderr, "not found")

	watch := kpng(t, "watch", "nodd-1", "--server", address)
	watch.stderr.wait(t, message)
	watch.stdout.wait(t, `(?m)^# node nodd-1 \[\] deleting\n`)
	edit(t, dir, "name: node-1\n", "name: nodd-1\n")
	watch.stdout.wait(t, `(?m)^# node nodd-1 \[192\.0\.2\.1 2001:db8::1\]\n`)
	require.Equal(t, 1, strings.Count(watch.stderr.text(), message))
}

// The agent of a node that is marked for deletion, or whose Node is missing, reports it.
func TestAgentReportsNodeDeletion(t *testing.T) {
	dir := manifests(t)
	server, address, _ := serve(t, dir, "--metrics", "127.0.0.1:0")
	metrics := func() string { return get(t, "http://"+server.address("Serving HTTP")+"/metrics") }
	agent := printingAgent(t, "node-1", address)
	agent.stdout.wait(t, `(?m)^# node node-1 \[192\.0\.2\.1 2001:db8::1\]\n`)
	require.Contains(t, metrics(), "kpng_server_nodes_unknown 0")
	edit(t, dir, `podCIDRs: [10.244.1.0/24`, `taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]
  podCIDRs: [10.244.1.0/24`)
	agent.stdout.wait(t, `(?m)^# node node-1 \[192\.0\.2\.1 2001:db8::1\] deleting\n`)
	edit(t, dir, "name: node-1\n", "name: node-9\n")
	edit(t, dir, "10.244.1.3", "10.244.1.4") // the Node is read no later than this change
	agent.stdout.wait(t, `10\.244\.1\.4`)
	require.Contains(t, metrics(), "kpng_server_nodes_unknown 1")
	require.NotContains(t, agent.stdout.text(), "# node node-1 []", "the addresses remain as they are known")
}
