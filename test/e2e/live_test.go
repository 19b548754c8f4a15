// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kpng/test/cluster"
)

// A liveTest is a story that steps cannot tell.
type liveTest struct {
	name string
	run  func(*testing.T, *world, *proxyUnderTest)
}

// liveTests are the stories in the order in which they are run; the last one ends the
// proxy. Those of Kubernetes' own end-to-end tests carry their names.
func liveTests() []liveTest {
	return []liveTest{
		{"the node moves to another zone", testZone},
		{"should have session affinity timeout work for service with type clusterIP and NodePort", testAffinityTimeout},
		{"should set TCP CLOSE_WAIT timeout", testCloseWait},
		{"proxy implementation should not be vulnerable to the invalid conntrack state bug", testInvalidState},
		{"should create Services and serve on different Service CIDRs", testServiceCIDRs},
		{"should not have connectivity disruption during rolling update", testRollingUpdate},
		{"should recreate its rules if they are deleted", testDeletedRules},
		{"should proxy localhost NodePort traffic to backends across nodes", testLocalhost},
		{"should work after restarting kube-proxy", testRestart},
		{"should work after restarting apiserver", testAPIServer},
		{"should check kube-proxy urls", testHTTP},
		{"cleanup", testCleanup},
	}
}

// expect probes until all see what they should; the first Service is the one that
// probes mean.
func expect(t *testing.T, w *world, addresses book, name, probes string) {
	t.Helper()
	parsed, err := parseProbes(probes, name)
	require.NoError(t, err)
	r := &prober{world: w}
	for _, p := range parsed {
		p.at, _ = addresses.find(p.service, p.kind, p.family, p.port, p.proto)
		eventually(t, syncLimit, p.key(), func() error {
			if got := r.run(t.Context(), p); got.fail {
				return fmt.Errorf("want %s, got %s", got.wanted(), got.got)
			}
			return nil
		})
	}
}

// testZone moves the node to another zone and back: the choice by hints follows.
func testZone(t *testing.T, w *world, _ *proxyUnderTest) {
	services := []service{plain("zone", "pod1 zone=a", "rpod1 zone=b")}
	addresses := book{}
	addresses.add(w, w.apply(t, nil, services)["zone"])
	defer w.apply(t, services, nil)
	expect(t, w, addresses, "zone", "pod3 cluster:80 = pod1")
	w.patchNode(t, `{"metadata":{"labels":{"`+corev1.LabelTopologyZone+`":"b"}}}`)
	expect(t, w, addresses, "zone", "pod3 cluster:80 = rpod1")
	w.patchNode(t, `{"metadata":{"labels":{"`+corev1.LabelTopologyZone+`":null}}}`)
	expect(t, w, addresses, "zone", "pod3 cluster:80 = pod1 rpod1")
	w.patchNode(t, `{"metadata":{"labels":{"`+corev1.LabelTopologyZone+`":"a"}}}`)
	expect(t, w, addresses, "zone", "pod3 cluster:80 = pod1")
}

// A load is traffic that goes on while something happens to the proxy.
type load struct {
	mu       sync.Mutex
	made     int
	failures []string
	group    sync.WaitGroup
	stop     context.CancelFunc
}

// everywhere is traffic of a Service from a pod, the node and the client.
const everywhere = "pod3,node,client cluster:80%[1]s = pod1\nclient,pod3 nodeport:80%[1]s = pod1\nclient lb:80%[1]s = pod1"

// startLoad keeps established connections talking and makes new ones, in both
// families.
func startLoad(t *testing.T, w *world, addresses book, name, table string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	probes, err := parseProbes(table, name)
	require.NoError(t, err)
	for _, p := range probes {
		p.at, _ = addresses.find(p.service, p.kind, p.family, p.port, p.proto)
		conn, err := w.Places[p.from].Dial(ctx, p.proto, p.at)
		require.NoError(t, err)
		l.group.Go(func() {
			defer conn.Close()
			l.repeat(ctx, "established "+p.key(), func() cluster.Answer { return conn.Ask(4 * time.Second) })
		})
		l.group.Go(func() {
			l.repeat(ctx, "new "+p.key(), func() cluster.Answer {
				return w.Places[p.from].Probe(context.WithoutCancel(ctx), p.proto, p.at, 4*time.Second)
			})
		})
	}
	return l
}

func (l *load) repeat(ctx context.Context, what string, ask func() cluster.Answer) {
	for ctx.Err() == nil {
		a := ask()
		l.mu.Lock()
		l.made++
		if !strings.HasPrefix(a.Server, "pod") {
			l.failures = append(l.failures, what+": "+a.Server)
		}
		l.mu.Unlock()
		pause(5 * time.Millisecond)
	}
}

// await returns when n more exchanges have taken place.
func (l *load) await(t *testing.T, n int) {
	t.Helper()
	made := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.made
	}
	until := made() + n
	eventually(t, time.Minute, "traffic flows", func() error {
		if now := made(); now < until {
			return fmt.Errorf("%d of %d exchanges", now, until)
		}
		return nil
	})
}

// end stops the traffic and fails the test when any of it failed.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.group.Wait()
	require.Empty(t, l.failures, "of %d", l.made)
	t.Logf("%d exchanges, none failed", l.made)
}

// testRestart kills the proxy under traffic and starts another: nothing fails,
// and what changed meanwhile takes effect.
func testRestart(t *testing.T, w *world, p *proxyUnderTest) {
	services := []service{open("restart", "51", nil, "pod1", "pod2"), plain("meanwhile", "pod1")}
	addresses := book{}
	for _, o := range w.apply(t, nil, services) {
		addresses.add(w, o)
	}
	w.barrier(t, syncLimit)
	traffic := startLoad(t, w, addresses, "restart", fmt.Sprintf(everywhere, ""))
	defer traffic.stop()

	traffic.await(t, 500)
	require.NoError(t, p.process.Kill())
	traffic.await(t, 1000)
	changed := []service{services[0], plain("meanwhile", "pod2")}
	w.apply(t, services, changed)
	expect(t, w, addresses, "meanwhile", "pod3 cluster:80 = pod1")
	begin := time.Now()
	p.startAgain(t, w)
	w.barrier(t, syncLimit)
	t.Logf("in force again %v after the start", time.Since(begin).Round(time.Millisecond))
	expect(t, w, addresses, "meanwhile", "pod3 cluster:80 = pod2")

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, p.process.Stop(ctx), "a proxy ends when asked to")
	p.startAgain(t, w)
	w.barrier(t, syncLimit)
	traffic.await(t, 500)
	traffic.end(t)
	w.apply(t, changed, nil)
}

// testAPIServer kills the API server under traffic: the rules stay, and updates
// come through once it is back.
func testAPIServer(t *testing.T, w *world, p *proxyUnderTest) {
	services := []service{open("outage", "52", nil, "pod1", "pod2"), plain("after", "pod1")}
	addresses := book{}
	for _, o := range w.apply(t, nil, services) {
		addresses.add(w, o)
	}
	w.barrier(t, syncLimit)
	traffic := startLoad(t, w, addresses, "outage", fmt.Sprintf(everywhere, ""))
	defer traffic.stop()
	require.NoError(t, w.control.APIServer.Kill())
	traffic.await(t, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begin := time.Now()
	require.NoError(t, w.control.StartAPIServer(ctx))
	t.Logf("API server ready again after %v", time.Since(begin).Round(time.Millisecond))
	changed := []service{services[0], plain("after", "pod2")}
	w.apply(t, services, changed)
	begin = time.Now()
	w.barrier(t, time.Minute)
	t.Logf("first change in force after %v", time.Since(begin).Round(time.Millisecond))
	expect(t, w, addresses, "after", "pod3,client cluster:80 = pod2")
	traffic.end(t)
	p.alive(t)
	w.apply(t, changed, nil)
}

// testHTTP asks the proxy about itself.
func testHTTP(t *testing.T, w *world, p *proxyUnderTest) {
	ask := func(address, path string, want int) string {
		t.Helper()
		var body string
		eventually(t, 10*time.Second, path, func() error {
			code, got, err := w.get(t.Context(), address, path)
			body = got
			if err == nil && code != want {
				err = fmt.Errorf("status %d, want %d: %s", code, want, got)
			}
			return err
		})
		return body
	}
	type health struct {
		LastUpdated, CurrentTime time.Time
		Healthy                  bool
		NodeEligible             *bool
		Status                   map[string]struct{ Healthy bool }
	}
	read := func(body string) (h health) {
		require.NoError(t, json.Unmarshal([]byte(body), &h), body)
		return h
	}
	node := w.Node.Addrs[0].String()
	h := read(ask(node+":10256", "/healthz", 200))
	require.True(t, h.Healthy)
	require.NotNil(t, h.NodeEligible)
	require.True(t, *h.NodeEligible)
	require.False(t, h.LastUpdated.IsZero())
	require.True(t, h.Status["IPv4"].Healthy)
	require.True(t, h.Status["IPv6"].Healthy)
	require.Nil(t, read(ask(node+":10256", "/livez", 200)).NodeEligible)

	w.patchNode(t, `{"spec":{"taints":[{"key":"ToBeDeletedByClusterAutoscaler","effect":"NoSchedule"}]}}`)
	h = read(ask(node+":10256", "/healthz", 503))
	require.True(t, h.Healthy)
	require.False(t, *h.NodeEligible)
	ask(node+":10256", "/livez", 200)
	w.patchNode(t, `{"spec":{"taints":null}}`)
	ask(node+":10256", "/healthz", 200)

	const metrics = "127.0.0.1:10249"
	require.Equal(t, p.mode, strings.TrimSpace(ask(metrics, "/proxyMode", 200)))
	require.Equal(t, "ok", strings.TrimSpace(ask(metrics, "/healthz", 200)))
	text := ask(metrics, "/metrics", 200)
	var missing []string
	for _, name := range []string{
		"kubeproxy_sync_proxy_rules_duration_seconds_count", "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
		"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
		"kubeproxy_sync_proxy_rules_service_changes_total", "kubeproxy_sync_proxy_rules_endpoint_changes_total",
		"kubeproxy_sync_proxy_rules_no_local_endpoints_total", "kubeproxy_proxy_healthz_total", "kubeproxy_proxy_livez_total",
		"process_resident_memory_bytes", "go_goroutines",
	} {
		if !strings.Contains(text, name) {
			missing = append(missing, name)
		}
	}
	require.Empty(t, missing)
	p.alive(t)
}

// testCleanup removes the rules: nothing answers, and nothing is left in the
// kernel. Cleaning up twice is no error.
func testCleanup(t *testing.T, w *world, p *proxyUnderTest) {
	p.clean(t, w)
	canary := netip.AddrPortFrom(w.canary.addrs[0], uint16(1000+w.canary.count))
	require.Equal(t, cluster.Timeout, w.Places["pod3"].Probe(t.Context(), "tcp", canary, 500*time.Millisecond).Server)
	ruleset, err := w.Node.Namespace.Output(t.Context(), "nft", "list", "ruleset")
	require.NoError(t, err)
	if p.mode == "iptables" { // its tables are everybody's
		require.NotRegexp(t, "KUBE-(SERVICES|NODEPORTS|SVC|SVL|SEP|EXT)", ruleset)
	} else {
		require.Empty(t, strings.TrimSpace(ruleset))
	}
	out, err := w.Node.Namespace.Output(t.Context(), p.path, "--cleanup")
	require.NoError(t, err, out)
}
