// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// transferred is the number of bytes of one measurement of throughput.
const transferred = 1 << 29

// BenchmarkThroughput compares one TCP stream through the backend with one through a minimal
// proxy that calls io.Copy, which uses splice(2). The promise is a ratio of 0.8.
func BenchmarkThroughput(b *testing.B) {
	sink := listenAndDiscard(b)
	backend := startBackend(b, sink)
	minimal := listen(b, func(c *net.TCPConn) {
		if server, err := net.Dial("tcp", sink.String()); err == nil {
			_, _ = io.Copy(server, c)
			_ = server.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(c, server)
			_ = server.Close()
		}
	})
	var own, reference time.Duration
	for b.Loop() {
		reference += transfer(b, minimal)
		own += transfer(b, backend)
	}
	b.ReportMetric(float64(reference)/float64(own), "ratio")
	b.ReportMetric(float64(b.N)*transferred/own.Seconds()/1e6, "MB/s")
}

// transfer sends transferred bytes to an address and returns how long they took to arrive.
func transfer(b *testing.B, to netip.AddrPort) time.Duration {
	c, err := net.Dial("tcp", to.String())
	require.NoError(b, err)
	defer c.Close()
	start := time.Now()
	buf := make([]byte, 1<<18)
	for range transferred / len(buf) {
		_, err := c.Write(buf)
		require.NoError(b, err)
	}
	require.NoError(b, c.(*net.TCPConn).CloseWrite())
	_, err = io.ReadAll(c)
	require.NoError(b, err)
	return time.Since(start)
}

// listen starts a server that calls handle for each connection.
func listen(b *testing.B, handle func(c *net.TCPConn)) netip.AddrPort {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c.(*net.TCPConn))
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func listenAndDiscard(b *testing.B) netip.AddrPort {
	return listen(b, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
}

// startBackend serves one endpoint and returns the local address.
func startBackend(tb testing.TB, endpoint netip.AddrPort) netip.AddrPort {
	backend, err := New(Config{Map: FreePorts(loopback())})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = backend.Close() })
	svc := newService("web", localsink.ProtocolTCP, endpoint)
	require.NoError(tb, backend.Sync(context.Background(), sinktest.NewUpdate(&localsink.Node{}, nil, sinktest.NewState(svc))))
	return backend.Listeners()[0].Local
}

// endpointEnv holds the address of the endpoint of TestProxyProcess.
const endpointEnv = "KPNG_USERSPACE_ENDPOINT"

// TestProxyProcess is not a test: it is the process that BenchmarkIdleConnections measures.
func TestProxyProcess(t *testing.T) {
	endpoint := os.Getenv(endpointEnv)
	if endpoint == "" {
		t.Skip("only for BenchmarkIdleConnections")
	}
	_, err := fmt.Fprintln(os.Stdout, "local", startBackend(t, netip.MustParseAddrPort(endpoint)))
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// TestIdleConnectionsHoldNoPipes: connections that have exchanged a few bytes hold their sockets
// and nothing else, at once.
func TestIdleConnectionsHoldNoPipes(t *testing.T) {
	f := newFixture(t, Config{})
	f.sync(newService("web", localsink.ProtocolTCP, serveTCP(t, echo)))
	descriptors := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(files)
	}
	exchange(t, dial(t, "tcp", f.local("web")), "x", "x")
	before := descriptors()
	const connections, sockets = 200, 4 // of the client, the backend and the endpoint
	for range connections {
		exchange(t, dial(t, "tcp", f.local("web")), "x", "x")
	}
	require.LessOrEqual(t, descriptors()-before, connections*sockets)
}

// BenchmarkIdleConnections measures the memory and the descriptors of a process with idle
// connections, each of which has carried bytes. The promise is 100 MB for 10,000.
func BenchmarkIdleConnections(b *testing.B) {
	endpoint := listen(b, echo)
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestProxyProcess$")
	cmd.Env = append(os.Environ(), endpointEnv+"="+endpoint.String())
	stdin, err := cmd.StdinPipe()
	require.NoError(b, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	defer func() { stdin.Close(); _ = cmd.Wait() }()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(b, err)
	local := strings.TrimSpace(strings.TrimPrefix(line, "local "))

	var conns []net.Conn
	for range idleConnections(b) {
		c, err := net.Dial("tcp", local)
		require.NoError(b, err)
		defer c.Close()
		_, err = c.Write([]byte{0})
		require.NoError(b, err)
		_, err = io.ReadFull(c, make([]byte, 1))
		require.NoError(b, err)
		conns = append(conns, c)
	}
	for b.Loop() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		require.NoError(b, err)
		kilobytes, err := strconv.ParseFloat(string(regexp.MustCompile(`VmRSS:\s+(\d+)`).FindSubmatch(status)[1]), 64)
		require.NoError(b, err)
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid))
		require.NoError(b, err)
		b.ReportMetric(kilobytes/1000*10000/float64(len(conns)), "MB/10000connections")
		b.ReportMetric(float64(len(files))/float64(len(conns)), "descriptors/connection")
	}
	b.ReportMetric(float64(len(conns)), "connections")
}

// idleConnections returns 10,000, or as many as the limit of open files permits: both processes
// have two descriptors of each connection.
func idleConnections(b *testing.B) int {
	var limit unix.Rlimit
	require.NoError(b, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	return min(10000, int(limit.Cur-100)/2)
}
