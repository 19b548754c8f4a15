// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// asProgram is the variable that makes the test binary the program.
const asProgram = "KPNG_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "":
		os.Exit(m.Run())
	case asNode:
		os.Exit(node(os.Args[1:]))
	default:
		main()
	}
}

// kpng returns a command that runs the program.
func kpng(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=kpng")
	return cmd
}

// output runs the program to its end and returns what it prints, and its exit code.
func output(t *testing.T, args ...string) (stdout, stderr string, exitCode int) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := kpng(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// A lockedBuffer collects output.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A process is a running program.
type process struct {
	t           *testing.T
	out, stderr lockedBuffer
}

// start runs the program until the test ends; SIGTERM must end it with exit code 0.
func start(t *testing.T, args ...string) *process {
	p := &process{t: t}
	cmd := kpng(context.WithoutCancel(t.Context()), args...)
	cmd.Stdout, cmd.Stderr = &p.out, &p.stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		require.NoError(t, cmd.Wait(), "%v: %s", args, &p.stderr)
	})
	return p
}

// prints waits until the program has printed a text.
func (p *process) prints(text string) {
	p.t.Helper()
	eventually(p.t, func() bool { return strings.Contains(p.out.String(), text) }, func() string {
		return text + " is not in:\n" + p.out.String() + p.stderr.String()
	})
}

func eventually(t *testing.T, condition func() bool, text func() string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(text())
		}
	}
}

// requirePrograms skips the test where programs or signals are missing.
func requirePrograms(t *testing.T, names ...string) {
	if runtime.GOOS == "windows" {
		t.Skip("programs are ended with SIGTERM")
	}
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("KPNG_REQUIRE_NETNS") == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

const manifests = "../../testdata/example"

// webText is in the text of the Service of manifests, on node-1.
const webText = "default/web\n  port \"http\" TCP\n    ClusterIP 10.96.0.10:80\n      Any -> 10.244.1.4:8080"

// socket returns the address of a new socket.
func socket(t *testing.T) string {
	dir, err := os.MkdirTemp("", "kpng") //nolint:usetesting // the path of a socket is short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return "unix://" + filepath.Join(dir, "s")
}

// webSources returns a command line for each source, which has the Service default/web.
func webSources(t *testing.T) map[string][]string {
	server := socket(t)
	start(t, "run", "--from", "file:"+manifests, "--to", "serve-node:"+server+",serve-cluster:"+server)
	services := filepath.Join(t.TempDir(), "services")
	require.NoError(t, os.WriteFile(services, []byte("web 10.96.0.10:80 10.244.1.4:8080\n"), 0o600))
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, []byte("other 10.96.0.11:80\n"), 0o600))
	registry, err := serveDNS(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { registry.Close() })
	return map[string][]string{
		"dnssrv":  {"--from", "dnssrv://" + registry.LocalAddr().String() + "/web.service.consul=10.96.0.10:80"},
		"file":    {"--from", "file:" + manifests},
		"cluster": {"--from", "cluster:" + server},
		"node":    {"--from", "node:" + server},
		"exec":    {"--from", "exec:exec python3 ../exec/source.py " + services},
		"joined":  {"--from", "exec:exec python3 ../exec/source.py " + other, "--from", "file:" + manifests},
	}
}

// TestEverySourceWithEverySink runs each combination that needs no privileges: the cells of the
// table in README.md.
func TestEverySourceWithEverySink(t *testing.T) {
	t.Parallel()
	requirePrograms(t, "python3", "bash", "jq")
	for name, from := range webSources(t) {
		run := slices.Concat([]string{"run", "--node", "node-1"}, from)
		t.Run(name+"/text", func(t *testing.T) {
			t.Parallel()
			start(t, slices.Concat(run, []string{"--to", "text"})...).prints("10.244.1.4:8080")
		})
		t.Run(name+"/json", func(t *testing.T) {
			t.Parallel()
			p := start(t, slices.Concat(run, []string{"--to", "json"})...)
			p.prints(`{"revision":1,"full":true,"node":{"name":"node-1"`)
			p.prints(`"address":"10.96.0.10","port":80`)
		})
		t.Run(name+"/exec", func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			start(t, slices.Concat(run, []string{"--to", "exec:../exec/sink.sh " + dir})...)
			eventually(t, func() bool {
				file := map[bool]string{true: "service-DNS%3Adefault%2Fweb.service.consul", false: "service-default%2Fweb"}[name == "dnssrv"]
				data, _ := os.ReadFile(filepath.Join(dir, file))
				return strings.Contains(string(data), "10.96.0.10")
			}, func() string { return "no file for the Service" })
		})
		if name == "node" {
			t.Run("node/serve", func(t *testing.T) {
				t.Parallel()
				_, stderr, code := output(t, slices.Concat(run, []string{"--to", "serve-node:127.0.0.1:0"})...)
				require.Equal(t, 2, code)
				require.Contains(t, stderr, "a source of the state of one node has no cluster state")
			})
			continue
		}
		t.Run(name+"/serve-node", func(t *testing.T) {
			t.Parallel()
			server := socket(t)
			start(t, slices.Concat(run, []string{"--to", "serve-node:" + server})...)
			start(t, "run", "--from", "node:"+server, "--node", "node-1", "--to", "text").prints("10.244.1.4:8080")
		})
		t.Run(name+"/serve-cluster", func(t *testing.T) {
			t.Parallel()
			server := socket(t)
			start(t, slices.Concat(run, []string{"--to", "serve-cluster:" + server})...)
			start(t, "run", "--from", "cluster:"+server, "--node", "node-1", "--to", "text").prints("10.244.1.4:8080")
		})
	}
}

// TestSeveralSinks checks that one run feeds several sinks, of one --to and of several.
func TestSeveralSinks(t *testing.T) {
	requirePrograms(t)
	server := socket(t)
	p := start(t, "run", "--from", "file:"+manifests, "--node", "node-1", "--to", "text,json", "--to", "text", "--to", "serve-node:"+server)
	p.prints(webText)
	eventually(t, func() bool {
		return strings.Count(p.out.String(), "+ default/web") == 2 && strings.Contains(p.out.String(), `"full":true`)
	},
		p.out.String)
	stdout, _, code := output(t, "explain", "node-1", "default/web", "--server", server)
	require.Zero(t, code)
	require.Contains(t, stdout, "10.244.1.4:8080")
}

// TestServerServesOnlyWhatTheSinkNames checks that serve-node serves no cluster state, and
// serve-cluster no nodes.
func TestServerServesOnlyWhatTheSinkNames(t *testing.T) {
	requirePrograms(t)
	nodes, clusters := socket(t), socket(t)
	start(t, "run", "--from", "file:"+manifests, "--to", "serve-node:"+nodes, "--to", "serve-cluster:"+clusters)
	start(t, "run", "--from", "cluster:"+clusters, "--node", "node-1", "--to", "text").prints("default/web")
	_, stderr, code := output(t, "state", "node-1", "--server", clusters)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "the server has no inspection service")
	wrong := start(t, "run", "--from", "cluster:"+nodes, "--node", "node-1", "--to", "text")
	eventually(t, func() bool { return strings.Contains(wrong.stderr.String(), "unknown method") }, wrong.stderr.String)
	require.Empty(t, wrong.out.String())
}

// TestQuestions asks a server in all formats.
func TestQuestions(t *testing.T) {
	requirePrograms(t)
	server := socket(t)
	start(t, "run", "--from", "file:"+manifests, "--to", "serve-node:"+server)
	ask := func(args ...string) (string, int) {
		stdout, stderr, code := "", "", 0
		eventually(t, func() bool { // the server may not be ready
			stdout, stderr, code = output(t, append(args, "--server", server)...)
			return !strings.Contains(stderr, "cannot be reached")
		}, func() string { return stderr })
		return stdout, code
	}
	for want, args := range map[string][]string{
		webText:                                {"state", "node-1", "default/web"},
		"\"name\": \"web\"":                    {"state", "node-1", "-o", "json"},
		"- extensions: []":                     {"state", "node-1", "-o", "yaml"},
		"CONNECTED":                            {"lag"},
		"node-1":                               {"nodes"},
		"applied 0, lagging 0, disconnected 2": {"progress", "default/web"},
		"Any -> 10.244.1.4:8080":               {"explain", "node-1", "default/web"},
		"\"clusterTraffic\": true,":            {"explain", "node-1", "default/web", "-o", "json"},
	} {
		stdout, code := ask(args...)
		require.Zero(t, code, args)
		require.Contains(t, stdout, want, args)
	}
	start(t, "watch", "node-1", "--server", server).prints("default/web")
}

// TestDiff compares two directories, and a directory before and after a change.
func TestDiff(t *testing.T) {
	requirePrograms(t)
	changed := t.TempDir()
	data, err := os.ReadFile(manifests + "/web.yaml")
	require.NoError(t, err)
	file := filepath.Join(changed, "web.yaml")
	require.NoError(t, os.WriteFile(file, bytes.ReplaceAll(data, []byte("10.244.2.7"), []byte("10.244.2.8")), 0o600))
	stdout, _, code := output(t, "diff", "--node", "node-1", "--from", "file:"+manifests, "--from", "file:"+changed)
	require.Equal(t, 1, code)
	require.Equal(t, `default/web
  default/web
    port "http" TCP
      ClusterIP 10.96.0.10:80
-       Any -> 10.244.1.4:8080(local) 10.244.2.7:8080
+       Any -> 10.244.1.4:8080(local) 10.244.2.8:8080
`, stdout)
	stdout, _, code = output(t, "diff", "--node", "node-1", "--from", "file:"+manifests, "--from", "file:"+manifests)
	require.Zero(t, code)
	require.Empty(t, stdout)
	stdout, stderr, code := output(t, "diff", "--node", "node-1", "--after", "10ms", "--from", "file:"+manifests)
	require.Zero(t, code, stderr)
	require.Empty(t, stdout)
}

// TestDocumentedService compares the Service in docs/exec.md with a real one.
func TestDocumentedService(t *testing.T) {
	requirePrograms(t)
	p := start(t, "run", "--from", "file:"+manifests, "--node", "node-1", "--to", "json")
	p.prints("\n")
	var line struct{ Changed []json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(p.out.String()), &line))
	require.Len(t, line.Changed, 1)
	documented, err := os.ReadFile("../exec/service.json")
	require.NoError(t, err)
	require.JSONEq(t, string(line.Changed[0]), string(documented))
}

// TestKrewManifest checks the manifest for a release: that it is YAML once its template is filled in,
// and that it has a binary for each system.
func TestKrewManifest(t *testing.T) {
	archive := func(url, _ string) string {
		return "uri: " + strings.ReplaceAll(url, "{{ .TagName }}", "v1.2.3") + "\n    sha256: 0"
	}
	text, err := template.New("krew.yaml").Funcs(template.FuncMap{"addURIAndSha": archive}).ParseFiles("krew.yaml")
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, text.Execute(&out, struct{ TagName string }{"v1.2.3"}))
	var manifest struct {
		Metadata struct{ Name string }
		Spec     struct {
			Version   string
			Platforms []struct {
				Selector struct{ MatchLabels struct{ OS, Arch string } }
				URI, Bin string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(out.Bytes(), &manifest))
	require.Equal(t, "kpng", manifest.Metadata.Name)
	require.Equal(t, "v1.2.3", manifest.Spec.Version)
	systems := map[string]bool{}
	for _, p := range manifest.Spec.Platforms {
		os, arch := p.Selector.MatchLabels.OS, p.Selector.MatchLabels.Arch
		systems[os] = true
		require.Contains(t, p.URI, "kubectl-kpng_"+os+"_"+arch)
		require.Contains(t, p.Bin, "kubectl-kpng")
	}
	require.Equal(t, map[string]bool{"linux": true, "darwin": true, "windows": true}, systems)
}

// TestLaws checks an example, and a program that ignores its updates.
func TestLaws(t *testing.T) {
	requirePrograms(t, "python3")
	stdout, stderr, code := output(t, "test", "--sink", `exec:exec python3 ../exec/sink.py "$KPNG_TEST_DIR/state"`, "--run", "Idempotent|Weights", "-v")
	require.Zero(t, code, stdout+stderr)
	require.Contains(t, stdout, "--- PASS: Laws/Weights")
	idle := `exec:n=0; while read -r line; do n=$((n+1)); echo "{\"ok\":$n}"; done`
	stdout, _, code = output(t, "test", "--sink", idle, "--run", "Weights")
	require.Equal(t, 1, code)
	require.Contains(t, stdout, "the dataplanes are equal")
	_, stderr, code = output(t, "test", "--sink", "text")
	require.Equal(t, 2, code)
	require.Contains(t, stderr, `--sink "text": want exec:CMD`)
}

// TestPluginOfKubectl checks the name of the program as a plugin.
func TestPluginOfKubectl(t *testing.T) {
	requirePrograms(t)
	plugin := filepath.Join(t.TempDir(), "kubectl-kpng")
	require.NoError(t, os.Symlink(os.Args[0], plugin))
	cmd := exec.CommandContext(t.Context(), plugin, "run", "--help")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "kubectl kpng run --from SOURCE")
	require.Contains(t, string(out), "--kubeconfig")
	require.Contains(t, string(out), "--context")
}
