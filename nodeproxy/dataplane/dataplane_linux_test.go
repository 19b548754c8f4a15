// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/ebpf"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
	"sigs.k8s.io/kpng/nodeproxy/status"
)

// TestModes programs an empty state in each mode that the machine supports, and removes it.
func TestModes(t *testing.T) {
	for _, mode := range Modes() {
		t.Run(mode, func(t *testing.T) {
			inNamespace(t, func() {
				cfg := Config{}
				if mode == ModeEBPF {
					cfg.EBPF = ebpfConfig(t)
				}
				d, err := New(mode, cfg)
				if errors.Is(err, ErrUnavailable) {
					t.Skip(err)
				}
				require.NoError(t, err)
				require.Equal(t, mode, d.Mode)
				sink := localsink.Chain(d.Rules)
				if d.Flows != nil {
					sink = localsink.Chain(d.Rules, d.Flows)
				}
				driver := sinktest.Driver{Sink: sink, Node: &localsink.Node{Name: "node-1"}}
				require.NoError(t, driver.Sync(t.Context(), sinktest.NewState()))
				_, err = metrics.Handler(d.Collectors...)
				require.NoError(t, err)
				require.NoError(t, d.Close())
				require.NoError(t, Cleanup(t.Context(), nil))
				if mode == ModeEBPF {
					require.NoError(t, ebpf.Cleanup(cfg.EBPF))
				}
			})
		})
	}
}

// ebpfConfig returns a configuration that concerns no process of the machine.
func ebpfConfig(t *testing.T) ebpf.Config {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	cfg := ebpf.Config{}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[2] == "cgroup2" {
			cfg.Cgroup, err = os.MkdirTemp(fields[1], "kpng-test-") //nolint:usetesting // a cgroup, not a directory of files
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, os.Remove(cfg.Cgroup)) })
			break
		}
	}
	if cfg.Cgroup == "" {
		t.Skip("needs a cgroup v2 hierarchy")
	}
	dir := t.TempDir()
	require.NoError(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	cfg.PinDirectory = dir + "/kpng"
	return cfg
}

// TestKernelWithoutIPVS checks that the mode is unavailable where the kernel has no IPVS.
func TestKernelWithoutIPVS(t *testing.T) {
	if _, err := netlink.GenlFamilyGet("IPVS"); err == nil {
		t.Skip("this kernel has IPVS")
	}
	_, err := New(ModeIPVS, Config{})
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "mode not available: ipvs: ")
}

// inNamespace runs f on a thread in a new network namespace. Without the privilege it skips the
// test, or fails it if KPNG_REQUIRE_NETNS is 1.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a network namespace: skipped with -short")
	}
	done, failed := make(chan struct{}), error(nil)
	go func() {
		defer close(done)
		runtime.LockOSThread() // not unlocked, so that the thread ends with the goroutine
		if failed = unix.Unshare(unix.CLONE_NEWNET); failed == nil {
			f()
		}
	}()
	<-done
	if failed != nil && os.Getenv("KPNG_REQUIRE_NETNS") != "1" {
		t.Skipf("needs root to create network namespaces: %v", failed)
	}
	require.NoError(t, failed)
}

// TestEBPFDetails connects to a Service and checks what /state and /metrics have of it.
func TestEBPFDetails(t *testing.T) {
	inNamespace(t, func() {
		cfg := Config{EBPF: ebpfConfig(t)}
		cfg.EBPF.RecentRewrites = 10
		d, err := New(ModeEBPF, cfg)
		if errors.Is(err, ErrUnavailable) {
			t.Skip(err)
		}
		require.NoError(t, err)
		defer func() { require.NoError(t, errors.Join(d.Close(), Cleanup(t.Context(), nil), ebpf.Cleanup(cfg.EBPF))) }()
		joinCgroup(t, cfg.EBPF.Cgroup)
		lo, err := netlink.LinkByName("lo")
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetUp(lo))
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer listener.Close()
		port := localsink.Port{
			Protocol:  localsink.ProtocolTCP,
			Pools:     []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: netip.MustParseAddrPort(listener.Addr().String()), Weight: 1}}}},
			Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: []localsink.Route{{}}}},
		}
		web := &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: "web"}, Ports: []localsink.Port{port}}
		driver := sinktest.Driver{Sink: d.Rules, Node: &localsink.Node{Name: "node-1"}}
		require.NoError(t, driver.Sync(t.Context(), sinktest.NewState(web)))
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, errors.Join(unix.Connect(s, &unix.SockaddrInet4{Addr: [4]byte{10, 96, 0, 1}, Port: 80}), unix.Close(s)))

		detailer := d.Rules.(status.Detailer)
		var details []status.Detail
		require.Eventually(t, func() bool {
			details = detailer.StateDetails(t.Context())
			return len(details) == 2 && len(details[1].Lines) == 1
		}, 10*time.Second, 10*time.Millisecond)
		require.Equal(t, "maps", details[0].Name)
		require.Contains(t, details[0].Lines, "frontends: 1 of 4096")
		require.Equal(t, "recent rewrites", details[1].Name)
		require.Contains(t, details[1].Lines[0], " 10.96.0.1:80/TCP -> "+listener.Addr().String()+" from network namespace ")
		require.True(t, strings.HasSuffix(details[1].Lines[0], " ns/web"), details[1].Lines[0])
		text, err := json.Marshal(details[1].Value)
		require.NoError(t, err)
		require.Contains(t, string(text), `"service":"ns/web","protocol":"TCP","frontend":"10.96.0.1:80","endpoint":"`+listener.Addr().String()+`"`)

		handler, err := metrics.Handler(d.Collectors...)
		require.NoError(t, err)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		require.Contains(t, w.Body.String(), `kpng_ebpf_map_entries{map="frontends"} 1`+"\n")
		require.Contains(t, w.Body.String(), `kpng_ebpf_map_pressure{map="frontends"} 0.000244140625`+"\n")
	})
}

// joinCgroup moves the process to a cgroup until the end of the test.
func joinCgroup(t *testing.T, dir string) {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(t, err)
	before := ""
	for line := range strings.Lines(string(own)) {
		if path, found := strings.CutPrefix(line, "0::"); found {
			before = filepath.Join(filepath.Dir(dir), strings.TrimSpace(path))
		}
	}
	enter := func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
	}
	require.NoError(t, enter(dir))
	t.Cleanup(func() { require.NoError(t, enter(before)) })
}

// TestAddressesWithout: health checks must not be served at the addresses of Services, which the mode ipvs
// adds to an interface.
func TestAddressesWithout(t *testing.T) {
	all, err := addressesWithout("no-such-interface")
	require.NoError(t, err)
	expected, err := net.InterfaceAddrs()
	require.NoError(t, err)
	texts := func(addrs []net.Addr) (all []string) {
		for _, a := range addrs {
			all = append(all, a.String())
		}
		return all
	}
	require.ElementsMatch(t, texts(expected), texts(all))
	without, err := addressesWithout("lo")
	require.NoError(t, err)
	for _, a := range without {
		require.NotContains(t, a.String(), "127.0.0.1/")
	}
	require.Less(t, len(without), len(all))
}
