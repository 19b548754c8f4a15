// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// load reads all manifests. An unknown or duplicate field is an error.
func load(t *testing.T) (all []metav1.Object) {
	files, err := filepath.Glob("*.yaml")
	require.NoError(t, err)
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, name := range files {
		f, err := os.Open(name)
		require.NoError(t, err)
		defer f.Close()
		for documents := yaml.NewDocumentDecoder(f); ; {
			document, err := readAll(documents)
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			object, _, err := decoder.Decode(document, nil, nil)
			require.NoError(t, err, "%s:\n%s", name, document)
			all = append(all, object.(metav1.Object))
		}
	}
	require.Greater(t, len(all), 10)
	return all
}

// readAll reads one document.
func readAll(r io.Reader) ([]byte, error) {
	buffer := make([]byte, 1<<20)
	n, err := r.Read(buffer)
	return buffer[:n], err
}

// ofType returns the objects of type T.
func ofType[T metav1.Object](all []metav1.Object) (some []T) {
	for _, o := range all {
		if x, ok := o.(T); ok {
			some = append(some, x)
		}
	}
	return some
}

// templates returns the pod templates by the name of their Deployment or DaemonSet.
func templates(all []metav1.Object) map[string]*corev1.PodTemplateSpec {
	out := map[string]*corev1.PodTemplateSpec{}
	for _, d := range ofType[*appsv1.Deployment](all) {
		out[d.Name] = &d.Spec.Template
	}
	for _, d := range ofType[*appsv1.DaemonSet](all) {
		out[d.Name] = &d.Spec.Template
	}
	return out
}

// TestSelectorsMatchOneTemplate also checks that named ports exist.
func TestSelectorsMatchOneTemplate(t *testing.T) {
	all := load(t)
	selected := func(s *metav1.LabelSelector) (found []*corev1.PodTemplateSpec) {
		selector, err := metav1.LabelSelectorAsSelector(s)
		require.NoError(t, err)
		for _, p := range templates(all) {
			if selector.Matches(labels.Set(p.Labels)) {
				found = append(found, p)
			}
		}
		require.Len(t, found, 1, selector)
		return found
	}
	for _, d := range ofType[*appsv1.Deployment](all) {
		require.Equal(t, &d.Spec.Template, selected(d.Spec.Selector)[0])
		for _, c := range d.Spec.Template.Spec.TopologySpreadConstraints {
			require.Equal(t, &d.Spec.Template, selected(c.LabelSelector)[0])
		}
	}
	for _, d := range ofType[*appsv1.DaemonSet](all) {
		require.Equal(t, &d.Spec.Template, selected(d.Spec.Selector)[0])
	}
	for _, b := range ofType[*policyv1.PodDisruptionBudget](all) {
		selected(b.Spec.Selector)
	}
	for _, s := range ofType[*corev1.Service](all) {
		for _, p := range s.Spec.Ports {
			hasPort(t, selected(&metav1.LabelSelector{MatchLabels: s.Spec.Selector})[0], p.TargetPort)
		}
	}
	for _, n := range ofType[*networkingv1.NetworkPolicy](all) {
		for _, rule := range n.Spec.Ingress {
			for _, p := range rule.Ports {
				hasPort(t, selected(&n.Spec.PodSelector)[0], *p.Port)
			}
		}
	}
	for _, p := range templates(all) {
		for _, c := range p.Spec.Containers {
			hasPort(t, p, c.ReadinessProbe.HTTPGet.Port)
			hasPort(t, p, c.LivenessProbe.HTTPGet.Port)
		}
	}
}

func hasPort(t *testing.T, p *corev1.PodTemplateSpec, port intstr.IntOrString) {
	require.Equal(t, intstr.String, port.Type, "ports are referenced by name")
	require.True(t, slices.ContainsFunc(p.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool {
		return c.Name == port.StrVal
	}), "no port %s", port.StrVal)
}

// TestReferencesExist checks accounts, roles, ConfigMaps and volumes.
func TestReferencesExist(t *testing.T) {
	all := load(t)
	accounts := map[string]bool{}
	for _, a := range ofType[*corev1.ServiceAccount](all) {
		accounts[a.Namespace+":"+a.Name] = true
	}
	namespace := ofType[*corev1.Namespace](all)[0].Name
	for name, p := range templates(all) {
		require.True(t, accounts[namespace+":"+p.Spec.ServiceAccountName], name)
		volumes := map[string]bool{}
		for _, v := range p.Spec.Volumes {
			volumes[v.Name] = true
		}
		c := p.Spec.Containers[0]
		for _, m := range c.VolumeMounts {
			require.True(t, volumes[m.Name], m.Name)
			delete(volumes, m.Name)
		}
		require.Empty(t, volumes, "volumes without a mount")
		addresses := ofType[*corev1.ConfigMap](all)[0]
		for _, e := range c.Env {
			if ref := e.ValueFrom.ConfigMapKeyRef; ref != nil {
				require.Equal(t, addresses.Name, ref.Name)
				require.Contains(t, addresses.Data, ref.Key)
			}
		}
		for _, arg := range c.Args {
			for user := range strings.SplitSeq(strings.SplitN(arg+"=", "=", 3)[1], ",") {
				if account, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
					require.True(t, accounts[account], account)
				}
			}
		}
	}
	for _, b := range ofType[*rbacv1.ClusterRoleBinding](all) {
		require.Equal(t, b.Name, b.RoleRef.Name)
		require.Contains(t, permissions(all), b.RoleRef.Name)
		for _, s := range b.Subjects {
			require.True(t, accounts[s.Namespace+":"+s.Name], s.Name)
		}
	}
	for _, o := range all {
		switch o.(type) {
		case *corev1.Namespace, *rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding:
		default:
			require.Equal(t, namespace, o.GetNamespace(), o.GetName())
		}
	}
}

// permissions returns what each ClusterRole permits.
func permissions(all []metav1.Object) map[string][]string {
	permitted := map[string][]string{}
	for _, role := range ofType[*rbacv1.ClusterRole](all) {
		for _, r := range role.Rules {
			for _, resource := range r.Resources {
				permitted[role.Name] = append(permitted[role.Name], strings.Join(r.Verbs, ",")+" "+resource)
			}
		}
	}
	return permitted
}

// TestLeastPrivilege checks that servers read only what they need and have no privileges
// on their node, and that agents have the network of their node and no access to the API.
func TestLeastPrivilege(t *testing.T) {
	all := load(t)
	require.Equal(t, map[string][]string{
		"kpng-state-server": {
			"list,watch services", "list,watch nodes", "list,watch endpointslices", "list,watch servicecidrs", "create tokenreviews",
		},
		"kpng-readiness": {"get,patch nodes", "get pods", "patch pods/status"}, // only with its flags
	}, permissions(all))
	for _, b := range ofType[*rbacv1.ClusterRoleBinding](all) {
		for _, s := range b.Subjects {
			require.Equal(t, "state-server", s.Name)
		}
	}
	require.Empty(t, ofType[*rbacv1.RoleBinding](all))
	pods := templates(all)
	for name, p := range pods {
		c := p.Spec.Containers[0].SecurityContext
		require.True(t, *c.ReadOnlyRootFilesystem, name)
		require.False(t, *c.AllowPrivilegeEscalation, name)
		require.Equal(t, []corev1.Capability{"ALL"}, c.Capabilities.Drop, name)
		require.False(t, p.Spec.HostPID || p.Spec.HostIPC)
	}
	server, agent := pods["state-server"].Spec, pods["node-agent"].Spec
	require.True(t, *server.SecurityContext.RunAsNonRoot)
	require.Empty(t, server.Containers[0].SecurityContext.Capabilities.Add)
	require.Equal(t, []corev1.Capability{"NET_ADMIN"}, agent.Containers[0].SecurityContext.Capabilities.Add)
	require.False(t, *agent.AutomountServiceAccountToken)
	for _, v := range agent.Volumes {
		if v.Secret != nil {
			require.Equal(t, []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}, v.Secret.Items, "agents have no access to the key")
		}
	}
	audience := ""
	for _, v := range agent.Volumes {
		if v.Projected != nil {
			audience = v.Projected.Sources[0].ServiceAccountToken.Audience
		}
	}
	require.Contains(t, server.Containers[0].Args, "--audiences="+audience)
}
