// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	clientevents "k8s.io/client-go/tools/events"
	"k8s.io/kube-proxy/config/v1alpha1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/events"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxyconfig"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// A failingSink is a backend that fails with the given errors.
type failingSink struct {
	mu            sync.Mutex
	err           error
	notProgrammed map[localsink.ServiceName]error
	updates       int
}

func (s *failingSink) Sync(context.Context, *localsink.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updates++
	return s.err
}

func (s *failingSink) NotProgrammed() map[localsink.ServiceName]error {
	return maps.Clone(s.notProgrammed)
}

func settings(t *testing.T, change func(c *v1alpha1.KubeProxyConfiguration)) *kubeproxyconfig.Config {
	c := v1alpha1.KubeProxyConfiguration{HostnameOverride: "node-1"}
	if change != nil {
		change(&c)
	}
	cfg, err := kubeproxyconfig.New(c, nil)
	require.NoError(t, err)
	return cfg
}

func get(h http.Handler, path string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// TestAssembly checks that each observer sees the updates of the backend.
func TestAssembly(t *testing.T) {
	rules := &failingSink{}
	written := clientevents.NewFakeRecorder(10)
	afterFirstSync := 0
	p, err := newProxy(Config{
		Settings: settings(t, nil), Client: fake.NewClientset(), Rules: rules, AfterFirstSync: func() { afterFirstSync++ },
	}, events.New(written))
	require.NoError(t, err)
	defer func() { require.NoError(t, p.pipeline.Close()) }()
	web := &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: "web"}}
	d := sinktest.Driver{Sink: p.pipeline, Node: &localsink.Node{Name: "node-1"}}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web)))
	require.Equal(t, 1, afterFirstSync)

	invalid := *web
	invalid.Problems = []localsink.Problem{{Object: "Service ns/web", Field: "spec.x", Message: "invalid"}}
	rules.notProgrammed = map[localsink.ServiceName]error{web.Name: errors.New("no space")}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(&invalid)))
	require.Equal(t, "Warning ServiceProblem Service ns/web: spec.x: invalid", <-written.Events)
	require.Equal(t, "Warning ServiceNotProgrammed no space", <-written.Events)
	require.Equal(t, 1, afterFirstSync)

	code, _ := get(p.pipeline.HealthHandler(), "/livez")
	require.Equal(t, 200, code)
	code, _ = get(p.pipeline.HealthHandler(), "/healthz")
	require.Equal(t, 503, code, "there is no Node object")
	t.Run("OP-30 mode, health, configuration and metrics", func(t *testing.T) {
		for path, want := range map[string]string{
			"/proxyMode":    "nftables",
			"/healthz":      "ok",
			"/configz":      `"mode":"nftables"`,
			"/state":        "# node node-1",
			"/state/ns/web": "no space",
		} {
			code, body := get(p.operatorHandler, path)
			require.Equal(t, 200, code, path)
			require.Contains(t, body, want, path)
		}
		_, body := get(p.operatorHandler, "/metrics")
		for _, line := range []string{
			`kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"} 2`, "kpng_services_not_programmed 1", "kpng_services_with_problems 1",
			`kubeproxy_proxy_healthz_total{code="503"} 1`, `kubeproxy_nftables_localhost_nodeport_listeners{ip_family="IPv6"} 0`,
			`kubernetes_feature_enabled{name="AllowServiceExternalIPs",stage=""} 1`, `kubernetes_build_info{`, "kpng_http_listeners 0",
		} {
			require.Contains(t, body, "\n"+line)
		}
		code, _ := get(p.operatorHandler, "/debug/pprof/")
		require.Equal(t, 404, code, "only with --profiling")
	})
}

func TestProfilingIsOptional(t *testing.T) {
	p, err := newProxy(Config{
		Settings: settings(t, func(c *v1alpha1.KubeProxyConfiguration) { c.EnableProfiling = true }),
		Client:   fake.NewClientset(), Rules: &failingSink{},
	}, events.New(clientevents.NewFakeRecorder(1)))
	require.NoError(t, err)
	defer func() { require.NoError(t, p.pipeline.Close()) }()
	code, _ := get(p.operatorHandler, "/debug/pprof/")
	require.Equal(t, 200, code)
}

// TestVendorsExtendTheAssembly: an annotation of a Service, as Config.Extend copies it, reaches
// the policy and the backend, and the settings that kube-proxy does not have apply.
func TestVendorsExtendTheAssembly(t *testing.T) {
	extend, err := kubeapi.CopyKeys("acme.example/*")
	require.NoError(t, err)
	client := fake.NewClientset(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", Annotations: map[string]string{"acme.example/mode": "dsr", "other.example/x": "y"}},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Port: 80}}},
	}, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "skipped"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.2", Ports: []corev1.ServicePort{{Port: 80}}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg := settings(t, func(c *v1alpha1.KubeProxyConfiguration) {
		c.HealthzBindAddress, c.MetricsBindAddress = freePort(t), freePort(t)
	})
	var got *localsink.Service
	var node *localsink.Node
	assembly := Config{
		Settings: cfg, Client: client, Extend: extend, AfterFirstSync: cancel,
		Rules: localsink.Func(func(_ context.Context, u *localsink.Update) error {
			require.Equal(t, 1, u.All.Len(), "Scope leaves one out")
			for svc := range u.All.All() {
				got = svc
			}
			node = u.Node
			return nil
		}),
		Policy: func(svc *watchers.Service, port *nodelocal.PolicyPort) error {
			if mode, _ := svc.Extensions.Get("acme.example/mode"); mode == "dsr" {
				port.Selection = localsink.SelectionClient
			}
			return nil
		},
		Scope:        nodelocal.Scope{Skip: func(svc *watchers.Service) bool { return svc.Name.Name == "skipped" }},
		NoMasquerade: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	require.NoError(t, Run(ctx, assembly))
	require.Equal(t, 1, got.Extensions.Len())
	mode, _ := got.Extensions.Get("acme.example/mode")
	require.Equal(t, "dsr", mode)
	require.Equal(t, localsink.SelectionClient, got.Ports[0].Selection)
	require.Equal(t, assembly.NoMasquerade, node.NoMasquerade)

	assembly.NoMasquerade = []netip.Prefix{{}}
	require.ErrorContains(t, Run(t.Context(), assembly), "NoMasquerade[0]")
}

// freePort returns an address of the loopback interface that no listener uses.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// TestRunFollowsTheAPIServer runs two proxies in one process.
func TestRunFollowsTheAPIServer(t *testing.T) {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	var addresses []string
	for range 2 {
		address := freePort(t)
		addresses = append(addresses, address)
		cfg := settings(t, func(c *v1alpha1.KubeProxyConfiguration) {
			c.HealthzBindAddress, c.MetricsBindAddress = address, freePort(t)
		})
		go func() { done <- Run(ctx, Config{Settings: cfg, Client: client, Rules: &failingSink{}}) }()
	}
	for _, address := range addresses {
		require.Eventually(t, func() bool {
			answer, err := http.Get("http://" + address + "/healthz")
			if err != nil {
				return false
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			return answer.StatusCode == http.StatusOK
		}, 20*time.Second, 10*time.Millisecond)
	}
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, <-done)
}

func TestRequiredFields(t *testing.T) {
	cfg := Config{}
	require.ErrorContains(t, Run(t.Context(), cfg), "Settings: required")
	cfg.Settings = settings(t, nil)
	require.ErrorContains(t, Run(t.Context(), cfg), "Client: required")
	cfg.Client = fake.NewClientset()
	require.ErrorContains(t, Run(t.Context(), cfg), "Rules: required")
}

// TestBindAddressHardFail runs a proxy on an address that is in use.
func TestBindAddressHardFail(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	cfg := settings(t, func(c *v1alpha1.KubeProxyConfiguration) {
		c.HealthzBindAddress, c.MetricsBindAddress, c.BindAddressHardFail = freePort(t), l.Addr().String(), true
	})
	require.ErrorContains(t, Run(t.Context(), Config{Settings: cfg, Client: fake.NewClientset(), Rules: &failingSink{}}), "address already in use")
}
