// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	kpngv1alpha1 "sigs.k8s.io/kpng/api/kpng/v1alpha1"
)

// timeout bounds each wait of a test.
const timeout = time.Minute

// program is the path of the built kpng.
var program string //nolint:gochecknoglobals // set by TestMain

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	bin, err := os.MkdirTemp("", "kpng-e2e-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(bin)
	program = filepath.Join(bin, "kpng")
	if out, err := exec.Command("go", "build", "-C", "../..", "-buildvcs=false", "-o", program, "./examples/kpng").CombinedOutput(); err != nil {
		panic(err.Error() + "\n" + string(out))
	}
	return m.Run()
}

// A process is a running command.
type process struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr *output
	done           chan error // nil after the test has received its result
}

// kpng runs kpng until the test ends.
func kpng(t *testing.T, args ...string) *process { return start(t, program, args...) }

// start runs the program at a path until the test ends.
func start(t *testing.T, name string, args ...string) *process {
	p := &process{t: t, cmd: exec.Command(name, args...), stdout: newOutput(), stderr: newOutput(), done: make(chan error, 1)}
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		var reading sync.WaitGroup
		reading.Go(func() { p.stdout.follow(stdout) })
		reading.Go(func() { p.stderr.follow(stderr) })
		reading.Wait()
		p.done <- p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		var err error
		if p.done != nil {
			err = <-p.done
		}
		if t.Failed() {
			t.Logf("output of %s (%v):\n%s%s", p.cmd, err, p.stdout.text(), p.stderr.text())
		}
	})
	return p
}

// stop sends a signal, after which the process must exit with code 0.
func (p *process) stop(signal os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(signal))
	select {
	case err := <-p.done:
		p.done = nil
		require.NoError(p.t, err, p.stderr.text())
	case <-time.After(timeout):
		p.t.Fatal("timeout: process does not stop:", p.cmd, p.stderr.text())
	}
}

func (p *process) terminate() { p.t.Helper(); p.stop(syscall.SIGTERM) }

// address returns the listening address from the log message of a process.
func (p *process) address(message string) string {
	p.t.Helper()
	return p.stderr.wait(p.t, `msg="?`+message+`"? address=(\S+)`)[1]
}

// An output holds what a process has printed so far.
type output struct {
	mu      sync.Mutex
	b       strings.Builder
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) follow(r io.Reader) {
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		o.mu.Lock()
		o.b.WriteString(line)
		close(o.changed)
		o.changed = make(chan struct{})
		o.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (o *output) current() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String(), o.changed
}

func (o *output) text() string { s, _ := o.current(); return s }

// wait waits until the output matches a pattern, and returns the submatches.
func (o *output) wait(t *testing.T, pattern string) []string {
	t.Helper()
	expired := time.After(timeout)
	for re := regexp.MustCompile(pattern); ; {
		text, changed := o.current()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-expired:
			t.Fatalf("timeout: no match for %s in:\n%s", pattern, text)
		}
	}
}

// ask runs kpng until it exits.
func ask(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		exit := &exec.ExitError{}
		require.ErrorAs(t, err, &exit)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ready waits until a server reports that it is serving.
func ready(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	watch, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	for {
		got, err := watch.Recv()
		require.NoError(t, err)
		if got.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			return
		}
	}
}

// current waits until one node has applied the newest revision of a server.
func current(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	for {
		lag, err := kpngv1alpha1.NewInspectServiceClient(conn).GetLag(ctx, &kpngv1alpha1.GetLagRequest{}, grpc.WaitForReady(true))
		require.NoError(t, err)
		if lag.GetCurrent() == 1 {
			return
		}
		select { // the server limits the rate of calls
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("timeout: no node has applied the newest revision")
		}
	}
}

// manifests returns a folder with a copy of the manifests.
func manifests(t *testing.T) string {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/manifests")))
	return dir
}

// edit replaces text in the manifest, atomically.
func edit(t *testing.T, dir, old, new string) {
	path := filepath.Join(dir, "cluster.yaml")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(data), old)
	temporary := filepath.Join(t.TempDir(), "cluster.yaml")
	require.NoError(t, os.WriteFile(temporary, []byte(strings.ReplaceAll(string(data), old, new)), 0o644))
	require.NoError(t, os.Rename(temporary, path))
}

// anyPort is the address of a server at any port.
const anyPort = "127.0.0.1:0"

// everything returns the flag that serves nodes and the cluster state at an address.
func everything(address string) string {
	return "--to=serve-node:" + address + ",serve-cluster:" + address
}

// serve starts a server for the manifests in dir and waits until it is ready.
func serve(t *testing.T, dir string, args ...string) (*process, string, *grpc.ClientConn) {
	t.Helper()
	return serveAt(t, anyPort, dir, args...)
}

func serveAt(t *testing.T, address, dir string, args ...string) (*process, string, *grpc.ClientConn) {
	t.Helper()
	p := kpng(t, append([]string{"run", "--from", "file:" + dir, "--node-cidr", everything(address)}, args...)...)
	address = p.address("Serving gRPC")
	conn := dial(t, address)
	ready(t, conn)
	return p, address, conn
}

// relay starts a relay.
func relay(t *testing.T, upstream string, args ...string) *process {
	return kpng(t, append([]string{"run", "--from", "cluster:" + upstream, everything(anyPort)}, args...)...)
}

// printingAgent starts an agent that prints the state of a node.
func printingAgent(t *testing.T, node, servers string, args ...string) *process {
	return kpng(t, append([]string{"run", "--from", "node:" + servers, "--node", node, "--to", "text"}, args...)...)
}
