// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
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
	// differences are what it does otherwise than the cases say, on purpose.
	differences []difference
	// extra are arguments for one story.
	extra []string
	// heals says that it notices when somebody removes its rules.
	heals   bool
	path    string
	process *netns.Process
}

func proxies() []*proxyUnderTest {
	return []*proxyUnderTest{
		{name: "kpng", pkg: controlplane.OurProxyPackage, mode: "nftables", heals: true},
		{name: "kube-proxy", pkg: controlplane.KubeProxyPackage, mode: "nftables"},
		{name: "kube-proxy-iptables", pkg: controlplane.KubeProxyPackage, mode: "iptables", differences: iptablesDifferences(), heals: true},
	}
}

func (p *proxyUnderTest) build(t testing.TB, w *world) {
	t.Helper()
	paths, err := w.binaries.Build(t.Context(), p.pkg)
	require.NoError(t, err)
	p.path = paths[0]
}

func (p *proxyUnderTest) args(w *world) []string {
	return append([]string{
		"--kubeconfig=" + w.kubeconfig, "--hostname-override=" + cluster.NodeName, "--proxy-mode=" + p.mode,
		"--cluster-cidr=" + cluster.PodCIDR4 + "," + cluster.PodCIDR6, "--detect-local-mode=ClusterCIDR",
		"--healthz-bind-address=0.0.0.0:10256", "--metrics-bind-address=127.0.0.1:10249",
		// The size of the table belongs to the machine, not to a namespace.
		"--conntrack-max-per-core=0", "--v=2",
		// How often that mode looks whether its rules are still there.
		"--iptables-sync-period=5s",
	}, p.extra...)
}

// start starts the proxy on the node; it is killed at the end of the test.
func (p *proxyUnderTest) start(t testing.TB, w *world) {
	t.Helper()
	process, err := p.launch(w)
	require.NoError(t, err)
	p.process = process
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.name, p.process.Tail(40))
		}
		require.NoError(t, p.process.Kill())
	})
}

// startAgain starts it once more, after its end; start's cleanup applies.
func (p *proxyUnderTest) startAgain(t testing.TB, w *world) {
	t.Helper()
	process, err := p.launch(w)
	require.NoError(t, err)
	p.process = process
}

func (p *proxyUnderTest) launch(w *world) (*netns.Process, error) {
	return w.Node.Namespace.Run(netns.Program{Name: "proxy-" + p.name, Path: p.path, Args: p.args(w), Dir: w.dir})
}

// alive fails the test when the proxy has ended.
func (p *proxyUnderTest) alive(t testing.TB) {
	t.Helper()
	require.NoError(t, p.process.Exited())
}

// clean stops the proxy and removes its rules.
func (p *proxyUnderTest) clean(t testing.TB, w *world) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, p.process.Stop(ctx))
	out, err := w.Node.Namespace.Output(ctx, p.path, "--cleanup")
	require.NoError(t, err, out)
}

// get fetches a page from a server on the node, seen from the node.
func (w *world) get(ctx context.Context, address, path string) (code int, body string, err error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return w.Node.Namespace.DialContext(ctx, net.Dialer{}, network, addr)
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

// quantiles returns the median and the 99th percentile of a histogram of the proxy, as
// upper bounds: those of the buckets they are in.
func (w *world) quantiles(t testing.TB, name string) (half, most time.Duration) {
	t.Helper()
	_, body, err := w.get(t.Context(), "127.0.0.1:10249", "/metrics")
	require.NoError(t, err)
	total, err := w.metric(t.Context(), name+"_count")
	require.NoError(t, err)
	for line := range strings.Lines(body) {
		var bound, count float64
		if n, _ := fmt.Sscanf(line, name+"_bucket{le=\"%g\"} %g", &bound, &count); n != 2 {
			continue
		}
		at := time.Duration(bound * float64(time.Second))
		if half == 0 && count >= total/2 {
			half = at
		}
		if most == 0 && count >= total*0.99 {
			most = at
		}
	}
	return half, most
}

// metric returns the sum of all samples of a metric of the proxy.
func (w *world) metric(ctx context.Context, name string) (float64, error) {
	_, body, err := w.get(ctx, "127.0.0.1:10249", "/metrics")
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			var value float64
			if _, err := fmt.Sscan(rest[strings.LastIndex(rest, " ")+1:], &value); err != nil {
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
