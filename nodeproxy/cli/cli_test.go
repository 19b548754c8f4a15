// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/cli"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

const manifests = "../../testdata/example"

// run runs a command line of a registry.
func run(ctx context.Context, r cli.Registry, line string) (stdout string, err error) {
	var out strings.Builder
	err = r.Run(ctx, append([]string{"kpng"}, strings.Fields(line)...), &out, io.Discard)
	return out.String(), err
}

// TestInvalidCommandLine checks that the error names the flag, and that nothing starts.
func TestInvalidCommandLine(t *testing.T) {
	for line, want := range map[string]string{
		"pods":                          `unknown command "pods"`,
		"run":                           "--from and --to: required",
		"run --from file:m":             "--from and --to: required",
		"run x --from file:m --to text": `unexpected argument "x"`,
		"run --from disk:m --to text":   `--from "disk:m": want one of kube, mcs[:CLUSTER], gateway[:CONTROLLER], dnssrv:NAMES, file:DIR, cluster:ADDR, node:ADDR, exec:CMD`,
		"run --from kube --from gateway --to text":           "--from kube: leave it out, because gateway has the same objects",
		"run --from file --to text":                          `--from "file": want file:DIR`,
		"run --from kube:x --to text":                        `--from "kube:x": kube takes no argument`,
		"run --from file:m --to text,paper":                  `--to "paper": want one of nftables`,
		"run --from file:m --to text:x":                      `--to "text:x": text takes no argument`,
		"run --from file:m --to serve-node":                  `--to "serve-node": want serve-node:ADDR`,
		"run --from file:m --to text --node=":                "--to text: --node: required",
		"run --from file:m --to text --colour":               "unknown flag: --colour",
		"run --from file:m --to text --health x":             "--health requires the sink healthcheck",
		"run --from file:m --to text --metrics x":            "--metrics requires the sink healthcheck",
		"run --from file:m --to text --config n":             "--config: open n",
		"run --from node:x:1 --from kube --to text":          "must be the only source",
		"run --from node:x:1 --to serve-node:x:1":            "has no cluster state",
		"run --from cluster:x:1 --to text --upstream-cert a": "one of --upstream-cert and --upstream-key without the other",
		"run --from file:m --to serve-node:x:1 --cert a":     "one of --cert and --key without the other",
		"run --from file:m --to serve-node:x:1 --relays a":   "--relays without --cert",
		"run --from file:m --to text --cluster-cidr x":       `--cluster-cidr: "x" is not a network`,
		"run --from kube --to serve-node:x:1 --client-ca c":  "--client-ca without --cert",

		"run --from file:m --to serve-node:x:1 --kubeconfig k":                            "--kubeconfig without a source of the API server or --token-review",
		"run --from file:m --to serve-node:x:1 --context c":                               "--context without a source of the API server or --token-review",
		"run --from file:m --to serve-node:x:1 --inspectors me":                           "--inspectors without --cert",
		"run --from file:m --to serve-node:x:1 more":                                      `unexpected argument "more"`,
		"run --from file:m --to serve-node:x:1 --listen x:1":                              "unknown flag: --listen",
		"run --from cluster --to serve-node:x:1":                                          `--from "cluster": want cluster:ADDR`,
		"run --from cluster:, --to serve-node:x:1":                                        "--from cluster:,: usage: required, at least one address",
		"run --from node:, --to text --node n":                                            "--from node:,: usage: required, at least one address",
		"run --from cluster:x:1 --to serve-node:x:1 --upstream-key k":                     "one of --upstream-cert and --upstream-key without the other",
		"run --from cluster:x:1 --to serve-node:x:1 --node-cidr --key":                    "flag needs an argument: --key",
		"run --from cluster:x:1 --to serve-node:x:1 --copy-keys a/b":                      "--copy-keys with objects that servers have read",
		"run --from cluster:x:1 --to serve-node:x:1 --details all":                        "--details with objects that servers have read",
		"run --from node:x:1 --node n --to ebtables":                                      `--to "ebtables": want one of nftables, ebpf, iptables, ipvs, userspace, `,
		"run --from node:x:1 --node= --to text":                                           "--node: required",
		"run --from node:x:1 --node n --to text --health :1":                              "--health requires the sink healthcheck",
		"run --from node:x:1 --node n --to text --metrics :1":                             "--metrics requires the sink healthcheck",
		"run --from node:x:1 --node n --to text,healthcheck --recent-rewrites 9":          "--recent-rewrites requires the sinks ebpf and healthcheck, and --metrics",
		"run --from node:x:1 --node n --to text --ebpf-devices eth0":                      "--ebpf-devices requires the sink ebpf",
		"run --from node:x:1 --node n --to text,healthcheck --count-connections services": "--count-connections requires the sink healthcheck and --metrics",
		"run --from node:x:1 --node n --to text --upstream-cert a":                        "one of --upstream-cert and --upstream-key without the other",
		"run --from node:x:1 --node n --to text --upstream-insecure --upstream-ca a":      "--upstream-insecure and --upstream-ca",
		"run --from node:x:1 --node n --to text --node-cidr":                              "--node-cidr with a source of the state of one node",
		"run --from node:x:1 --node n --to text --copy-keys a/b":                          "--copy-keys with objects that servers have read",
		"run --from file:m --node n --to text --relays a --token-review":                  "--relays without --cert",
		"run --from file:m --node n --to text --max-connections 7":                        "--max-connections without a sink that serves",
		"run --from file:m --node n --to text --insecure --upstream-ca a":                 "usage: --insecure without a sink that serves; --upstream-ca without a source that connects to servers",
		"cleanup now": `unexpected argument "now"`,

		"nodes a b":                       "kpng nodes [PREFIX]",
		"state":                           "kpng state NODE [NAMESPACE/NAME]",
		"state node-1 web":                `"web" is not NAMESPACE/NAME`,
		"explain node-1 web":              `"web" is not NAMESPACE/NAME`,
		"explain node-1 /web":             `"/web" is not NAMESPACE/NAME`,
		"progress":                        "kpng progress NAMESPACE/NAME",
		"watch node-1 ns/a --server x:1":  "kpng watch NODE",
		"lag now":                         "kpng lag",
		"lag -o xml":                      `-o "xml": want table, json or yaml`,
		"lag --server ,":                  "--server: required, at least one address",
		"lag --timeout 0":                 "--timeout 0s: must be positive",
		"lag --colour":                    "unknown flag: --colour",
		"lag --cert a":                    "one of --cert and --key without the other",
		"lag --insecure --token-file nop": "--insecure and --token-file",

		"diff --from file:m":                "--from: want two sources, or one with --after",
		"diff --from a --from b --after 1s": "--from: want two sources, or one with --after",
		"test":                              `--sink "": want exec:CMD`,
	} {
		_, err := run(t.Context(), cli.Standard(), line)
		require.ErrorContains(t, err, want, line)
		if !strings.HasSuffix(line, "--config n") {
			require.ErrorIs(t, err, command.ErrUsage, line)
		}
	}
}

// TestConfigFile checks that a file sets flags, and that the command line replaces them.
func TestConfigFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kpng.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("from: [file:" + manifests + "]\nto: done\nnode: node-1\nproxy-name: other\nmasquerade-all: true\n")
	for line, want := range map[string]int{"": 0, " --proxy-name=": 1} {
		services := -1
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		done := cli.Sink{Name: "done", Node: func(_ context.Context, env *cli.Env, _ string) (cli.NodeSink, error) {
			require.True(t, env.Node.MasqueradeAll)
			return cli.NodeSink{Sink: localsink.Func(func(_ context.Context, u *localsink.Update) error {
				services = u.All.Len()
				cancel()
				return nil
			})}, nil
		}}
		_, err := run(ctx, cli.Standard().With(done), "run --config "+file+line)
		require.NoError(t, err)
		require.Equal(t, want, services, line)
	}
	for text, want := range map[string]string{
		"colour: red\n": "colour: not a flag of this command",
		"from: {a: b}":  "from: map[a:b] is not a text",
		"from: [":       "--config " + file,
		"from: node:x:1\nnode: n\nto: [text, text]\n":                   "all sinks must be in one --to, separated by commas",
		"from: node:x:1\nnode: n\nto: text\nmax-connections: 1000000\n": "--max-connections without a sink that serves",
	} {
		write(text)
		_, err := run(t.Context(), cli.Standard(), "run --config "+file)
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, command.ErrUsage)
	}
}

// TestPlugins checks that sources and sinks are added, and that a later one replaces one of the same
// name.
func TestPlugins(t *testing.T) {
	memory := cli.Source{Name: "memory", Help: "a test", Watcher: func(context.Context, *cli.Env, string) (watchers.Watcher, error) {
		m := watchertest.NewMemory()
		m.SetSynced()
		return m, nil
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	got := ""
	text := cli.Sink{Name: "text", Argument: "WORD", Help: "another text", Node: func(_ context.Context, _ *cli.Env, word string) (cli.NodeSink, error) {
		return cli.NodeSink{Sink: localsink.Func(func(_ context.Context, u *localsink.Update) error {
			got = word + " " + u.Node.Name
			cancel()
			return nil
		})}, nil
	}}
	r := cli.Standard().With(memory, text)
	_, err := run(ctx, r, "run --from memory --node node-7 --to text:hello")
	require.NoError(t, err)
	require.Equal(t, "hello node-7", got)
	help, err := run(t.Context(), r, "run --help")
	require.NoError(t, err)
	require.Contains(t, help, "text:WORD            another text")
	require.NotContains(t, help, "prints the state of the node and its changes")
	require.Len(t, cli.Standard().With(cli.Standard()).Sinks, len(cli.Standard().Sinks))
}

// TestArgumentWithCommas checks that exec: takes the rest of its --to.
func TestArgumentWithCommas(t *testing.T) {
	var got string
	program := cli.Sink{Name: "program", Argument: "CMD", Commas: true, Node: func(_ context.Context, _ *cli.Env, command string) (cli.NodeSink, error) {
		got = command
		return cli.NodeSink{}, context.Canceled
	}}
	_, err := run(t.Context(), cli.Standard().With(program), "run --from file:m --node n --to text,program:a:b,text")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "a:b,text", got)
}

// TestHelpTeachesByExample checks that each command has help with an example.
func TestHelpTeachesByExample(t *testing.T) {
	for _, name := range []string{"run", "nodes", "state", "watch", "explain", "progress", "lag", "diff", "test", "cleanup"} {
		help, err := run(t.Context(), cli.Standard(), name+" --help")
		require.NoError(t, err)
		require.Contains(t, help, "Examples:", name)
		require.Contains(t, help, "  kpng "+name, name)
	}
	for _, h := range []string{"-h", "--help", ""} {
		help, err := run(t.Context(), cli.Standard(), h)
		require.NoError(t, err)
		for _, word := range []string{"nodes ", "state ", "watch ", "explain ", "progress ", "lag ", "serve-cluster:ADDR", "Exit codes"} {
			require.Contains(t, help, word)
		}
	}
	completion, err := run(t.Context(), cli.Standard(), "__complete run --from f")
	require.NoError(t, err)
	require.Contains(t, completion, "file:\n")
	script, err := run(t.Context(), cli.Standard(), "completion bash")
	require.NoError(t, err)
	require.Contains(t, script, "__start_kpng")
}

// TestUnreachableServer checks that each server is tried, and named.
func TestUnreachableServer(t *testing.T) {
	var stderr strings.Builder
	args := strings.Fields("kpng lag --server unix:///nowhere/a,unix:///nowhere/b")
	err := cli.Standard().Run(t.Context(), args, io.Discard, &stderr)
	require.ErrorContains(t, err, "the server cannot be reached or is not ready")
	require.Contains(t, stderr.String(), "kpng: unix:///nowhere/a: ")
	require.Contains(t, stderr.String(), "trying the next server")
}
