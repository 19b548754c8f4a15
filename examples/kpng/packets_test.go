// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asNode is the value of asProgram that makes the test binary the node of a test.
const asNode = "node"

const nodeManifests = `apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.1.4], nodeName: node-1}]
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 10.244.1.4}]}
`

// TestRulesAnswer opens connections to a cluster IP in a network namespace of each mode, and reads
// what --health and --metrics serve.
func TestRulesAnswer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("requires root")
	}
	requirePrograms(t, "unshare", "ip", "nft", "iptables", "python3")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(nodeManifests), 0o600))
	services := filepath.Join(dir, "services.txt")
	require.NoError(t, os.WriteFile(services, []byte("web 10.96.0.10:80 10.244.1.4:8080\n"), 0o600))
	manifests, program := "file:"+dir, "exec:exec python3 ../exec/source.py "+services
	registry := "dnssrv://" + registryAddress + "/web.service.consul=10.96.0.10:80"
	for _, c := range []struct{ from, sinks string }{
		{manifests, "nftables,conntrack,healthcheck"}, {manifests, "iptables,conntrack,healthcheck"}, {manifests, "userspace,healthcheck"},
		{manifests, "ebpf,conntrack,healthcheck"}, {manifests, "nftables"}, {program, "nftables,conntrack,healthcheck"}, {registry, "nftables,conntrack,healthcheck"},
	} {
		from, sinks := c.from, c.sinks
		t.Run(from[:4]+" to "+sinks, func(t *testing.T) {
			const network = `ip link set lo up && ip addr add 10.244.1.4/32 dev lo && ip route add local 10.96.0.0/24 dev lo && exec "$0" "$@"`
			args := []string{"--net", "--mount", "sh", "-c", ownHierarchy(t, sinks) + network, os.Args[0], "run", "--node", "node-1", "--from", from, "--to", sinks}
			if strings.HasSuffix(sinks, "healthcheck") {
				args = append(args, "--health", "127.0.0.1:10256", "--metrics", "127.0.0.1:10249")
			}
			if strings.HasPrefix(sinks, "ebpf") {
				args = append(args, "--recent-rewrites", "9", "--ebpf-devices", "eth*")
			}
			cmd := exec.CommandContext(t.Context(), "unshare", args...)
			cmd.Env = append(os.Environ(), asProgram+"="+asNode)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
		})
	}
}

// ownHierarchy returns a command that gives the sink ebpf a cgroup hierarchy and a BPF file system of the
// test; "" for other sinks.
func ownHierarchy(t *testing.T, sinks string) string {
	if !strings.HasPrefix(sinks, "ebpf") {
		return ""
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != "cgroup2" {
			continue
		}
		dir, err := os.MkdirTemp(fields[1], "kpng-") //nolint:usetesting // a cgroup, not a directory of files
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.Remove(dir)) })
		return fmt.Sprintf("echo $$ > '%s/cgroup.procs' && mount --bind '%s' '%s' && mount -t bpf bpf /sys/fs/bpf && ", dir, dir, fields[1])
	}
	t.Skip("no cgroup v2 hierarchy is mounted")
	return ""
}

// registryAddress is that of a DNS server on the node.
const registryAddress = "127.0.0.1:5300"

// node serves an endpoint and DNS, runs the program with args, and connects to the cluster IP. It returns an
// exit code.
func node(args []string) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := connect(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func connect(ctx context.Context, args []string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "10.244.1.4:8080")
	if err != nil {
		return err
	}
	endpoint := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "endpoint")
	})}
	go func() { _ = endpoint.Serve(listener) }() // ends with the process
	registry, err := serveDNS(ctx, registryAddress)
	if err != nil {
		return err
	}
	defer registry.Close()
	cmd := kpng(ctx, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	for _, want := range answers(args) {
		for body := ""; !strings.Contains(body, want.text); {
			if body, err = get(ctx, want.url); ctx.Err() != nil {
				return fmt.Errorf("%s: want %s, got %s: %w", want.url, want.text, body, err)
			}
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return cmd.Wait()
}

// An answer is a part of the body at a URL.
type answer struct{ url, text string }

// answers returns the expected responses of the HTTP servers of a node, in order. The cluster IP follows
// /state, which lists the Service once all sinks have it.
func answers(args []string) (all []answer) {
	cluster := answer{"http://10.96.0.10", "endpoint"}
	for _, a := range args {
		switch a {
		case "127.0.0.1:10256":
			all = append(all, answer{"http://" + a + "/healthz", "lastUpdated"})
		case "127.0.0.1:10249":
			all = append(all, answer{"http://" + a + "/metrics", "kubeproxy_sync_proxy_rules_duration_seconds"},
				answer{"http://" + a + "/state", "default/web"})
		case "--recent-rewrites":
			all = append(all, cluster, answer{"http://127.0.0.1:10249/state", "10.96.0.10:80/TCP -> 10.244.1.4:8080"})
		}
	}
	return append(all, cluster)
}

// get returns the body of an HTTP answer; it waits a little after an error.
func get(ctx context.Context, url string) (string, error) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		time.Sleep(20 * time.Millisecond)
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// TestPacketKit checks a sink in bash with packets: it passes a part of the kit, and fails another
// because it serves node ports at all addresses of the node.
func TestPacketKit(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("requires root")
	}
	requirePrograms(t, "jq", "nft", "nsenter")
	const sink = "exec:../exec/nft.sh"
	stdout, stderr, code := output(t, "test", "--packets", "--sink", sink, "--run", "DP-01$|DP-04$", "--report", "json", "-v")
	require.Zero(t, code, stdout+stderr)
	for _, id := range []string{"DP-01", "DP-04"} {
		require.Contains(t, stdout, "--- PASS: Packets/sink/"+id)
		require.Contains(t, stdout, `"id": "`+id+`"`)
	}
	stdout, _, code = output(t, "test", "--packets", "--sink", sink, "--run", "DP-05")
	require.Equal(t, 1, code)
	require.Contains(t, stdout, "a node port does not answer on other addresses of the node: IPv4 TCP: ")
	for flags, want := range map[string]string{
		"--packets --unsupported x": `--unsupported: "x": want some of IPv4, IPv6`,
		"--packets --report xml":    `--report "xml": want table, json or markdown`,
		"--packets --describe true": "--describe: the packet kit does not use it",
		"--report table":            "--proxy, --unsupported and --report require --packets",
	} {
		_, stderr, code := output(t, append([]string{"test", "--sink", sink}, strings.Fields(flags)...)...)
		require.Equal(t, 2, code, flags)
		require.Contains(t, stderr, want)
	}
}
