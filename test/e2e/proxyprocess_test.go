// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/controlplane"
	"sigs.k8s.io/kpng/test/netns"
)

// A proxyUnderTest is a program with the command line of kube-proxy.
type proxyUnderTest struct {
	name, pkg, mode string
	// differences are its documented deviations from the results that the cases want.
	differences []difference
	// extra holds additional arguments of one test.
	extra []string
	// restoresRules reports whether it soon restores rules that another program has deleted.
	restoresRules bool
	// legacyIPTables makes the command iptables that of iptables-legacy; the default of Debian
	// is iptables-nft.
	legacyIPTables bool
	// keepsAffinity reports whether affinity lasts as long as the kernel keeps connections of the
	// client, even if that exceeds the timeout.
	keepsAffinity bool
	// cgroup and pins, if not empty, are what the proxy finds as the root of the cgroup v2
	// hierarchy and as the BPF file system.
	cgroup, pins string
	// run, if not nil, are the arguments instead of those of kube-proxy, and cleanup those that remove its rules.
	run, cleanup []string
	// started, if not nil, is called when the process has started.
	started func(t testing.TB)
	path    string
	process *netns.Process
}

func proxies() []*proxyUnderTest {
	return []*proxyUnderTest{
		{name: "kpng", pkg: controlplane.KPNGProxyPackage, mode: "nftables", restoresRules: true},
		{name: "kube-proxy", pkg: controlplane.KubeProxyPackage, mode: "nftables"},
		{name: "kube-proxy-iptables", pkg: controlplane.KubeProxyPackage, mode: "iptables", differences: iptablesDifferences(), restoresRules: true},
		{name: "kpng-iptables", pkg: controlplane.KPNGProxyPackage, mode: "iptables", differences: nodePortDifferences("/tcp"), restoresRules: true},
	}
}

func (p *proxyUnderTest) build(t testing.TB, fx *fixture) {
	t.Helper()
	paths, err := fx.binaries.Build(t.Context(), p.pkg)
	require.NoError(t, err)
	p.path = paths[0]
	if p.legacyIPTables {
		p.path = withLegacyIPTables(t, p.path)
	}
	if p.cgroup != "" {
		p.path = withOwnCgroup(t, p.path, p.cgroup, p.pins)
	}
}

// withLegacyIPTables returns the path of a script that runs a program with iptables-legacy.
func withLegacyIPTables(t testing.TB, program string) string {
	t.Helper()
	dir := t.TempDir()
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			legacy, err := exec.LookPath(family + "-legacy" + suffix)
			require.NoError(t, err)
			require.NoError(t, os.Symlink(legacy, filepath.Join(dir, family+suffix)))
		}
	}
	script := fmt.Sprintf("#!/bin/sh\nPATH='%s':\"$PATH\" exec '%s' \"$@\"\n", dir, program)
	path := filepath.Join(dir, filepath.Base(program))
	require.NoError(t, os.WriteFile(path, []byte(script), 0o700))
	return path
}

func (p *proxyUnderTest) args(fx *fixture) []string {
	if p.run != nil {
		return p.run
	}
	return append([]string{
		"--kubeconfig=" + fx.kubeconfig, "--hostname-override=" + cluster.NodeName, "--proxy-mode=" + p.mode,
		"--cluster-cidr=" + cluster.PodCIDR4 + "," + cluster.PodCIDR6, "--detect-local-mode=ClusterCIDR",
		"--healthz-bind-address=0.0.0.0:10256", "--metrics-bind-address=127.0.0.1:10249",
		// The size of the conntrack table is a setting of the machine, not of a namespace.
		"--conntrack-max-per-core=0", "--v=2",
		// The interval at which the iptables mode checks that its rules exist.
		"--iptables-sync-period=5s",
	}, p.extra...)
}

// start starts the proxy on the node; it is killed at the end of the test.
func (p *proxyUnderTest) start(t testing.TB, fx *fixture) {
	t.Helper()
	process, err := p.launch(fx)
	require.NoError(t, err)
	p.process = process
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.name, p.process.Tail(40))
		}
		require.NoError(t, p.process.Kill())
	})
	if p.started != nil {
		p.started(t)
	}
}

// restart starts the proxy again after it has ended. The cleanup of start kills it.
func (p *proxyUnderTest) restart(t testing.TB, fx *fixture) {
	t.Helper()
	process, err := p.launch(fx)
	require.NoError(t, err)
	p.process = process
}

func (p *proxyUnderTest) launch(fx *fixture) (*netns.Process, error) {
	return fx.Node.Namespace.Run(netns.Program{Name: "proxy-" + p.name, Path: p.path, Args: p.args(fx), Dir: fx.dir})
}

// alive fails the test if the proxy process has ended.
func (p *proxyUnderTest) alive(t testing.TB) {
	t.Helper()
	require.NoError(t, p.process.Exited())
}

// clean stops the proxy and removes its rules.
func (p *proxyUnderTest) clean(t testing.TB, fx *fixture) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, p.process.Stop(ctx))
	cleanup := []string{"--cleanup"}
	if p.cleanup != nil {
		cleanup = p.cleanup
	}
	out, err := fx.Node.Namespace.Output(ctx, p.path, cleanup...)
	require.NoError(t, err, out)
}

// get sends an HTTP request from the node.
func (fx *fixture) get(ctx context.Context, address, path string) (code int, body string, err error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return fx.Node.Namespace.DialContext(ctx, net.Dialer{}, network, addr)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

// quantiles returns the median and the 99th percentile of a histogram of the proxy, each
// as the upper bound of its bucket.
func (fx *fixture) quantiles(t testing.TB, name string) (median, p99 time.Duration) {
	t.Helper()
	_, body, err := fx.get(t.Context(), "127.0.0.1:10249", "/metrics")
	require.NoError(t, err)
	total, err := fx.metric(t.Context(), name+"_count")
	require.NoError(t, err)
	for line := range strings.Lines(body) {
		var bound, count float64
		if n, _ := fmt.Sscanf(line, name+"_bucket{le=\"%g\"} %g", &bound, &count); n != 2 {
			continue
		}
		at := time.Duration(bound * float64(time.Second))
		if median == 0 && count >= total/2 {
			median = at
		}
		if p99 == 0 && count >= total*0.99 {
			p99 = at
		}
	}
	return median, p99
}

// metric returns the sum of all samples of a metric of the proxy.
func (fx *fixture) metric(ctx context.Context, name string) (float64, error) {
	_, body, err := fx.get(ctx, "127.0.0.1:10249", "/metrics")
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(body) {
		if labelsAndValue, ok := strings.CutPrefix(line, name); ok && (labelsAndValue[0] == ' ' || labelsAndValue[0] == '{') {
			var value float64
			if _, err := fmt.Sscan(labelsAndValue[strings.LastIndex(labelsAndValue, " ")+1:], &value); err != nil {
				return 0, err
			}
			sum, found = sum+value, true
		}
	}
	if !found {
		return 0, fmt.Errorf("no metric %s", name)
	}
	return sum, nil
}
