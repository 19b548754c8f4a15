// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/test/controlplane"
	"sigs.k8s.io/kpng/test/netns"
)

const (
	nodeName       = "node-1"
	healthzAddress = "127.0.0.1:10256"
	// stillRunning is the time after which a program is taken to go on. It is longer than
	// the time for which our proxy waits for a file that is absent.
	stillRunning = 6 * time.Second
)

// A machine is a network namespace with a control plane on its loopback interface.
type machine struct {
	*netns.Namespace
	kubeconfig string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 && os.Getenv("KPNG_REQUIRE_NETNS") != "1" {
		t.Skip("needs root")
	}
	ns, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ns.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := ns.Output(ctx, "ip", "link", "set", "lo", "up")
	require.NoError(t, err, out)
	binaries, err := controlplane.OpenBinaries()
	require.NoError(t, err)
	paths, err := binaries.Build(ctx, controlplane.EtcdPackage, controlplane.APIServerPackage)
	require.NoError(t, err)
	control, err := controlplane.Start(ctx, controlplane.Config{
		Dir: t.TempDir(), Addr: netip.MustParseAddr("127.0.0.1"), Namespace: ns, Etcd: paths[0], APIServer: paths[1],
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, control.Close()) })
	client, err := control.Client()
	require.NoError(t, err)
	_, err = client.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.10"}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	m := &machine{Namespace: ns}
	m.kubeconfig, err = control.WriteKubeconfig()
	require.NoError(t, err)
	return m
}

// exitCode runs a program to its end.
func (m *machine) exitCode(t *testing.T, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := m.Output(ctx, path, args...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "exit status 0"
	case errors.As(err, &exit) && exit.Exited():
		return exit.String()
	}
	require.NoError(t, err, out)
	return ""
}

// A running is a proxy process that is ready, with its configuration file.
type running struct {
	*netns.Process
	file string
}

// launch starts a proxy with a configuration file.
func (m *machine) launch(t *testing.T, path, file string) *running {
	t.Helper()
	p, err := m.Run(netns.Program{Name: filepath.Base(path), Path: path, Dir: t.TempDir(), Args: []string{"--config=" + file}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() })
	return &running{p, file}
}

// start starts a proxy with a configuration file and waits until it has applied its rules.
func (m *machine) start(t *testing.T, path, file string) *running {
	t.Helper()
	r := m.launch(t, path, file)
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return m.DialContext(ctx, net.Dialer{}, network, address)
		},
	}}
	require.Eventually(t, func() bool {
		answer, err := client.Get("http://" + healthzAddress + "/healthz")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}, 50*time.Second, 20*time.Millisecond, "%s", r.Tail(20))
	return r
}

// result returns how the process ends, or that it does not.
func (r *running) result() string {
	select {
	case <-r.Done():
		return regexp.MustCompile(`\(([^)]*)\)`).FindStringSubmatch(r.Exited().Error())[1]
	case <-time.After(stillRunning):
		return "still runs"
	}
}

// settings returns the lines of a configuration file for the machine.
func (m *machine) settings() string {
	return fmt.Sprintf("mode: nftables\nhostnameOverride: %s\nclientConnection: {kubeconfig: %s}\nhealthzBindAddress: %s\n"+
		"metricsBindAddress: 127.0.0.1:10249\nconntrack: {maxPerCore: 0}\n", nodeName, m.kubeconfig, healthzAddress)
}

// actions returns command lines that end by themselves.
func (m *machine) actions(t *testing.T) map[string][]string {
	file := func(lines string) string { return "--config=" + configFile(t, lines) }
	return map[string][]string{
		"an unknown flag":                         {"--no-such-flag"},
		"an argument":                             {"argument"},
		"--help":                                  {"--help"},
		"--version":                               {"--version"},
		"--version=raw":                           {"--version=raw"},
		"--version=x":                             {"--version=x"},
		"--version beside an invalid file":        {"--version", "--config=/nowhere"},
		"no configuration file":                   {"--config=/nowhere"},
		"an invalid configuration file":           {file("oomScoreAdj: 1001\n")},
		"no API server":                           {"--proxy-mode=nftables", "--hostname-override=" + nodeName},
		"no kubeconfig file":                      {"--proxy-mode=nftables", "--kubeconfig=/nowhere"},
		"--write-config-to a directory":           {"--write-config-to=/proc"},
		"--write-config-to":                       {"--write-config-to=/dev/null"},
		"--metrics-port=0":                        {"--metrics-port=0", "--kubeconfig=/nowhere"},
		"--healthz-port=65536":                    {"--healthz-bind-address=127.0.0.1", "--healthz-port=65536", "--kubeconfig=/nowhere"},
		"--cleanup":                               {"--cleanup"},
		"--cleanup, mode: iptables":               {"--cleanup", file("mode: iptables\n")},
		"--cleanup, mode: ipvs":                   {"--cleanup", file("mode: ipvs\n")},
		"--cleanup, an invalid file":              {"--cleanup", file("mode: none\n")},
		"--cleanup, no file":                      {"--cleanup", "--config=/nowhere"},
		"--init-only":                             {"--init-only", file(m.settings())},
		"--init-only, no API server":              {"--init-only", "--proxy-mode=nftables", "--conntrack-max-per-core=0"},
		"--init-only, a limit that cannot be set": {"--init-only", file(strings.Replace(m.settings(), "maxPerCore: 0", "maxPerCore: 1000000000", 1))},
	}
}

// changes returns what happens to a program that runs, by name.
func changes(t *testing.T) map[string]func(r *running) {
	must := func(err error) { require.NoError(t, err) }
	add := func(file, lines string) {
		data, err := os.ReadFile(file)
		must(err)
		must(os.WriteFile(file, append(data, lines...), 0o600))
	}
	return map[string]func(r *running){
		"SIGTERM": func(r *running) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			must(r.Stop(ctx))
		},
		"the file is written with another content": func(r *running) { add(r.file, "oomScoreAdj: 1\n") },
		"the file is written with the same content": func(r *running) {
			data, err := os.ReadFile(r.file)
			must(err)
			must(os.WriteFile(r.file, data, 0o600))
		},
		"the time of the file is set": func(r *running) { must(os.Chtimes(r.file, time.Now(), time.Now())) },
		"another file is renamed to it": func(r *running) {
			next := r.file + ".next"
			data, err := os.ReadFile(r.file)
			must(err)
			must(os.WriteFile(next, append(data, "oomScoreAdj: 2\n"...), 0o600))
			must(os.Rename(next, r.file))
		},
		"the file is renamed": func(r *running) { must(os.Rename(r.file, r.file+".old")) },
		"the file is removed": func(r *running) { must(os.Remove(r.file)) },
		"kubelet updates the ConfigMap": func(r *running) {
			volume := filepath.Dir(r.file)
			must(os.Mkdir(filepath.Join(volume, "..2"), 0o700))
			data, err := os.ReadFile(r.file)
			must(err)
			must(os.WriteFile(filepath.Join(volume, "..2", "config.conf"), append(data, "oomScoreAdj: 3\n"...), 0o600))
			must(os.Symlink("..2", filepath.Join(volume, "..data_tmp")))
			must(os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")))
			must(os.RemoveAll(filepath.Join(volume, "..1")))
		},
	}
}

// configMap writes a configuration file into a directory as kubelet does for a ConfigMap.
func configMap(t *testing.T, lines string) string {
	t.Helper()
	volume := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(volume, "..1"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(volume, "..1", "config.conf"), []byte(fileHead+lines), 0o600))
	require.NoError(t, os.Symlink("..1", filepath.Join(volume, "..data")))
	file := filepath.Join(volume, "config.conf")
	require.NoError(t, os.Symlink("..data/config.conf", file))
	return file
}

func TestActionsAndExitCodes(t *testing.T) {
	kubeProxy, here := build(t)
	m := newMachine(t)
	theirs, ours := map[string]string{}, map[string]string{}
	programs := map[string]map[string]string{kubeProxy: theirs, here: ours}
	for path, items := range programs {
		for item, args := range m.actions(t) {
			items[item] = m.exitCode(t, path, args...)
		}
		_, version, _ := execute(t, path, "--version")
		items["--version prints"] = regexp.MustCompile(`v\d\S*|\(devel\)`).ReplaceAllString(strings.TrimSpace(version), "VERSION")
		for item, change := range changes(t) {
			file := configFile(t, m.settings())
			if item == "kubelet updates the ConfigMap" {
				file = configMap(t, m.settings())
			}
			r := m.start(t, path, file)
			change(r)
			items[item] = r.result()
			require.NoError(t, r.Kill())
		}
		// nf_conntrack_max is read-only in a network namespace that is not the host's.
		r := m.launch(t, path, configFile(t, strings.Replace(m.settings(), "maxPerCore: 0", "maxPerCore: 1000000000", 1)))
		items["a limit of the kernel cannot be set"] = r.result()
		require.NoError(t, r.Kill())
	}
	compare(t, exitTitle, theirs, ours)
}

// TestAddressInUse checks bindAddressHardFail: with it a program ends, without it goes on.
func TestAddressInUse(t *testing.T) {
	kubeProxy, here := build(t)
	m := newMachine(t)
	busy, err := m.Listen(t.Context(), "tcp", "127.0.0.1:10249")
	require.NoError(t, err)
	defer busy.Close()
	for _, path := range []string{kubeProxy, here} {
		for lines, want := range map[string]string{"": "still runs", "bindAddressHardFail: true\n": "exit status 1"} {
			r := m.launch(t, path, configFile(t, m.settings()+lines))
			require.Equal(t, want, r.result(), "%s: %s", path, lines)
			require.NoError(t, r.Kill())
		}
	}
}
