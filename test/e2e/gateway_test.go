// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/gateway"
	"sigs.k8s.io/kpng/watchers/kube"
)

// The module that has the definitions of the Gateway API, and the hash of its files.
const (
	gatewayModule = "sigs.k8s.io/gateway-api@v1.6.3"
	gatewaySum    = "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc="
)

// gatewayDefinitions returns the definitions of the standard channel, by plural name.
func gatewayDefinitions(t *testing.T, names ...string) (definitions []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", gatewayModule)
	cmd.Dir = t.TempDir()
	out, err := cmd.Output()
	require.NoError(t, err, string(out))
	var module struct{ Dir, Sum string }
	require.NoError(t, json.Unmarshal(out, &module))
	require.Equal(t, gatewaySum, module.Sum)
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(module.Dir, "config/crd/standard/gateway.networking.k8s.io_"+name+".yaml"))
		require.NoError(t, err)
		definitions = append(definitions, string(data))
	}
	return definitions
}

// A gatewayFixture is a cluster with a proxy of Services and routes.
type gatewayFixture struct {
	*fixture
	objects dynamic.Interface
}

// resource returns the resource of an object of the Gateway API.
func (fx *gatewayFixture) resource(kind string) dynamic.ResourceInterface {
	plural := map[string]string{"GatewayClass": "gatewayclasses", "Gateway": "gateways", "TCPRoute": "tcproutes", "UDPRoute": "udproutes", "ReferenceGrant": "referencegrants"}[kind]
	r := fx.objects.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: plural})
	if kind == "GatewayClass" {
		return r
	}
	return r.Namespace(namespace)
}

// applyRoutes applies objects of the Gateway API. The API server may need a moment for new kinds.
func (fx *gatewayFixture) applyRoutes(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		o := object(t, text)
		o.SetAPIVersion("gateway.networking.k8s.io/v1")
		eventually(t, syncLimit, "the API server accepts "+o.GetKind(), func() error {
			_, err := fx.resource(o.GetKind()).Apply(t.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "test", Force: true})
			return err
		})
	}
}

func (fx *gatewayFixture) define(t *testing.T) {
	t.Helper()
	crds := fx.objects.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, text := range gatewayDefinitions(t, "gatewayclasses", "gateways", "tcproutes", "udproutes", "referencegrants") {
		_, err := crds.Create(t.Context(), object(t, text), metav1.CreateOptions{})
		require.NoError(t, err)
	}
}

// shares sends connections from the node to an address and returns how often each server answered.
func (fx *gatewayFixture) shares(t *testing.T, to netip.AddrPort, n int) map[string]int {
	t.Helper()
	servers := map[string]int{}
	for range n {
		servers[fx.Places["node"].Probe(t.Context(), "tcp", to, time.Second).Server]++
	}
	return servers
}

// TestGatewayRoutes: packets to the addresses of a Gateway reach the backends of its routes, also from
// outside, and other ports of these addresses are those of the node; a route
// divides the connections to a cluster IP by the weights of its backends, and refuses the share of
// a backend that does not exist. The proxy starts before the API server has the Gateway API.
func TestGatewayRoutes(t *testing.T) {
	fx := &gatewayFixture{fixture: newFixture(t)}
	rest, err := fx.control.RESTConfig()
	require.NoError(t, err)
	fx.objects, err = dynamic.NewForConfig(rest)
	require.NoError(t, err)
	sinks := fx.runEverySink(t, "--from", "gateway")
	created := fx.apply(t, nil, []service{
		{name: "stable", ports: []string{"80/tcp", "53/udp"}, slices: endpoints("pod1", "rpod1")},
		{name: "next", ports: []string{"80/tcp"}, slices: endpoints("pod2")},
		{name: "far", ports: []string{"80/tcp"}, slices: endpoints("rpod2")},
	})
	nodeIP := fx.Node.Addrs[0].String()
	stable := netip.AddrPortFrom(netip.MustParseAddr(created["stable"].Spec.ClusterIPs[0]), 80)
	next := netip.AddrPortFrom(netip.MustParseAddr(created["next"].Spec.ClusterIPs[0]), 80)
	fx.eventuallyReaches(t, "node", "tcp", next, "pod2:8080") // without the Gateway API

	fx.define(t)
	fx.applyRoutes(t,
		"{kind: GatewayClass, metadata: {name: kpng}, spec: {controllerName: sigs.k8s.io/kpng}}",
		fmt.Sprintf(`{kind: Gateway, metadata: {name: gw}, spec: {gatewayClassName: kpng, addresses: [{value: 192.0.2.1}, {value: "2001:db8::1"}, {value: %s}],
			listeners: [{name: web, port: 8000, protocol: TCP}, {name: dns, port: 53, protocol: UDP}, {name: far, port: 8001, protocol: TCP}]}}`, nodeIP),
		"{kind: TCPRoute, metadata: {name: far}, spec: {parentRefs: [{name: gw, sectionName: far}], rules: [{backendRefs: [{name: far, port: 80}]}]}}",
		"{kind: TCPRoute, metadata: {name: web}, spec: {parentRefs: [{name: gw, sectionName: web}], rules: [{backendRefs: [{name: next, port: 80}]}]}}",
		"{kind: UDPRoute, metadata: {name: dns}, spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: stable, port: 53, weight: 0}]}]}}",
	)
	for _, at := range []string{"192.0.2.1", "2001:db8::1", nodeIP} {
		for _, from := range []string{"pod1", "node", "client"} {
			fx.eventuallyReaches(t, from, "tcp", netip.AddrPortFrom(netip.MustParseAddr(at), 8000), "pod2:8080")
			fx.eventuallyReaches(t, from, "tcp", netip.AddrPortFrom(netip.MustParseAddr(at), 8001), "rpod2:8080")  // masqueraded
			fx.eventuallyReaches(t, from, "udp", netip.AddrPortFrom(netip.MustParseAddr(at), 53), cluster.Refused) // the weight is 0
		}
	}
	own := netip.AddrPortFrom(fx.Node.Addrs[0], cluster.ServerPort)
	require.Equal(t, fmt.Sprint("node:", cluster.ServerPort), fx.Places["client"].Probe(t.Context(), "tcp", own, time.Second).Server)
	fx.applyRoutes(t, "{kind: UDPRoute, metadata: {name: dns}, spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: stable, port: 53}]}]}}")
	eventually(t, syncLimit, "the UDPRoute has a backend", func() error {
		if got := fx.Places["node"].Probe(t.Context(), "udp", netip.MustParseAddrPort("192.0.2.1:53"), time.Second).Server; got != "pod1:8080" && got != "rpod1:8080" {
			return fmt.Errorf("got %s", got)
		}
		return nil
	})
	sinks.eventuallyHave(t, "Gateway:"+namespace+"/gw", `"origin":"Gateway"`)
	t.Run("status", fx.testStatus)
	t.Run("canary", func(t *testing.T) { fx.testCanary(t, stable) })
}

// testCanary checks shares of connections to a cluster IP. Of 300 connections with the share 0.2, the
// standard deviation is 7.
func (fx *gatewayFixture) testCanary(t *testing.T, stable netip.AddrPort) {
	const n, least, most = 300, 25, 95
	const route = "{kind: TCPRoute, metadata: {name: canary}, spec: {parentRefs: [{group: '', kind: Service, name: stable, port: 80}], rules: [{backendRefs: [%s]}]}}"
	fx.applyRoutes(t, fmt.Sprintf(route, "{name: stable, port: 80, weight: 80}, {name: next, port: 80, weight: 20}"))
	eventually(t, syncLimit, "the canary gets connections", func() error {
		if fx.shares(t, stable, 20)["pod2:8080"] == 0 {
			return fmt.Errorf("none of 20")
		}
		return nil
	})
	got := fx.shares(t, stable, n)
	require.Equal(t, n, got["pod1:8080"]+got["rpod1:8080"]+got["pod2:8080"], "%v", got)
	require.True(t, got["pod2:8080"] > least && got["pod2:8080"] < most, "the share of the backend with one endpoint and the weight 20: %v", got)

	fx.applyRoutes(t, fmt.Sprintf(route, "{name: missing, port: 80, weight: 80}, {name: next, port: 80, weight: 20}"))
	eventually(t, syncLimit, "the missing backend refuses", func() error {
		if fx.shares(t, stable, 20)[cluster.Refused] == 0 {
			return fmt.Errorf("none of 20")
		}
		return nil
	})
	got = fx.shares(t, stable, n)
	require.Equal(t, n, got[cluster.Refused]+got["pod2:8080"], "%v", got)
	require.True(t, got["pod2:8080"] > least && got["pod2:8080"] < most, "80 %% are refused: %v", got)

	require.NoError(t, fx.resource("TCPRoute").Delete(t.Context(), "canary", metav1.DeleteOptions{}))
	eventually(t, syncLimit, "the Service has its endpoints again", func() error {
		if got := fx.shares(t, stable, 20); got["pod1:8080"]+got["rpod1:8080"] != 20 {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
}

// testStatus writes what Status returns, as a controller does: the API server accepts it.
func (fx *gatewayFixture) testStatus(t *testing.T) {
	services, err := kube.New(fx.client, kube.Config{NodeName: cluster.NodeName})
	require.NoError(t, err)
	w, err := gateway.New(fx.objects, services, gateway.Config{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	store, done := watchers.NewStore(), make(chan error, 1)
	go func() { done <- w.Run(ctx, store) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
	}()
	s := store.Snapshot()
	for ; !s.Synced(); s = store.Snapshot() {
		<-s.Newer()
	}
	status, _ := w.Status()
	require.Len(t, status.Gateways, 1)
	require.Len(t, status.Routes, 3)
	withTimes := func(conditions []metav1.Condition) (out []metav1.Condition) {
		for _, c := range conditions {
			require.Positive(t, c.ObservedGeneration)
			meta.SetStatusCondition(&out, c)
		}
		return out
	}
	for _, r := range status.Routes {
		for i := range r.Parents {
			require.True(t, meta.IsStatusConditionTrue(r.Parents[i].Conditions, "Accepted"))
			r.Parents[i].Conditions = withTimes(r.Parents[i].Conditions)
		}
		fx.writeStatus(t, r.Kind, r.Name, struct {
			Parents []gateway.ParentStatus `json:"parents"`
		}{r.Parents})
	}
	g := status.Gateways[0]
	require.True(t, meta.IsStatusConditionTrue(g.Conditions, "Programmed"))
	for i := range g.Listeners {
		require.Equal(t, int32(1), g.Listeners[i].AttachedRoutes)
		g.Listeners[i].Conditions = withTimes(g.Listeners[i].Conditions)
	}
	fx.writeStatus(t, "Gateway", g.Name, struct {
		Conditions []metav1.Condition       `json:"conditions"`
		Listeners  []gateway.ListenerStatus `json:"listeners"`
	}{withTimes(g.Conditions), g.Listeners})
}

func (fx *gatewayFixture) writeStatus(t *testing.T, kind, name string, status any) {
	t.Helper()
	o, err := fx.resource(kind).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	data, err := json.Marshal(status)
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(data, &fields))
	o.Object["status"] = fields
	_, err = fx.resource(kind).UpdateStatus(t.Context(), o, metav1.UpdateOptions{})
	require.NoError(t, err)
}
