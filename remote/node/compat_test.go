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
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What decides how a stream goes, beside tests.
func protocolPaths() []string {
	return []string{"api", "remote/node", "nodelocal/overlay", "remote/internal/fanout", "remote/internal/session", "remote/internal/codec", ":(exclude)*_test.go", ":(exclude)*/testdata/*"}
}

// TestVersionsUnderstandEachOther: an agent of the version before the last change of the
// protocol works with the present server, and the other way round, also when servers are
// replaced under agents that stay. Without history there is TestTheFirstVersion.
func TestVersionsUnderstandEachOther(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two versions")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	old := previousVersion(t, root)
	if old == "" {
		t.Skip("no earlier version in this clone's history; TestTheFirstVersion checks the recorded one")
	}
	t.Log("the version before is", old)
	tree := filepath.Join(t.TempDir(), "old")
	require.NoError(t, os.Mkdir(tree, 0o700))
	archive := filepath.Join(t.TempDir(), "old.tar")
	git(t, root, "archive", "--output", archive, old)
	out, err := exec.Command("tar", "-xf", archive, "-C", tree).CombinedOutput()
	require.NoError(t, err, "%s", out)
	programs := map[string]string{"old": build(t, tree), "new": build(t, root)}
	for _, agent := range []string{"old", "new"} {
		t.Run(agent+" agent", func(t *testing.T) {
			address := "127.0.0.1:0"
			var watching *compatProgram
			got := ""
			for _, server := range []string{"new", "old", "new", "new"} {
				serving := start(t, programs[server], "serve", address)
				address = serving.read()
				if watching == nil {
					watching = start(t, programs[agent], "watch", address)
				}
				for range 10 {
					serving.next()
					want := serving.read()
					for !equalState(t, want, got) {
						got = watching.read()
					}
				}
				serving.stop()
			}
			watching.stop()
		})
	}
}

// previousVersion returns the version before the last change of the protocol, empty when history
// does not have it.
func previousVersion(t *testing.T, root string) string {
	if exec.Command("git", "-C", root, "diff", "--quiet", "HEAD").Run() != nil {
		if out, err := exec.Command("git", append([]string{"-C", root, "diff", "--name-only", "HEAD", "--"}, protocolPaths()...)...).Output(); err == nil && len(out) > 0 {
			return git(t, root, "rev-parse", "HEAD") // the last change is not committed yet
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

// programPaths lists where versions of the library have the program, the newest first.
func programPaths() []string {
	return []string{"remote/node/testdata/compat/main.go", "localsink/remote/testdata/compat/main.go"}
}

func git(t *testing.T, root string, args ...string) string {
	out, err := exec.Command("git", append([]string{"-C", root}, args...)...).CombinedOutput()
	require.NoError(t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// build builds the program with the library that is in a directory: the program's source
// as it was then, if it was there.
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

// A compatProgram runs, and ends when its standard input does.
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
		require.True(p.t, ok, "%v has ended", p.cmd.Args)
		return line
	case <-time.After(30 * time.Second):
		require.Fail(p.t, "late", "%v", p.cmd.Args)
		return ""
	}
}

func (p *compatProgram) stop() {
	require.NoError(p.t, p.in.Close())
	for range p.lines { // before Wait closes its end
	}
	require.NoError(p.t, p.cmd.Wait())
}

// equalState compares two states in what both versions know: fields that only one has are
// left out.
func equalState(t *testing.T, want, got string) bool {
	if got == "" {
		return false
	}
	var a, b any
	require.NoError(t, json.Unmarshal([]byte(want), &a))
	require.NoError(t, json.Unmarshal([]byte(got), &b))
	return equalValue(a, b)
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
