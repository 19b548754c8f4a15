// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsink_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/remote/execsink"
)

// TestMain runs the tests, or, as a child of a test, a program for a sink.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "child" {
		os.Exit(child(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

// child records each line in the directory, and fails once as the file "fault" there requires.
func child(dir string) (exitCode int) {
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0
		}
		log, _ := os.OpenFile(filepath.Join(dir, "lines"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		fmt.Fprintf(log, `{"pid":%d,%s`, os.Getpid(), line[1:])
		log.Close()
		var update struct{ Revision uint64 }
		_ = json.Unmarshal([]byte(line), &update)
		fault, _ := os.ReadFile(filepath.Join(dir, "fault"))
		_ = os.Remove(filepath.Join(dir, "fault"))
		switch string(fault) {
		case "die":
			return 1
		case "hang":
			time.Sleep(time.Hour)
		case "":
			fmt.Fprintf(os.Stdout, "{\"ok\":%d}\n", update.Revision)
			if _, err := os.Stat(filepath.Join(dir, "leave")); err == nil {
				_ = os.Remove(filepath.Join(dir, "leave"))
				return 0
			}
		default:
			fmt.Fprintln(os.Stdout, string(fault))
		}
	}
}

// A received is a line that a child received.
type received struct {
	PID      int
	Revision uint64
	Full     bool
	Node     *struct{ Name string }
	Changed  []struct{ Namespace, Name string }
	Removed  []string
}

// A fixture is a sink whose program is child.
type fixture struct {
	t    *testing.T
	dir  string
	sink *execsink.Sink
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, dir: t.TempDir()}
	var err error
	f.sink, err = execsink.New(execsink.Config{Command: []string{os.Args[0], "child", f.dir}, Timeout: 2 * time.Second, Stderr: t.Output()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.sink.Close()) })
	return f
}

// file creates a file that changes what the child does.
func (f *fixture) file(name, text string) {
	require.NoError(f.t, os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600))
}

// last returns the last line that a child received.
func (f *fixture) last() received {
	data, err := os.ReadFile(filepath.Join(f.dir, "lines"))
	require.NoError(f.t, err)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	var r received
	require.NoError(f.t, json.Unmarshal([]byte(lines[len(lines)-1]), &r))
	return r
}

// syncEventually repeats a Sync until it succeeds, as a reconciler does.
func (f *fixture) syncEventually(u *localsink.Update) {
	require.Eventually(f.t, func() bool { return f.sink.Sync(f.t.Context(), u) == nil }, time.Minute, 10*time.Millisecond)
}

func service(name string) *localsink.Service {
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: name}, Problems: []localsink.Problem{{Object: "o", Field: "f", Message: "m"}}}
}

// updates returns a first update with the Services a and b, and a second one that replaces b by c.
func updates() (first, second *localsink.Update) {
	node := &localsink.Node{Name: "node-1"}
	before, after := sinktest.NewState(service("a"), service("b")), sinktest.NewState(service("a"), service("c"))
	second = sinktest.NewUpdate(node, before, after)
	second.NodeChanged = false
	return sinktest.NewUpdate(node, nil, before), second
}

func TestLinesHoldTheDelta(t *testing.T) {
	f := newFixture(t)
	first, second := updates()
	require.NoError(t, f.sink.Sync(t.Context(), first))
	r := f.last()
	require.True(t, r.Full)
	require.Equal(t, uint64(1), r.Revision)
	require.Equal(t, "node-1", r.Node.Name)
	require.Len(t, r.Changed, 2)
	require.NoError(t, f.sink.Sync(t.Context(), second))
	r = f.last()
	require.False(t, r.Full)
	require.Nil(t, r.Node)
	require.Len(t, r.Changed, 1)
	require.Equal(t, "c", r.Changed[0].Name)
	require.Equal(t, []string{"ns/b"}, r.Removed)
}

// TestFailedProgramReceivesTheStateAgain checks that a program that dies, hangs or answers
// something else is replaced by a new process with the complete state.
func TestFailedProgramReceivesTheStateAgain(t *testing.T) {
	t.Parallel()
	for fault, want := range map[string]string{
		"die":                    "process ended: exit status 1",
		"hang":                   "no answer to update 2 within 2s",
		"hello":                  `answer "hello": want {"ok":2} or {"error":"..."}`,
		`{"ok":7}`:               "answer to update 7: want that to update 2",
		`{"ok":2,"error":"and"}`: `want {"ok":2} or {"error":"..."}`,
		"{}":                     `want {"ok":2} or {"error":"..."}`,
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			first, second := updates()
			require.NoError(t, f.sink.Sync(t.Context(), first))
			pid := f.last().PID
			f.file("fault", fault)
			require.ErrorContains(t, f.sink.Sync(t.Context(), second), want)
			require.False(t, f.last().Full)
			require.ErrorContains(t, f.sink.Sync(t.Context(), second), "starts again in ")
			f.syncEventually(second)
			r := f.last()
			require.NotEqual(t, pid, r.PID)
			require.True(t, r.Full)
			require.Equal(t, "node-1", r.Node.Name)
			require.Len(t, r.Changed, 2)
			require.Equal(t, "c", r.Changed[1].Name)
			require.Empty(t, r.Removed)
		})
	}
}

// TestErrorOfTheProgramKeepsIt checks that an error answer ends no process, and that a complete
// state is complete until it is acknowledged.
func TestErrorOfTheProgramKeepsIt(t *testing.T) {
	f := newFixture(t)
	first, second := updates()
	f.file("fault", `{"error":"disk full"}`)
	require.ErrorContains(t, f.sink.Sync(t.Context(), first), `error of the program: "disk full"`)
	pid := f.last().PID
	require.NoError(t, f.sink.Sync(t.Context(), second))
	require.True(t, f.last().Full)
	f.file("fault", `{"error":"disk full"}`)
	require.ErrorContains(t, f.sink.Sync(t.Context(), second), "disk full")
	require.NoError(t, f.sink.Sync(t.Context(), second))
	require.False(t, f.last().Full)
	require.Equal(t, pid, f.last().PID)
}

// TestAbandonedUpdateIsAnsweredLater checks that a Sync whose context ends leaves the program
// alone: the next Sync waits for its answer.
func TestAbandonedUpdateIsAnsweredLater(t *testing.T) {
	f := newFixture(t)
	first, second := updates()
	ctx, cancel := context.WithCancel(t.Context())
	f.file("fault", "hang")
	done := make(chan error, 1)
	go func() { done <- f.sink.Sync(ctx, first) }()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(f.dir, "lines"))
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	f.syncEventually(second) // after the timeout of the first
	require.True(t, f.last().Full)
}

// A fixedSource never changes.
type fixedSource struct{ newer chan struct{} }

func (s fixedSource) Refresh(*reconciler.Tracker) <-chan struct{} { return s.newer }

// TestProgramThatEndsIsStartedAgain checks that a program that ends between two updates is started
// again although nothing changes.
func TestProgramThatEndsIsStartedAgain(t *testing.T) {
	f := newFixture(t)
	tracker := reconciler.NewTracker(&localsink.Node{Name: "node-1"})
	tracker.Update(func(tx *reconciler.Tx) { tx.Set(service("a")) })
	f.file("leave", "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- reconciler.Run(ctx, tracker, fixedSource{make(chan struct{})}, f.sink, reconciler.Config{})
	}()
	require.Eventually(t, func() bool {
		data, _ := os.ReadFile(filepath.Join(f.dir, "lines"))
		return strings.Count(string(data), `"full":true`) == 2
	}, time.Minute, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
}

func TestInvalidConfig(t *testing.T) {
	_, err := execsink.New(execsink.Config{})
	require.EqualError(t, err, "execsink: Command: required")
	_, err = execsink.New(execsink.Config{Command: []string{"x"}, Timeout: -1})
	require.ErrorContains(t, err, "Timeout -1ns")
	sink, err := execsink.New(execsink.Config{Command: []string{"/does/not/exist"}, Unsupported: localsink.FeatureSCTP})
	require.NoError(t, err)
	require.Equal(t, localsink.FeatureSCTP, sink.Unsupported())
	first, _ := updates()
	require.ErrorContains(t, sink.Sync(t.Context(), first), "execsink: start: ")
	require.NoError(t, sink.Close())
	require.NoError(t, sink.Close())
}
