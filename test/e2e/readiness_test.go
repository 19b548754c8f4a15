// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/readiness"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

const (
	startupTaint = "kpng.example/not-programmed"
	programmed   = "kpng.example/programmed"
)

// TestReadiness runs a controller with the permissions of its manifest against a real API server. Nodes
// are real clients, whose sinks the test lets fail.
func TestReadiness(t *testing.T) {
	fx := newFixture(t)
	faults := &apiFaults{admin: fx.client}
	nodes := fx.nodeServer(t)
	fx.runReadiness(t, nodes.server, faults)

	t.Run("startup taint", func(t *testing.T) { fx.testStartupTaint(t, nodes, faults) })
	t.Run("readiness gate", func(t *testing.T) { fx.testReadinessGate(t, nodes, faults) })
}

// testStartupTaint: the taint of a node is removed when the node has applied its first state, not when
// it fails to, and no other taint ever. A failed request and a conflict are tried again.
func (fx *fixture) testStartupTaint(t *testing.T, nodes *nodeTier, faults *apiFaults) {
	others := []corev1.Taint{
		{Key: startupTaint + "-other", Effect: corev1.TaintEffectNoSchedule},
		{Key: "example.com/reserved", Value: "x", Effect: corev1.TaintEffectNoExecute},
	}
	all := []corev1.Taint{
		others[0], {Key: startupTaint, Effect: corev1.TaintEffectNoSchedule}, others[1], {Key: startupTaint, Value: "true", Effect: corev1.TaintEffectNoExecute},
	}
	_, err := fx.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: cluster.RemoteName}, Spec: corev1.NodeSpec{Taints: all},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	admitted := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule} // the API server adds it
	others, all = append(others, admitted), append(all, admitted)

	remote := nodes.agent(t, cluster.RemoteName)
	nodes.agent(t, cluster.NodeName).succeed()
	eventually(t, syncLimit, "the node fails", func() error {
		if nodes.server.Stats().Failing != 1 {
			return fmt.Errorf("%+v", nodes.server.Stats())
		}
		return nil
	})
	require.ElementsMatch(t, all, fx.taints(t), "a node that fails keeps its taint")

	faults.fail.Store(2)
	faults.conflict.Store(true)
	remote.succeed()
	eventually(t, syncLimit, "the taint is removed", func() error {
		if got := fx.taints(t); len(got) != len(others)+1 { // one is that of the conflict
			return fmt.Errorf("taints %v", got)
		}
		return nil
	})
	require.ElementsMatch(t, append(others, corev1.Taint{Key: "example.com/conflict", Effect: corev1.TaintEffectNoSchedule}), fx.taints(t))
	require.Zero(t, faults.fail.Load(), "the requests failed before")
	require.False(t, faults.conflict.Load(), "there was a conflict before")
}

// taints returns those of the remote node.
func (fx *fixture) taints(t *testing.T) (taints []corev1.Taint) {
	t.Helper()
	object, err := fx.client.CoreV1().Nodes().Get(t.Context(), cluster.RemoteName, metav1.GetOptions{})
	require.NoError(t, err)
	for _, taint := range object.Spec.Taints {
		taint.TimeAdded = nil
		taints = append(taints, taint)
	}
	return taints
}

// testReadinessGate: the condition of a pod is set when all nodes have applied its Service. It stays
// when they fail later; a pod without the gate is not written.
func (fx *fixture) testReadinessGate(t *testing.T, nodes *nodeTier, faults *apiFaults) {
	fx.createPod(t, "gated", "10.244.1.77", programmed, "example.com/other")
	fx.createPod(t, "plain", "10.244.1.78")
	plain := fx.pod(t, "plain").ResourceVersion

	remote := nodes.agents[cluster.RemoteName]
	remote.fail()
	fx.apply(t, nil, []service{{name: "web", ports: []string{"80/tcp"}}})
	fx.createPodSlice(t)
	remote.awaitFailure(t)
	require.Empty(t, fx.pod(t, "gated").Status.Conditions, "one node has not applied the Service")

	faults.fail.Store(1)
	remote.succeed()
	eventually(t, syncLimit, "the condition is set", func() error {
		if condition := conditionOf(fx.pod(t, "gated")); condition == nil || condition.Status != corev1.ConditionTrue {
			return fmt.Errorf("condition %v", condition)
		}
		return nil
	})
	condition := conditionOf(fx.pod(t, "gated"))
	require.Equal(t, "ServicesApplied", condition.Reason)
	require.WithinDuration(t, time.Now(), condition.LastTransitionTime.Time, time.Minute)
	require.Zero(t, faults.fail.Load(), "the request failed before")

	// Later failures are not taken back.
	written := fx.pod(t, "gated").ResourceVersion
	remote.fail()
	fx.apply(t, nil, []service{{name: "later", ports: []string{"81/tcp"}, slices: endpoints("pod1")}})
	remote.awaitFailure(t)
	remote.succeed()
	eventually(t, syncLimit, "the nodes have applied all", func() error {
		if s := nodes.server.Stats(); s.Current != 2 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	require.Equal(t, written, fx.pod(t, "gated").ResourceVersion)
	require.Equal(t, plain, fx.pod(t, "plain").ResourceVersion)
}

func conditionOf(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == programmed {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

func (fx *fixture) pod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	pod, err := fx.client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return pod
}

// createPod creates a pod as if a kubelet had started it.
func (fx *fixture) createPod(t *testing.T, name, ip string, gates ...corev1.PodConditionType) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{NodeName: cluster.NodeName, Containers: []corev1.Container{{Name: "c", Image: "example.com/image"}}},
	}
	for _, gate := range gates {
		pod.Spec.ReadinessGates = append(pod.Spec.ReadinessGates, corev1.PodReadinessGate{ConditionType: gate})
	}
	pod, err := fx.client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	require.NoError(t, err)
	pod.Status.PodIP, pod.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	_, err = fx.client.CoreV1().Pods(namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// createPodSlice lists both pods as not ready, as the EndpointSlice controller does.
func (fx *fixture) createPodSlice(t *testing.T) {
	t.Helper()
	name, number := "tcp80", int32(8080)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web-pods", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &number}},
	}
	for name, ip := range map[string]string{"gated": "10.244.1.77", "plain": "10.244.1.78"} {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: new(false), Serving: new(false), Terminating: new(false)},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: name},
		})
	}
	_, err := fx.client.DiscoveryV1().EndpointSlices(namespace).Create(t.Context(), slice, metav1.CreateOptions{})
	require.NoError(t, err)
}

// A nodeTier is a NodeService server with agents.
type nodeTier struct {
	server  *node.Server
	address string
	agents  map[string]*failingAgent
	cleanup func(f func()) // when the whole test ends, not a subtest
}

// nodeServer serves the nodes of the API server until the test ends.
func (fx *fixture) nodeServer(t *testing.T) *nodeTier {
	t.Helper()
	store := watch(t, fx, kube.Config{Nodes: kube.NodesAll, Filter: kubeapi.Filter{Details: kubeapi.DetailTarget}})
	server, err := node.NewServer(store, node.ServerConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := grpc.NewServer(node.ServerOption())
	server.Register(g)
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	return &nodeTier{server: server, address: listener.Addr().String(), agents: map[string]*failingAgent{}, cleanup: t.Cleanup}
}

// A failingAgent is the agent of a node. It fails to apply updates until succeed is called.
type failingAgent struct {
	applies  atomic.Bool
	failures atomic.Int64
}

func (a *failingAgent) succeed() { a.applies.Store(true) }
func (a *failingAgent) fail()    { a.applies.Store(false); a.failures.Store(0) }

func (a *failingAgent) awaitFailure(t *testing.T) {
	t.Helper()
	eventually(t, syncLimit, "the node fails", func() error {
		if a.failures.Load() == 0 {
			return errors.New("no failure")
		}
		return nil
	})
}

func (a *failingAgent) Sync(context.Context, *localsink.Update) error {
	if a.applies.Load() {
		return nil
	}
	a.failures.Add(1)
	return errors.New("the test lets it fail")
}

// agent runs the agent of a node until the test ends.
func (n *nodeTier) agent(t *testing.T, name string) *failingAgent {
	t.Helper()
	conn, err := grpc.NewClient(n.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	client, err := node.NewClient(node.ClientConfig{NodeName: name}, conn)
	require.NoError(t, err)
	a := &failingAgent{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx, a) }()
	n.cleanup(func() { cancel(); require.NoError(t, <-done); require.NoError(t, conn.Close()) })
	n.agents[name] = a
	return a
}

// runReadiness runs a controller as the service account of the manifest.
func (fx *fixture) runReadiness(t *testing.T, server *node.Server, faults *apiFaults) {
	t.Helper()
	fx.applyRBAC(t, "../../examples/deploy/readiness.yaml")
	config, err := fx.control.RESTConfig()
	require.NoError(t, err)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:kpng-system:state-server", Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &faultyTransport{next, faults} })
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	controller, err := readiness.New(readiness.Config{Client: client, Server: server, StartupTaint: startupTaint, PodCondition: programmed, Quantile: 1})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- controller.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
}

// applyRBAC creates the ClusterRole and the ClusterRoleBinding of a manifest.
func (fx *fixture) applyRBAC(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	documents := strings.Split(string(data), "\n---\n")
	require.Len(t, documents, 2)
	role, binding := &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(documents[0]), role))
	require.NoError(t, yaml.UnmarshalStrict([]byte(documents[1]), binding))
	_, err = fx.client.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = fx.client.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{})
	require.NoError(t, err)
}

// apiFaults are faults of the requests of a controller.
type apiFaults struct {
	admin    kubernetes.Interface
	fail     atomic.Int64 // so many patches fail
	conflict atomic.Bool  // another taint is added before the next patch that does not fail
}

type faultyTransport struct {
	next   http.RoundTripper
	faults *apiFaults
}

// RoundTrip implements http.RoundTripper.
func (f *faultyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPatch && f.faults.fail.Load() > 0 {
		f.faults.fail.Add(-1)
		return &http.Response{
			StatusCode: http.StatusInternalServerError, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(nil)), Request: r,
		}, nil
	}
	if r.Method == http.MethodPatch && f.faults.conflict.CompareAndSwap(true, false) {
		const patch = `[{"op": "add", "path": "/spec/taints/0", "value": {"key": "example.com/conflict", "effect": "NoSchedule"}}]`
		if _, err := f.faults.admin.CoreV1().Nodes().Patch(r.Context(), cluster.RemoteName, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			return nil, err
		}
	}
	return f.next.RoundTrip(r)
}
