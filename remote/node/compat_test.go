// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// protocolPaths returns the git paths whose changes may change the protocol.
func protocolPaths() []string {
	return []string{"api", "remote/node", "nodelocal/overlay", "remote/internal/fanout", "remote/internal/session", "remote/internal/codec", ":(exclude)*_test.go", ":(exclude)*/testdata/*"}
}

// A client of the version before the last change of the protocol works with the current
// server, and the other way round, also when servers are replaced while the client keeps
// running.
func TestCompatibilityWithPreviousVersion(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two versions")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	old := previousVersion(t, root)
	if old == "" {
		t.Skip("no earlier version in this clone's history; TestCompatibilityWithFirstVersion checks the recorded one")
	}
	t.Log("previous version:", old)
	tree := filepath.Join(t.TempDir(), "old")
	require.NoError(t, os.Mkdir(tree, 0o700))
	archive := filepath.Join(t.TempDir(), "old.tar")
	git(t, root, "archive", "--output", archive, old)
	out, err := exec.Command("tar", "-xf", archive, "-C", tree).CombinedOutput()
	require.NoError(t, err, "%s", out)
	programs := map[string]string{"old": build(t, tree), "new": build(t, root)}
	for _, client := range []string{"old", "new"} {
		t.Run(client+" client", func(t *testing.T) {
			address := "127.0.0.1:0"
			var watch *compatProgram
			got := ""
			for _, server := range []string{"new", "old", "new", "new"} {
				serve := start(t, programs[server], "serve", address)
				address = serve.read()
				if watch == nil {
					watch = start(t, programs[client], "watch", address)
				}
				for range 10 {
					serve.next()
					want := serve.read()
					for !equalState(t, want, got) {
						got = watch.read()
					}
				}
				serve.stop()
			}
			watch.stop()
		})
	}
}

// previousVersion returns the commit before the last change of the protocol; empty if the
// history does not contain it.
func previousVersion(t *testing.T, root string) string {
	if exec.Command("git", "-C", root, "diff", "--quiet", "HEAD").Run() != nil {
		if out, err := exec.Command("git", append([]string{"-C", root, "diff", "--name-only", "HEAD", "--"}, protocolPaths()...)...).Output(); err == nil && len(out) > 0 {
			return git(t, root, "rev-parse", "HEAD") // the change is not committed yet
		}
	}
	out, err := exec.Command("git", append([]string{"-C", root, "log", "-2", "--format=%H", "--"}, protocolPaths()...)...).Output()
	commits := strings.Fields(string(out))
	if err != nil || len(commits) < 2 {
		return ""
	}
	for _, path := range programPaths() {
		if exec.Command("git", "-C", root, "cat-file", "-e", commits[1]+":"+path).Run() == nil {
			return commits[1]
		}
	}
	return ""
}

// programPaths returns the paths of the test program in versions of the module, newest first.
func programPaths() []string {
	return []string{"remote/node/testdata/compat/main.go", "localsink/remote/testdata/compat/main.go"}
}

func git(t *testing.T, root string, args ...string) string {
	out, err := exec.Command("git", append([]string{"-C", root}, args...)...).CombinedOutput()
	require.NoError(t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// build builds the test program of the module version in a directory.
func build(t *testing.T, library string) (path string) {
	var source []byte
	err := os.ErrNotExist
	for _, path := range programPaths() {
		if err != nil {
			source, err = os.ReadFile(filepath.Join(library, path))
		}
	}
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), source, 0o600))
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(library, name))
		require.NoError(t, err)
		text := strings.Replace(string(data), "module sigs.k8s.io/kpng\n", "module example.com/compat\n", 1)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	path = filepath.Join(dir, "compat")
	for _, args := range [][]string{
		{"mod", "edit", "-require=sigs.k8s.io/kpng@v0.0.0", "-replace=sigs.k8s.io/kpng=" + library},
		{"build", "-o", path, "."},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %v: %s", args, out)
	}
	return path
}

// A compatProgram is a running test program. It ends when its standard input is closed.
type compatProgram struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

func start(t *testing.T, path string, args ...string) *compatProgram {
	p := &compatProgram{t: t, cmd: exec.Command(path, args...), lines: make(chan string, 1000)}
	p.cmd.Stderr = os.Stderr
	var err error
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.lines)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			p.lines <- strings.TrimSpace(line)
		}
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

func (p *compatProgram) next() {
	_, err := io.WriteString(p.in, "\n")
	require.NoError(p.t, err)
}

func (p *compatProgram) read() string {
	select {
	case line, ok := <-p.lines:
		require.True(p.t, ok, "%v ended", p.cmd.Args)
		return line
	case <-time.After(30 * time.Second):
		require.Fail(p.t, "timeout", "%v", p.cmd.Args)
		return ""
	}
}

func (p *compatProgram) stop() {
	require.NoError(p.t, p.in.Close())
	for range p.lines { // Wait closes the pipe
	}
	require.NoError(p.t, p.cmd.Wait())
}

// equalState compares the fields that two states have in common. Versions before origins have
// only Services.
func equalState(t *testing.T, want, got string) bool {
	if got == "" {
		return false
	}
	var a, b any
	require.NoError(t, json.Unmarshal([]byte(want), &a))
	require.NoError(t, json.Unmarshal([]byte(got), &b))
	if !strings.Contains(got, `"Origin":`) {
		a = withoutOrigins(a)
	}
	return equalValue(a, b)
}

// withoutOrigins returns a state without the objects that are not Services.
func withoutOrigins(state any) any {
	m, _ := state.(map[string]any)
	services, _ := m["services"].([]any)
	m["services"] = slices.DeleteFunc(services, func(s any) bool {
		service, _ := s.(map[string]any)
		name, _ := service["Name"].(map[string]any)
		origin, _ := name["Origin"].(string)
		return origin != ""
	})
	return m
}

func equalValue(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			return false
		}
		for k := range a {
			if other, both := b[k]; both && !equalValue(a[k], other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !equalValue(a[i], b[i]) {
				return false
			}
		}
		return true
	}
	return a == b
}
