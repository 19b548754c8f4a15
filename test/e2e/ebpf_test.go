// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/controlplane"
	"sigs.k8s.io/kpng/test/netns"
)

// TestEBPF runs all cases and live tests with the mode ebpf. The programs of the proxy are attached
// to a cgroup that has the test and the proxy. All hosts of the cluster are in this process, so
// those that are not the node or its pods are excluded.
func TestEBPF(t *testing.T) {
	fx := newFixture(t)
	runProxy(t, fx, newEBPFProxy(t, fx))
}

// newEBPFProxy returns the drop-in in the mode ebpf.
func newEBPFProxy(t testing.TB, fx *fixture) *proxyUnderTest {
	t.Helper()
	cgroup, pins := joinCgroup(t), t.TempDir()
	require.NoError(t, unix.Mount("bpf", pins, "bpf", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(pins, unix.MNT_DETACH)) })
	return &proxyUnderTest{
		name: "kpng-ebpf", pkg: controlplane.KPNGProxyPackage, mode: "ebpf", differences: ebpfDifferences(),
		restoresRules: true, cgroup: cgroup, pins: pins, started: func(t testing.TB) {
			excludeNamespaces(t, filepath.Join(pins, "kpng", "namespaces"), fx.Lan, fx.Client.Namespace, fx.Places["remote"].Namespace)
			startProcesses(t, fx)
		},
	}
}

// ebpfDifferences returns the differences of the mode ebpf from the mode nftables.
func ebpfDifferences() []difference {
	return []difference{
		{
			id: "DP-22", want: "pod1 src=self",
			probes: `^hairpin, step 1: pod1 \S+/cluster|^hairpin with policies Local, step 1: pod1 `,
			why:    "a pod that reaches itself through an address that is translated at its socket sees its own address as the client",
		},
		{
			id: "CT-03", want: "closed",
			probes: `^established connections stay, datagram flows move on, step [23]: (pod3|node) \S+/udp|` +
				`^should be able to preserve UDP traffic when server pod cycles for a ClusterIP service.*, step 4: (pod3|node) ~`,
			why: "connected UDP sockets of a removed endpoint are closed, instead of moving to another endpoint",
		},
	}
}

// startProcesses starts a process in each pod of the node: the proxy finds the network namespaces of
// pods by their processes.
func startProcesses(t testing.TB, fx *fixture) {
	t.Helper()
	for _, pod := range []string{"pod1", "pod2", "pod3"} {
		process, err := fx.Places[pod].Namespace.Run(netns.Program{Name: "process-of-" + pod, Path: "sleep", Args: []string{"infinity"}, Dir: fx.dir})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, process.Kill()) })
	}
}

// cgroupRoot returns where the cgroup v2 hierarchy is mounted.
func cgroupRoot(t testing.TB) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1]
		}
	}
	t.Skip("needs a cgroup v2 hierarchy")
	return ""
}

// joinCgroup moves this process to a new cgroup until the end of the test.
func joinCgroup(t testing.TB) string {
	t.Helper()
	root := cgroupRoot(t)
	own, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(t, err)
	before := ""
	for line := range strings.Lines(string(own)) {
		if path, found := strings.CutPrefix(line, "0::"); found {
			before = filepath.Join(root, strings.TrimSpace(path))
		}
	}
	dir, err := os.MkdirTemp(root, "kpng-e2e-") //nolint:usetesting // a cgroup, not a directory of files
	require.NoError(t, err)
	move := func(pid, to string) error {
		return os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(pid), 0)
	}
	self := strconv.Itoa(os.Getpid())
	t.Cleanup(func() {
		require.NoError(t, move(self, before))
		eventually(t, syncLimit, "the cgroup is removed", func() error {
			left, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")) // children that have not ended yet
			if err != nil {
				return err
			}
			for pid := range strings.FieldsSeq(string(left)) {
				_ = move(pid, before) // fails for a process that has ended
			}
			return os.Remove(dir)
		})
	})
	require.NoError(t, move(self, dir))
	return dir
}

// withOwnCgroup returns the path of a script that runs a program in a mount namespace where the
// cgroup is the root of the hierarchy, and the BPF file system is another one.
func withOwnCgroup(t testing.TB, program, cgroup, pins string) string {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\nexec unshare --mount --propagation private sh -c 'mount --bind \"$1\" \"$2\" && mkdir -p /sys/fs/bpf && "+
		"mount --bind \"$3\" /sys/fs/bpf && shift 3 && exec \"$@\"' sh '%s' '%s' '%s' '%s' \"$@\"\n", cgroup, cgroupRoot(t), pins, program)
	path := filepath.Join(t.TempDir(), filepath.Base(program))
	require.NoError(t, os.WriteFile(path, []byte(script), 0o700))
	return path
}

// excludeNamespaces writes network namespaces to the map of those that the programs leave alone.
func excludeNamespaces(t testing.TB, pinned string, all ...*netns.Namespace) {
	t.Helper()
	var m *ebpf.Map
	eventually(t, syncLimit, "the proxy pins its maps", func() (err error) {
		m, err = ebpf.LoadPinnedMap(pinned, nil)
		return err
	})
	defer m.Close()
	for _, ns := range all {
		require.NoError(t, ns.Do(func() error {
			s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(s)
			cookie, err := unix.GetsockoptUint64(s, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
			if err != nil {
				return err
			}
			return m.Put(cookie, uint8(0))
		}))
	}
}

// TestEBPFReachesNewEndpoint measures the time from the write of an EndpointSlice to the first
// connection of a pod that reaches its endpoint.
func TestEBPFReachesNewEndpoint(t *testing.T) {
	fx := newFixture(t)
	p := newEBPFProxy(t, fx)
	p.build(t, fx)
	p.start(t, fx)
	fx.barrier(t, syncLimit)
	at := func(pod string) []service {
		return []service{{name: "latency", ports: []string{"p:80/tcp"}, slices: []slice{{ports: []string{"p:8080/tcp"}, endpoints: []string{pod}}}}}
	}
	current := at("pod1")
	addresses := addressBook{}
	for _, o := range fx.apply(t, nil, current) {
		addresses.add(fx, o)
	}
	to, found := addresses.find("latency", "cluster", "4", 80, "tcp")
	require.True(t, found)
	var sinceAcknowledged, sinceBegin []time.Duration
	for i := range 100 {
		pod := []string{"pod2", "pod1"}[i%2]
		begin := time.Now()
		next := at(pod)
		fx.apply(t, current, next)
		acknowledged := time.Now()
		current = next
		want, connecting := fmt.Sprintf("%s:%d", pod, cluster.ServerPort), acknowledged
		for fx.Places["pod3"].Probe(t.Context(), "tcp", to, time.Second).Server != want {
			require.Less(t, time.Since(begin), syncLimit)
			connecting = time.Now()
		}
		sinceAcknowledged, sinceBegin = append(sinceAcknowledged, connecting.Sub(acknowledged)), append(sinceBegin, connecting.Sub(begin))
	}
	for from, times := range map[string][]time.Duration{"the end": sinceAcknowledged, "the begin": sinceBegin} {
		slices.Sort(times)
		t.Logf("from %s of the write to the first connection: median %v, 90 %% %v", from, times[len(times)/2], times[len(times)*9/10])
	}
}
