// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsource_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/remote/execsource"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// TestMain runs the tests, or, as a child of a test, a program for a source.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "child" {
		child(os.Args[2])
		return
	}
	goleak.VerifyTestMain(m)
}

// child sends the manifests of a directory, one in each file, and their changes. It ends when its
// input does.
func child(dir string) {
	answers := bufio.NewReader(os.Stdin)
	var last map[string]string
	for {
		now := map[string]string{}
		files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
		for _, name := range files {
			if data, err := os.ReadFile(name); err == nil {
				now[name] = string(data)
			}
		}
		changed, removed := []string{}, []string{}
		for _, name := range files {
			if text, found := now[name]; found && text != last[name] {
				changed = append(changed, text)
			}
		}
		for name, text := range last {
			if _, found := now[name]; !found {
				removed = append(removed, text)
			}
		}
		full := last == nil
		last = now
		if full || len(changed)+len(removed) > 0 {
			fmt.Fprintf(os.Stdout, "{\"full\":%t,\"changed\":[%s],\"removed\":[%s]}\n", full, strings.Join(changed, ","), strings.Join(removed, ","))
			if _, err := answers.ReadString('\n'); errors.Is(err, io.EOF) {
				return
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// TestProgramFollowsTheLaws runs the laws of watchers with a program that sends only differences.
func TestProgramFollowsTheLaws(t *testing.T) {
	watchertest.TestWatcher(t, func(t *testing.T) watchertest.Harness {
		dir := t.TempDir()
		w, err := execsource.New(execsource.Config{
			Command: []string{os.Args[0], "child", dir}, Stderr: t.Output(), Grace: time.Millisecond,
			Extend: extend(t),
		})
		require.NoError(t, err)
		path := func(o watchertest.APIObject) string {
			name := strings.Join([]string{o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName()}, "_")
			return filepath.Join(dir, name+".json")
		}
		return watchertest.Harness{
			Watcher: w, Annotation: "example.com/mode",
			Apply: func(objects ...watchertest.APIObject) {
				for _, o := range objects {
					data, err := json.Marshal(o)
					require.NoError(t, err)
					require.NoError(t, os.WriteFile(path(o)+".new", data, 0o600))
					require.NoError(t, os.Rename(path(o)+".new", path(o)))
				}
			},
			Delete: func(objects ...watchertest.APIObject) {
				for _, o := range objects {
					require.NoError(t, os.Remove(path(o)))
				}
			},
		}
	})
}

func extend(t *testing.T) kubeapi.Extend {
	extend, err := kubeapi.CopyKeys("example.com/*")
	require.NoError(t, err)
	return extend
}

const (
	web = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"clusterIP":"10.96.0.10","ports":[{"port":80}]}}`
	bad = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"bad"},"spec":{"ports":[{"port":80}]}}`
)

// A process is a running watcher of a shell script.
type process struct {
	t     *testing.T
	store *watchers.Store
	log   *lockedLog
	done  chan error
}

// run runs a watcher of a shell script until the test ends.
func run(t *testing.T, script string) *process {
	requireProgram(t, "sh")
	p := &process{t: t, store: watchers.NewStore(), log: &lockedLog{}, done: make(chan error, 1)}
	w, err := execsource.New(execsource.Config{
		Command: []string{"sh", "-c", script}, Timeout: 2 * time.Second, Grace: time.Millisecond, Stderr: p.log,
		Logger: slog.New(slog.NewTextHandler(p.log, nil)),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { p.done <- w.Run(ctx, p.store) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-p.done)
	})
	return p
}

// has waits until the store holds exactly the named Services, and is synced.
func (p *process) has(names ...string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		snap := p.store.Snapshot()
		var all []string
		for s := range snap.Services() {
			all = append(all, s.Name.Name)
		}
		return snap.Synced() && slices.Equal(all, names)
	}, time.Minute, 5*time.Millisecond)
}

func (p *process) logged(text string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return strings.Contains(p.log.String(), text) }, time.Minute, 5*time.Millisecond, "%s is not in:\n%s", text, p.log)
}

// TestAnswers checks the answers that a program receives.
func TestAnswers(t *testing.T) {
	p := run(t, `
		echo '{"full":true,"changed":[`+web+`]}'; read -r a; echo "first $a" >&2
		echo '{"revision":7,"changed":[`+bad+`,{"kind":"Pod"}]}'; read -r a; echo "second $a" >&2
		echo '{"removed":[{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"}}]}'; read -r a; echo "third $a" >&2
		read -r a`)
	p.has()
	p.logged(`first {"ok":1}`)
	p.logged(`second {"error":"changed[0]:1: document 1: Service default/bad: spec.clusterIP: required`)
	p.logged(`changed[1]:1: document 1: apiVersion or kind is missing`)
	p.logged(`third {"ok":8}`)
}

// TestFailedProgramIsRestarted checks that the store keeps its objects when the program fails, and
// has those of the next one after its first line.
func TestFailedProgramIsRestarted(t *testing.T) {
	other := strings.Replace(strings.Replace(web, "web", "other", 1), "96.0.10", "96.0.11", 1)
	for fault, want := range map[string]string{
		"exit 3":              "process ended: exit status 3",
		"echo hello; sleep 9": `line \"hello\": not an update`,
	} {
		t.Run(fault, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "second")
			p := run(t, `
				if [ -e `+file+` ]; then echo '{"full":true,"changed":[`+other+`]}'; read -r a; read -r a; fi
				echo '{"full":true,"changed":[`+web+`]}'; read -r a; touch `+file+"; "+fault)
			p.logged(want)
			p.has("other")
		})
	}
	t.Run("first line is not full", func(t *testing.T) {
		p := run(t, "echo '{\"changed\":[]}'; read -r a")
		p.logged("the first update must have full: true")
		require.False(t, p.store.Snapshot().Synced())
	})
	t.Run("no line", func(t *testing.T) {
		run(t, "sleep 9").logged("no line within 2s")
	})
}

// TestPythonExample changes the file that examples/exec/source.py reads.
func TestPythonExample(t *testing.T) {
	requireProgram(t, "python3")
	file := filepath.Join(t.TempDir(), "services")
	require.NoError(t, os.WriteFile(file, []byte("web 10.96.0.10:80 10.244.1.4:8080 10.244.2.7:8080\nold 10.96.0.11:80\n"), 0o600))
	program, err := filepath.Abs("../../examples/exec/source.py")
	require.NoError(t, err)
	p := run(t, "exec python3 "+program+" "+file)
	p.has("old", "web")
	require.NoError(t, os.WriteFile(file, []byte("web 10.96.0.10:80 10.244.1.4:8080\n\nnew 10.96.0.12:80\n"), 0o600))
	p.has("new", "web")
	slices := 0
	for range p.store.Snapshot().EndpointSlices(watchers.ServiceName{Namespace: "default", Name: "web"}) {
		slices++
	}
	require.Equal(t, 1, slices)
}

func TestInvalidConfig(t *testing.T) {
	_, err := execsource.New(execsource.Config{})
	require.EqualError(t, err, "execsource: Command: required")
	_, err = execsource.New(execsource.Config{Command: []string{"x"}, Grace: -1})
	require.ErrorContains(t, err, "Grace -1ns")
	w, err := execsource.New(execsource.Config{Command: []string{"/does/not/exist"}})
	require.NoError(t, err)
	require.ErrorContains(t, w.Run(t.Context(), watchers.NewStore()), "execsource: start: ")
}

// requireProgram skips the test if a program is not installed, unless tests with root must not be
// skipped.
func requireProgram(t *testing.T, name string) {
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("KPNG_REQUIRE_NETNS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}
