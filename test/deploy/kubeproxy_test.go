// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"sigs.k8s.io/kpng/test/controlplane"
)

const (
	endpoint        = "10.244.1.4:8080" // of the Service default/web
	kubeProxyObject = "kpng-kube-proxy"
)

// testKubeProxy runs the DaemonSet of each distribution in a container, and at last compares
// its requests with the rights that its manifest grants.
func (fx *fixture) testKubeProxy(t *testing.T) {
	if _, err := fx.ns.Output(t.Context(), "runc", "--version"); err != nil && os.Getenv("KPNG_REQUIRE_NETNS") != "1" {
		t.Skip("needs runc")
	}
	paths, err := fx.binaries.Build(t.Context(), controlplane.KPNGProxyPackage)
	require.NoError(t, err)
	fx.serveEndpoint(t)
	kubeadm, err := os.ReadFile("testdata/kubeadm.yaml")
	require.NoError(t, err)
	fx.apply(t, objects(t, map[string]string{"kubeadm.yaml": string(kubeadm)}), false)

	for _, distribution := range []struct{ name, address string }{
		{"k3s", "127.0.0.1:6444"},
		{"talos", "127.0.0.1:7445"},
		{"kubeadm", "127.0.0.1:6443"}, // in testdata/kubeadm.yaml
	} {
		t.Run(distribution.name, func(t *testing.T) {
			fx.forward(t, distribution.address, fx.control.Addr().String())
			fx.runDaemonSet(t, paths[0], distribution.name)
		})
	}
	fx.checkRequests(t)
	fx.checkDocumentedPatches(t)
}

// checkDocumentedPatches applies the patches of docs/migrating-from-kube-proxy.md to the
// DaemonSets, in order.
func (fx *fixture) checkDocumentedPatches(t *testing.T) {
	text, err := os.ReadFile("../../docs/migrating-from-kube-proxy.md")
	require.NoError(t, err)
	command := regexp.MustCompile(`kubectl -n kube-system patch daemonset (\S+)( --type=json)? -p '([^']+)'`)
	patches := command.FindAllSubmatch(text, -1)
	require.Len(t, patches, 4, "to convert nodes, to convert all of them, and the way back")
	daemons := fx.client.AppsV1().DaemonSets(systemNamespace)
	linux, converted := map[string]string{"kubernetes.io/os": "linux"}, map[string]string{"kubernetes.io/os": "linux", "service-proxy": "kpng"}
	selectors := []map[string]string{converted, linux, converted, converted} // of the drop-in, after each patch
	for i, m := range patches {
		before, err := daemons.Get(t.Context(), string(m[1]), metav1.GetOptions{})
		require.NoError(t, err)
		kind := types.StrategicMergePatchType
		if len(m[2]) > 0 {
			kind = types.JSONPatchType
		}
		after, err := daemons.Patch(t.Context(), before.Name, kind, m[3], metav1.PatchOptions{FieldValidation: metav1.FieldValidationStrict})
		require.NoError(t, err, string(m[0]))
		require.NotEqual(t, before.Spec.Template, after.Spec.Template, string(m[0]))
		dropIn, err := daemons.Get(t.Context(), kubeProxyObject, metav1.GetOptions{})
		require.NoError(t, err)
		require.Equal(t, selectors[i], dropIn.Spec.Template.Spec.NodeSelector, string(m[0]))
	}
	kubeProxy, err := daemons.Get(t.Context(), "kube-proxy", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, linux, kubeProxy.Spec.Template.Spec.NodeSelector)
	require.Nil(t, kubeProxy.Spec.Template.Spec.Affinity)
}

// runDaemonSet runs the containers of the DaemonSet of a distribution and connects to a
// Service through the rules.
func (fx *fixture) runDaemonSet(t *testing.T, binary, distribution string) {
	files, err := render(kubeProxyChart, values{"distribution": distribution})
	require.NoError(t, err)
	rendered := objects(t, files)
	fx.apply(t, rendered, false)
	daemons, err := fx.client.AppsV1().DaemonSets(systemNamespace).Get(t.Context(), kubeProxyObject, metav1.GetOptions{})
	require.NoError(t, err)
	pod := fx.createPod(t, daemons.Spec.Template, systemNamespace, kubeProxyObject+"-"+distribution, "node-1")

	c := container{fx: fx, pod: pod.Spec, node: "node-1", binary: binary, account: fx.serviceAccount(t, pod), volumes: map[string]string{}}
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			c.volumes[v.Name] = fx.configMap(t, systemNamespace, v.ConfigMap.Name)
		default: // a lock of the test's own
			require.Equal(t, corev1.HostPathFileOrCreate, *v.HostPath.Type)
			c.volumes[v.Name] = filepath.Join(t.TempDir(), "file")
			require.NoError(t, os.WriteFile(c.volumes[v.Name], nil, 0o600))
		}
	}
	for _, c.spec = range pod.Spec.InitContainers {
		fx.runInit(t, c)
	}
	c.spec = pod.Spec.Containers[0]
	require.Equal(t, []corev1.Capability{"NET_ADMIN"}, c.spec.SecurityContext.Capabilities.Add, "docs/migrating-from-kube-proxy.md names it")
	fx.createKubeProxyRules(t)
	if distribution == "k3s" {
		withoutCapability := c
		withoutCapability.spec = *c.spec.DeepCopy()
		withoutCapability.spec.SecurityContext.Capabilities.Add = nil
		withoutCapability.start(t).wait("CAP_NET_ADMIN over this network namespace is required")
	}
	proxy := c.start(t)

	fx.waitProbe(t, c.spec, c.spec.ReadinessProbe)
	fx.waitProbe(t, c.spec, c.spec.LivenessProbe)
	fx.waitService(t)
	fx.waitNoKubeProxyRules(t)
	if distribution == "k3s" {
		fx.repeatProblem(t)
	}
	require.NotContains(t, proxy.output(), "forbidden")
}

// createKubeProxyRules creates a chain of kube-proxy's iptables mode, in both variants.
func (fx *fixture) createKubeProxyRules(t *testing.T) {
	for _, variant := range []string{"iptables-nft", "iptables-legacy"} {
		for _, args := range []string{"-N KUBE-SERVICES", "-A PREROUTING -j KUBE-SERVICES", "-A KUBE-SERVICES -d 10.96.0.99 -j RETURN"} {
			_, err := fx.ns.Output(t.Context(), variant, append([]string{"-w", "-t", "nat"}, strings.Fields(args)...)...)
			require.NoError(t, err)
		}
	}
}

// waitNoKubeProxyRules waits until the proxy has removed these chains.
func (fx *fixture) waitNoKubeProxyRules(t *testing.T) {
	require.Eventually(t, func() bool {
		rules := ""
		for _, variant := range []string{"iptables-nft-save", "iptables-legacy-save"} {
			out, err := fx.ns.Output(t.Context(), variant)
			if err != nil {
				return false
			}
			rules += out
		}
		return !strings.Contains(rules, "KUBE-")
	}, waitLimit, 50*time.Millisecond)
}

// closeWait is a kernel parameter of the network namespace, which kube-proxy sets to one hour.
const closeWait = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait"

// runInit runs the init container, which sets the parameters of the configuration and ends.
func (fx *fixture) runInit(t *testing.T, c container) {
	config, err := os.ReadFile(filepath.Join(c.volumes["config"], "config.conf"))
	require.NoError(t, err)
	want := "3600\n"
	if strings.Contains(string(config), "tcpCloseWaitTimeout: 0s") {
		want = "77\n"
	}
	_, err = fx.ns.Output(t.Context(), "sh", "-c", "echo 77 >"+closeWait)
	require.NoError(t, err)
	c.start(t).waitEnd()
	got, err := fx.ns.Output(t.Context(), "cat", closeWait)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// waitProbe waits until a probe succeeds.
func (fx *fixture) waitProbe(t *testing.T, c corev1.Container, probe *corev1.Probe) {
	i := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == probe.HTTPGet.Port.StrVal })
	url := fmt.Sprintf("http://127.0.0.1:%d%s", c.Ports[i].ContainerPort, probe.HTTPGet.Path)
	fx.waitAnswer(t, url, "")
}

// waitAnswer waits until a URL is answered with 200 and a text that contains part.
func (fx *fixture) waitAnswer(t *testing.T, url, part string) {
	client := &http.Client{Transport: &http.Transport{DialContext: fx.dial, DisableKeepAlives: true}}
	require.Eventually(t, func() bool {
		response, err := client.Get(url)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return err == nil && response.StatusCode == http.StatusOK && strings.Contains(string(body), part)
	}, waitLimit, 50*time.Millisecond, url)
}

// serveEndpoint serves the endpoint of default/web on an address of the node, and makes cluster
// IPs routable.
func (fx *fixture) serveEndpoint(t *testing.T) {
	for _, args := range [][]string{
		{"address", "add", "10.244.1.4/32", "dev", "lo"}, {"route", "add", controlplane.ServiceCIDR4, "dev", "lo"},
	} {
		_, err := fx.ns.Output(t.Context(), "ip", args...)
		require.NoError(t, err)
	}
	fx.listen(t, endpoint, func(conn net.Conn) { _, _ = io.WriteString(conn, "endpoint") })
}

// waitService connects to the cluster IP of default/web until its endpoint answers.
func (fx *fixture) waitService(t *testing.T) {
	web, err := fx.client.CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		conn, err := fx.dial(ctx, "tcp", net.JoinHostPort(web.Spec.ClusterIP, "80"))
		if err != nil {
			return false
		}
		defer conn.Close()
		answer, err := io.ReadAll(conn)
		return err == nil && string(answer) == "endpoint"
	}, waitLimit, 50*time.Millisecond)
}

// forward forwards TCP connections, as the load balancers for the API server on the nodes of
// k3s and Talos do.
func (fx *fixture) forward(t *testing.T, from, to string) {
	fx.listen(t, from, func(conn net.Conn) {
		upstream, err := fx.dial(context.Background(), "tcp", to)
		if err != nil {
			return
		}
		defer upstream.Close()
		go func() {
			_, _ = io.Copy(upstream, conn)
			_ = upstream.Close()
		}()
		_, _ = io.Copy(conn, upstream)
	})
}

// listen serves connections until the test ends.
func (fx *fixture) listen(t *testing.T, address string, serve func(net.Conn)) {
	l, err := fx.ns.Listen(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
}

// repeatProblem gives a Service the same problem twice, so that the proxy creates an event and
// later changes it.
func (fx *fixture) repeatProblem(t *testing.T) {
	problem := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web-problem", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.5"}}}, // and no ports
	}
	problems := fx.client.DiscoveryV1().EndpointSlices("default")
	waitEvent := func(accept func(eventsv1.Event) bool) {
		require.Eventually(t, func() bool {
			list, err := fx.client.EventsV1().Events("default").List(t.Context(), metav1.ListOptions{})
			return err == nil && slices.ContainsFunc(list.Items, func(e eventsv1.Event) bool { return e.Regarding.Name == "web" && accept(e) })
		}, waitLimit, 50*time.Millisecond)
	}
	_, err := problems.Create(t.Context(), problem, metav1.CreateOptions{})
	require.NoError(t, err)
	waitEvent(func(eventsv1.Event) bool { return true })
	require.NoError(t, problems.Delete(t.Context(), problem.Name, metav1.DeleteOptions{}))
	fx.waitAnswer(t, "http://127.0.0.1:10249/metrics", "kpng_services_with_problems 0\n")
	_, err = problems.Create(t.Context(), problem, metav1.CreateOptions{})
	require.NoError(t, err)
	waitEvent(func(e eventsv1.Event) bool { return e.Series != nil })
	require.NoError(t, problems.Delete(t.Context(), problem.Name, metav1.DeleteOptions{}))
}

// checkRequests compares the requests of the proxies with the rights that the manifest grants:
// each request was allowed, and each right was used. "list" is the exception: the API server of
// the test answers a watch with the present state first, and the proxy lists where one cannot.
func (fx *fixture) checkRequests(t *testing.T) {
	files, err := render(kubeProxyChart, values{"distribution": "k3s"})
	require.NoError(t, err)
	var granted []string
	for _, o := range objects(t, files) {
		if o.GetKind() != "ClusterRole" {
			continue
		}
		var role rbacv1.ClusterRole
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role))
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					granted = append(granted, verb+" "+rule.APIGroups[0]+"/"+resource)
				}
			}
		}
	}
	require.NotEmpty(t, granted)
	used := fx.requests(t, "system:serviceaccount:"+systemNamespace+":"+kubeProxyObject)
	for _, request := range used {
		if resource, ok := strings.CutPrefix(request, "watch "); ok && !slices.Contains(used, "list "+resource) {
			used = append(used, "list "+resource)
		}
	}
	require.ElementsMatch(t, granted, used)
}

// requests returns the different requests of a user. It fails if one was forbidden.
func (fx *fixture) requests(t *testing.T, user string) (all []string) {
	log, err := os.Open(fx.control.AuditLog())
	require.NoError(t, err)
	defer log.Close()
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Verb           string
			User           struct{ Username string }
			ObjectRef      *struct{ APIGroup, Resource string }
			ResponseStatus struct{ Code int }
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &event))
		if event.User.Username != user || event.ObjectRef == nil {
			continue
		}
		require.NotEqual(t, http.StatusForbidden, event.ResponseStatus.Code, lines.Text())
		if request := event.Verb + " " + event.ObjectRef.APIGroup + "/" + event.ObjectRef.Resource; !slices.Contains(all, request) {
			all = append(all, request)
		}
	}
	require.NoError(t, lines.Err())
	return all
}
