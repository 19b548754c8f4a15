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

// A liveTest is a test that a table of probes cannot express.
type liveTest struct {
	name string
	run  func(*testing.T, *fixture, *proxyUnderTest)
}

// liveTests returns the tests in the order in which they run; the last one stops the proxy.
// Tests that correspond to an end-to-end test of Kubernetes have its name.
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

// expect repeats each probe until it gets the expected result. Probes without a Service name
// are for the Service name.
func expect(t *testing.T, fx *fixture, addresses addressBook, name, probes string) {
	t.Helper()
	parsed, err := parseProbes(probes, name)
	require.NoError(t, err)
	r := &prober{fixture: fx}
	for _, p := range parsed {
		p.at, _ = addresses.find(p.service, p.kind, p.family, p.port, p.proto)
		eventually(t, syncLimit, p.key(), func() error {
			if got := r.run(t.Context(), p); got.fail {
				return fmt.Errorf("want %s, got %s", got.expected(), got.got)
			}
			return nil
		})
	}
}

// testZone moves the node to another zone and back; the endpoints by topology hints change.
func testZone(t *testing.T, fx *fixture, _ *proxyUnderTest) {
	services := []service{plain("zone", "pod1 zone=a", "rpod1 zone=b")}
	addresses := addressBook{}
	addresses.add(fx, fx.apply(t, nil, services)["zone"])
	defer fx.apply(t, services, nil)
	expect(t, fx, addresses, "zone", "pod3 cluster:80 = pod1")
	fx.patchNode(t, `{"metadata":{"labels":{"`+corev1.LabelTopologyZone+`":"b"}}}`)
	expect(t, fx, addresses, "zone", "pod3 cluster:80 = rpod1")
	fx.patchNode(t, `{"metadata":{"labels":{"`+corev1.LabelTopologyZone+`":null}}}`)
	expect(t, fx, addresses, "zone", "pod3 cluster:80 = pod1 rpod1")
	fx.patchNode(t, `{"metadata":{"labels":{"`+corev1.LabelTopologyZone+`":"a"}}}`)
	expect(t, fx, addresses, "zone", "pod3 cluster:80 = pod1")
}

// A load is continuous traffic while a test disturbs the proxy.
type load struct {
	mu        sync.Mutex
	exchanges int
	failures  []string
	group     sync.WaitGroup
	stop      context.CancelFunc
}

// allClientsProbes sends traffic to a Service from a pod, the node and the client. The
// argument of the format is "/tcp", or "" for both protocols.
const allClientsProbes = "pod3,node,client cluster:80%[1]s = pod1\nclient,pod3 nodeport:80%[1]s = pod1\nclient lb:80%[1]s = pod1"

// startLoad sends requests on established connections and on new ones, in both address
// families.
func startLoad(t *testing.T, fx *fixture, addresses addressBook, name, table string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	probes, err := parseProbes(table, name)
	require.NoError(t, err)
	for _, p := range probes {
		p.at, _ = addresses.find(p.service, p.kind, p.family, p.port, p.proto)
		conn, err := fx.Places[p.from].Dial(ctx, p.proto, p.at)
		require.NoError(t, err)
		l.group.Go(func() {
			defer conn.Close()
			l.repeat(ctx, "established "+p.key(), func() cluster.Answer { return conn.Ask(answerLimit()) })
		})
		l.group.Go(func() {
			l.repeat(ctx, "new "+p.key(), func() cluster.Answer {
				return fx.Places[p.from].Probe(context.WithoutCancel(ctx), p.proto, p.at, answerLimit())
			})
		})
	}
	return l
}

func (l *load) repeat(ctx context.Context, description string, ask func() cluster.Answer) {
	for ctx.Err() == nil {
		a := ask()
		l.mu.Lock()
		l.exchanges++
		if !strings.HasPrefix(a.Server, "pod") {
			l.failures = append(l.failures, description+": "+a.Server)
		}
		l.mu.Unlock()
		pause(5 * time.Millisecond)
	}
}

// await returns after n more exchanges.
func (l *load) await(t *testing.T, n int) {
	t.Helper()
	exchanges := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.exchanges
	}
	target := exchanges() + n
	eventually(t, time.Minute, "traffic flows", func() error {
		if now := exchanges(); now < target {
			return fmt.Errorf("%d of %d exchanges", now, target)
		}
		return nil
	})
}

// end stops the traffic and fails the test if any exchange failed.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.group.Wait()
	require.Empty(t, l.failures, "of %d", l.exchanges)
	t.Logf("%d exchanges, none failed", l.exchanges)
}

// testRestart kills the proxy under traffic and starts it again: no exchange fails, and
// changes made in between are applied.
func testRestart(t *testing.T, fx *fixture, p *proxyUnderTest) {
	services := []service{open("restart", "51", nil, "pod1", "pod2"), plain("meanwhile", "pod1")}
	addresses := addressBook{}
	for _, o := range fx.apply(t, nil, services) {
		addresses.add(fx, o)
	}
	fx.barrier(t, syncLimit)
	traffic := startLoad(t, fx, addresses, "restart", fmt.Sprintf(allClientsProbes, ""))
	defer traffic.stop()

	traffic.await(t, 500)
	require.NoError(t, p.process.Kill())
	traffic.await(t, 1000)
	changed := []service{services[0], plain("meanwhile", "pod2")}
	fx.apply(t, services, changed)
	expect(t, fx, addresses, "meanwhile", "pod3 cluster:80 = pod1")
	begin := time.Now()
	p.restart(t, fx)
	fx.barrier(t, syncLimit)
	t.Logf("rules applied %v after the start", time.Since(begin).Round(time.Millisecond))
	expect(t, fx, addresses, "meanwhile", "pod3 cluster:80 = pod2")

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, p.process.Stop(ctx), "the proxy stops after SIGTERM")
	p.restart(t, fx)
	fx.barrier(t, syncLimit)
	traffic.await(t, 500)
	traffic.end(t)
	fx.apply(t, changed, nil)
}

// testAPIServer kills the API server under traffic: the rules stay, and changes are applied
// after it has been started again.
func testAPIServer(t *testing.T, fx *fixture, p *proxyUnderTest) {
	services := []service{open("outage", "52", nil, "pod1", "pod2"), plain("after", "pod1")}
	addresses := addressBook{}
	for _, o := range fx.apply(t, nil, services) {
		addresses.add(fx, o)
	}
	fx.barrier(t, syncLimit)
	traffic := startLoad(t, fx, addresses, "outage", fmt.Sprintf(allClientsProbes, ""))
	defer traffic.stop()
	require.NoError(t, fx.control.APIServer.Kill())
	traffic.await(t, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), startLimit())
	defer cancel()
	begin := time.Now()
	require.NoError(t, fx.control.StartAPIServer(ctx))
	t.Logf("API server ready again after %v", time.Since(begin).Round(time.Millisecond))
	changed := []service{services[0], plain("after", "pod2")}
	fx.apply(t, services, changed)
	begin = time.Now()
	fx.barrier(t, time.Minute)
	t.Logf("first change applied after %v", time.Since(begin).Round(time.Millisecond))
	expect(t, fx, addresses, "after", "pod3,client cluster:80 = pod2")
	traffic.end(t)
	p.alive(t)
	fx.apply(t, changed, nil)
}

// testHTTP checks the HTTP endpoints of the proxy.
func testHTTP(t *testing.T, fx *fixture, p *proxyUnderTest) {
	ask := func(address, path string, want int) string {
		t.Helper()
		var body string
		eventually(t, 10*time.Second, path, func() error {
			code, got, err := fx.get(t.Context(), address, path)
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
	node := fx.Node.Addrs[0].String()
	h := read(ask(node+":10256", "/healthz", 200))
	require.True(t, h.Healthy)
	require.NotNil(t, h.NodeEligible)
	require.True(t, *h.NodeEligible)
	require.False(t, h.LastUpdated.IsZero())
	require.True(t, h.Status["IPv4"].Healthy)
	require.True(t, h.Status["IPv6"].Healthy)
	require.Nil(t, read(ask(node+":10256", "/livez", 200)).NodeEligible)

	fx.patchNode(t, `{"spec":{"taints":[{"key":"ToBeDeletedByClusterAutoscaler","effect":"NoSchedule"}]}}`)
	h = read(ask(node+":10256", "/healthz", 503))
	require.True(t, h.Healthy)
	require.False(t, *h.NodeEligible)
	ask(node+":10256", "/livez", 200)
	fx.patchNode(t, `{"spec":{"taints":null}}`)
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

// testCleanup removes the rules: the canary does not answer, and no rules are left in the
// kernel. A second cleanup is no error.
func testCleanup(t *testing.T, fx *fixture, p *proxyUnderTest) {
	p.clean(t, fx)
	canary := netip.AddrPortFrom(fx.canary.addrs[0], uint16(1000+fx.canary.count))
	require.Equal(t, cluster.Timeout, fx.Places["pod3"].Probe(t.Context(), "tcp", canary, 500*time.Millisecond).Server)
	ruleset, err := fx.Node.Namespace.Output(t.Context(), "nft", "list", "ruleset")
	require.NoError(t, err)
	if p.mode == "iptables" { // other programs share its tables
		require.NotRegexp(t, "KUBE-(SERVICES|NODEPORTS|SVC|SVL|SEP|EXT)", ruleset)
	} else {
		require.Empty(t, strings.TrimSpace(ruleset))
	}
	out, err := fx.Node.Namespace.Output(t.Context(), p.path, "--cleanup")
	require.NoError(t, err, out)
}
