// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestDeploy has one control plane for all of its subtests.
func TestDeploy(t *testing.T) {
	fx := newFixture(t)
	for _, name := range []string{"node-1", "node-2"} {
		_, err := fx.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	fx.createService(t)
	t.Run("Renderings", fx.testRenderings)
	t.Run("ServerTier", fx.testServerTier)
	t.Run("KubeProxy", fx.testKubeProxy)
}

// testRenderings applies what the charts render with default and with other values.
func (fx *fixture) testRenderings(t *testing.T) {
	_, err := fx.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	require.NoError(t, err)
	dryRun := func(chart string, v values) {
		files, err := render(chart, v)
		require.NoError(t, err, "%v", v)
		fx.apply(t, objects(t, files), true)
	}
	for _, c := range committedManifests() {
		dryRun(c.chart, c.values)
	}
	dryRun(kubeProxyChart, values{})
	dryRun(kubeProxyChart, otherKubeProxyValues())
	dryRun(kubeProxyChart, values{"distribution": "other", "apiServer": values{"host": "192.0.2.10"}, "initContainer": values{"enabled": false},
		"serviceAccount": values{"create": false, "name": "existing"}, "rbac": values{"create": false}})
	dryRun(serverTierChart, otherTierValues())
}

// otherKubeProxyValues sets every value that otherwise has an empty default.
func otherKubeProxyValues() values {
	return values{
		"distribution": "kubeadm", "existingConfigMap": "-",
		"apiServer":        values{"host": "api.example", "port": 8443},
		"config":           values{"clusterCIDR": "10.0.0.0/8,fd00::/48", "conntrack": values{"min": 1000}},
		"image":            values{"repository": "localhost:5000/a/b", "tag": "v1.2.3", "digest": "sha256:" + strings.Repeat("0a", 32), "pullPolicy": "Always"},
		"imagePullSecrets": []any{values{"name": "pull"}},
		"extraArgs":        []any{"--v=2", "--nodeport-addresses=primary"},
		"healthPort":       20256,
		"nodeSelector":     values{"service-proxy": nil, "pool": "true"},
		"affinity": values{"nodeAffinity": values{"requiredDuringSchedulingIgnoredDuringExecution": values{"nodeSelectorTerms": []any{
			values{"matchExpressions": []any{values{"key": "a", "operator": "Exists"}}}}}}},
		"tolerations":    []any{values{"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute"}},
		"updateStrategy": values{"type": "OnDelete", "rollingUpdate": nil},
		"resources":      values{"limits": values{"memory": "256Mi"}, "requests": values{"cpu": "1"}},
		"podAnnotations": values{"example.com/a": "1"},
		"podLabels":      values{"team": "net"},
		"serviceAccount": values{"name": "proxy"},
	}
}

func otherTierValues() values {
	return values{
		"apiServer": values{"host": "api.example", "port": 443}, "stateServers": []any{"[fd00::1]:10270", "server.example:10270"},
		"image":            values{"registry": "localhost:5000", "tag": "v1"},
		"imagePullSecrets": []any{values{"name": "pull"}},
		"clusterCIDR":      "10.0.0.0/8",
		"tls":              values{"secretName": "own", "serverName": "server.example"},
		"server": values{"replicas": 3, "hostNetwork": true, "networkPolicy": values{"enabled": false}, "extraArgs": []any{"-v"},
			"nodeSelector": values{"pool": "system"}, "tolerations": []any{}},
		"agent": values{"nodeSelector": values{"pool": "a"}, "maxUnavailable": 1, "extraArgs": []any{"-v"}},
	}
}

// testServerTier runs the programs of the server tier with the arguments, the service accounts
// and the tokens of the manifests. It also checks that they grant no other rights.
func (fx *fixture) testServerTier(t *testing.T) {
	files, err := render(serverTierChart, tierValues())
	require.NoError(t, err)
	fx.apply(t, objects(t, files), false)
	fx.checkRights(t)
	paths, err := fx.binaries.Build(t.Context(), "sigs.k8s.io/kpng/examples/kpng")
	require.NoError(t, err)
	kpng := paths[0]

	deployment, err := fx.client.AppsV1().Deployments(namespace).Get(t.Context(), "state-server", metav1.GetOptions{})
	require.NoError(t, err)
	server := fx.start(t, kpng, deployment.Spec.Template.Spec.Containers[0].Args,
		"--metrics=127.0.0.1:0", "--cert="+fx.file("apiserver.crt"), "--key="+fx.file("apiserver.key"),
		"--kubeconfig="+fx.kubeconfig(t, fx.token(t, namespace, "state-server", "", nil)))
	server.wait(`msg="Serving gRPC" address=`)
	const address = "127.0.0.1:10270"

	daemons, err := fx.client.AppsV1().DaemonSets(namespace).Get(t.Context(), "node-agent", metav1.GetOptions{})
	require.NoError(t, err)
	pod := fx.createPod(t, daemons.Spec.Template, namespace, "node-agent-1", "node-1")
	token := tokenFile(t, fx.token(t, namespace, "node-agent", "kpng", pod))
	manifest := slices.Clone(daemons.Spec.Template.Spec.Containers[0].Args)
	manifest[slices.Index(manifest, "--from=node:$(STATE_SERVERS)")] = "--from=node:" + address
	t.Cleanup(func() { // after the agents have ended
		out, err := fx.ns.Output(context.WithoutCancel(t.Context()), kpng, "cleanup")
		require.NoError(t, err, out)
	})
	const sinks = "--to=nftables,conntrack,healthcheck"
	manifest[slices.Index(manifest, sinks)] = sinks + ",text"
	args := []string{"--upstream-server-name=127.0.0.1", "--upstream-ca=" + fx.file("ca.crt"), "--upstream-token-file=" + token, "--metrics="}
	agent := fx.start(t, kpng, manifest, append(args, "--node=node-1", "--health=127.0.0.1:10256")...)
	agent.wait("+ default/web")
	agent.wait("Any -> 10.244.1.4:8080")
	require.Eventually(t, func() bool { return strings.Contains(agent.output(), "Applied first state") }, waitLimit, waitLimit/1000)
	rules, err := fx.ns.Output(t.Context(), "nft", "list", "ruleset")
	require.NoError(t, err)
	require.Contains(t, rules, "10.244.1.4", "the agent programs the kernel")
	other := fx.start(t, kpng, manifest, append(args, "--node=node-2", "--health=")...)
	other.wait("code = PermissionDenied")

	ctl := func(token string) (string, error) {
		return fx.ns.Output(t.Context(), kpng, "nodes", "--server="+address, "--server-name=127.0.0.1", "--ca="+fx.file("ca.crt"),
			"--token-file="+tokenFile(t, token))
	}
	out, err := ctl(fx.token(t, namespace, "inspector", "kpng", nil))
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)^node-1 .*kpng `, out)
	out, err = ctl(fx.token(t, namespace, "inspector", "another", nil))
	require.Error(t, err)
	require.Contains(t, out, "could not authenticate this client")
	out, err = ctl(fx.token(t, namespace, "node-agent", "kpng", nil))
	require.Error(t, err)
	require.Contains(t, out, "not allowed")
	require.NotContains(t, server.output(), "forbidden")
}

func (fx *fixture) createService(t *testing.T) {
	port, protocol, name := int32(8080), corev1.ProtocolTCP, "http"
	_, err := fx.client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: name, Port: 80}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = fx.client.DiscoveryV1().EndpointSlices("default").Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.4"}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// checkRights checks the rights of the service accounts with the API server.
func (fx *fixture) checkRights(t *testing.T) {
	allowed := func(account, verb, group, resource string) bool {
		review, err := fx.client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "system:serviceaccount:" + namespace + ":" + account,
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource},
			},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		return review.Status.Allowed
	}
	resources := map[string][3]string{
		"services":       {"list", "watch", ""},
		"nodes":          {"list", "watch", ""},
		"endpointslices": {"list", "watch", "discovery.k8s.io"},
		"servicecidrs":   {"list", "watch", "networking.k8s.io"},
	}
	for resource, r := range resources {
		for _, verb := range r[:2] {
			require.True(t, allowed("state-server", verb, r[2], resource), "%s %s", verb, resource)
			require.False(t, allowed("node-agent", verb, r[2], resource), "%s %s", verb, resource)
		}
		require.False(t, allowed("state-server", "update", r[2], resource), resource)
	}
	require.True(t, allowed("state-server", "create", "authentication.k8s.io", "tokenreviews"))
	require.False(t, allowed("state-server", "get", "", "secrets"))
}
