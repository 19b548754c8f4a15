// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/test/netns"
)

func newNamespace(t *testing.T) *netns.Namespace {
	t.Helper()
	if os.Getuid() != 0 && os.Getenv("KPNG_REQUIRE_NETNS") != "1" {
		t.Skip("needs root")
	}
	ns, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ns.Close()) })
	return ns
}

func TestNamespaceIsEmptyAndSeparate(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("", func(t *testing.T) {
		ns := newNamespace(t)
		link := func() string {
			target, err := os.Readlink("/proc/thread-self/ns/net")
			require.NoError(t, err)
			return target
		}
		outside, inside := link(), ""
		var interfaces []net.Interface
		require.NoError(t, ns.Do(func() (err error) {
			inside = link()
			interfaces, err = net.Interfaces()
			return err
		}))
		require.NotEqual(t, outside, inside)
		require.Len(t, interfaces, 1, "only the loopback interface")
		require.Equal(t, outside, link())

		out, err := ns.Output(t.Context(), "readlink", "/proc/self/ns/net")
		require.NoError(t, err)
		require.Equal(t, inside, strings.TrimSpace(out))
	})
}

func TestCloseKillsProcesses(t *testing.T) {
	ns := newNamespace(t)
	p, err := ns.Run(netns.Program{Name: "sleeper", Path: sleep(t), Args: []string{"60"}, Dir: t.TempDir()})
	require.NoError(t, err)
	require.NoError(t, p.Exited())
	require.NoError(t, ns.Close())
	select {
	case <-p.Done():
	case <-time.After(10 * time.Second):
		_ = p.Kill()
		t.Fatal("the process outlived its namespace")
	}
	require.ErrorContains(t, p.Exited(), "killed")
	require.NoError(t, p.Kill(), "a second Kill returns no error")
}

func TestProcessUsageAndStop(t *testing.T) {
	ns := newNamespace(t)
	p, err := ns.Run(netns.Program{Name: "sleeper", Path: sleep(t), Args: []string{"60"}, Dir: t.TempDir()})
	require.NoError(t, err)
	cpu, err := p.CPU()
	require.NoError(t, err)
	require.Less(t, cpu, time.Second)
	now, peak, err := p.Memory()
	require.NoError(t, err)
	require.Positive(t, now)
	require.GreaterOrEqual(t, peak, now)
	require.NoError(t, p.Stop(t.Context()))
	require.Error(t, p.Exited())
}

func sleep(t *testing.T) string {
	path, err := exec.LookPath("sleep")
	require.NoError(t, err)
	return path
}
