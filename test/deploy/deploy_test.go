// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/test/controlplane"
	"sigs.k8s.io/kpng/test/netns"
)

const (
	manifests = "../../examples/deploy"
	namespace = "kpng-system"
	waitLimit = time.Minute
)

// A fixture is a control plane, and the paths of the programs that the manifests run.
type fixture struct {
	t      *testing.T
	dir    string
	config *rest.Config // of a cluster administrator
	client kubernetes.Interface

	server, agent, kpngctl string
}

// TestManifests applies every manifest and runs the programs with the arguments, the service
// accounts and the tokens of the manifests. It also checks that they grant no other rights.
func TestManifests(t *testing.T) {
	fx := newFixture(t)
	fx.apply()
	for _, name := range []string{"node-1", "node-2"} {
		_, err := fx.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	fx.createService()
	fx.checkRights()

	deployment, err := fx.client.AppsV1().Deployments(namespace).Get(t.Context(), "state-server", metav1.GetOptions{})
	require.NoError(t, err)
	server := fx.start(fx.server, deployment.Spec.Template.Spec.Containers[0].Args,
		"-listen=127.0.0.1:0", "-metrics=127.0.0.1:0", "-cert="+fx.file("apiserver.crt"), "-key="+fx.file("apiserver.key"),
		"-kubeconfig="+fx.kubeconfig(fx.token("state-server", "", nil)))
	address := server.wait(`msg="Serving gRPC" address=`)

	daemons, err := fx.client.AppsV1().DaemonSets(namespace).Get(t.Context(), "node-agent", metav1.GetOptions{})
	require.NoError(t, err)
	token := fx.tokenFile("agent", fx.token("node-agent", "kpng", fx.createPod(daemons, "node-1")))
	args := []string{"-backend=print", "-server=" + address, "-server-name=127.0.0.1", "-ca=" + fx.file("ca.crt"), "-health="}
	agent := fx.start(fx.agent, daemons.Spec.Template.Spec.Containers[0].Args, append(args, "-node=node-1", "-token-file="+token)...)
	agent.wait("+ default/web")
	agent.wait("Any -> 10.244.1.4:8080")
	other := fx.start(fx.agent, daemons.Spec.Template.Spec.Containers[0].Args, append(args, "-node=node-2", "-token-file="+token)...)
	other.wait("code = PermissionDenied")

	ctl := func(token string) (string, error) {
		out, err := exec.Command(fx.kpngctl, "nodes", "-server="+address, "-server-name=127.0.0.1", "-ca="+fx.file("ca.crt"),
			"-token-file="+fx.tokenFile("ctl", token)).CombinedOutput()
		return string(out), err
	}
	out, err := ctl(fx.token("inspector", "kpng", nil))
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)^node-1 .*node-agent`, out)
	out, err = ctl(fx.token("inspector", "another", nil))
	require.Error(t, err)
	require.Contains(t, out, "could not authenticate this client")
	out, err = ctl(fx.token("node-agent", "kpng", nil))
	require.Error(t, err)
	require.Contains(t, out, "not allowed")
	require.NotContains(t, server.output(), "forbidden")
}

func newFixture(t *testing.T) *fixture {
	binaries, err := controlplane.OpenBinaries()
	require.NoError(t, err)
	paths, err := binaries.Build(t.Context(), controlplane.EtcdPackage, controlplane.APIServerPackage,
		"sigs.k8s.io/kpng/examples/state-server", "sigs.k8s.io/kpng/examples/node-agent", "sigs.k8s.io/kpng/examples/kpngctl")
	require.NoError(t, err)
	host, err := netns.Host()
	require.NoError(t, err)
	t.Cleanup(func() { host.Close() })
	fx := &fixture{t: t, dir: t.TempDir(), server: paths[2], agent: paths[3], kpngctl: paths[4]}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	control, err := controlplane.Start(ctx, controlplane.Config{
		Dir: fx.dir, Addr: netip.MustParseAddr("127.0.0.1"), Namespace: host, Etcd: paths[0], APIServer: paths[1],
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, control.Close()) })
	path, err := control.WriteKubeconfig()
	require.NoError(t, err)
	fx.config, err = clientcmd.BuildConfigFromFlags("", path)
	require.NoError(t, err)
	fx.config.QPS = -1
	fx.client, err = kubernetes.NewForConfig(fx.config)
	require.NoError(t, err)
	return fx
}

// file returns the path of a file of the control plane. The state-server uses its certificate.
func (fx *fixture) file(name string) string { return filepath.Join(fx.dir, name) }

// apply applies all manifests, each first as a dry run.
func (fx *fixture) apply() {
	groups, err := restmapper.GetAPIGroupResources(fx.client.Discovery())
	require.NoError(fx.t, err)
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	client, err := dynamic.NewForConfig(fx.config)
	require.NoError(fx.t, err)
	for _, name := range []string{"namespace", "state-server", "node-agent"} {
		data, err := os.ReadFile(filepath.Join(manifests, name+".yaml"))
		require.NoError(fx.t, err)
		for document := range bytes.SplitSeq(data, []byte("\n---\n")) {
			object := &unstructured.Unstructured{}
			require.NoError(fx.t, yaml.Unmarshal(document, &object.Object))
			gvk := object.GroupVersionKind()
			mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
			require.NoError(fx.t, err)
			var resource dynamic.ResourceInterface = client.Resource(mapping.Resource)
			if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
				resource = client.Resource(mapping.Resource).Namespace(object.GetNamespace())
			}
			raw, err := object.MarshalJSON()
			require.NoError(fx.t, err)
			for _, dry := range [][]string{{metav1.DryRunAll}, nil} {
				_, err = resource.Patch(fx.t.Context(), object.GetName(), types.ApplyPatchType, raw, metav1.PatchOptions{
					FieldManager: "test", FieldValidation: metav1.FieldValidationStrict, DryRun: dry,
				})
				require.NoError(fx.t, err, "%s %s", gvk.Kind, object.GetName())
			}
		}
	}
}

func (fx *fixture) createService() {
	port, protocol, name := int32(8080), corev1.ProtocolTCP, "http"
	_, err := fx.client.CoreV1().Services("default").Create(fx.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: name, Port: 80}}},
	}, metav1.CreateOptions{})
	require.NoError(fx.t, err)
	_, err = fx.client.DiscoveryV1().EndpointSlices("default").Create(fx.t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.4"}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}, metav1.CreateOptions{})
	require.NoError(fx.t, err)
}

// checkRights checks the rights of the service accounts with the API server.
func (fx *fixture) checkRights() {
	allowed := func(account, verb, group, resource string) bool {
		review, err := fx.client.AuthorizationV1().SubjectAccessReviews().Create(fx.t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "system:serviceaccount:" + namespace + ":" + account,
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource},
			},
		}, metav1.CreateOptions{})
		require.NoError(fx.t, err)
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
			require.True(fx.t, allowed("state-server", verb, r[2], resource), "%s %s", verb, resource)
			require.False(fx.t, allowed("node-agent", verb, r[2], resource), "%s %s", verb, resource)
		}
		require.False(fx.t, allowed("state-server", "update", r[2], resource), resource)
	}
	require.True(fx.t, allowed("state-server", "create", "authentication.k8s.io", "tokenreviews"))
	require.False(fx.t, allowed("state-server", "get", "", "secrets"))
}

// createPod creates the pod of a DaemonSet on a node, as the controller would.
func (fx *fixture) createPod(daemons *appsv1.DaemonSet, node string) *authenticationv1.BoundObjectReference {
	pod := &corev1.Pod{ObjectMeta: daemons.Spec.Template.ObjectMeta, Spec: daemons.Spec.Template.Spec}
	pod.Name, pod.Spec.NodeName = "node-agent-"+node, node
	pod, err := fx.client.CoreV1().Pods(namespace).Create(fx.t.Context(), pod, metav1.CreateOptions{})
	require.NoError(fx.t, err)
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
}

// token returns a token of a service account, requested as the kubelet does.
func (fx *fixture) token(account, audience string, bound *authenticationv1.BoundObjectReference) string {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	token, err := fx.client.CoreV1().ServiceAccounts(namespace).CreateToken(fx.t.Context(), account, request, metav1.CreateOptions{})
	require.NoError(fx.t, err)
	return token.Status.Token
}

func (fx *fixture) tokenFile(name, token string) string {
	path := filepath.Join(fx.t.TempDir(), name)
	require.NoError(fx.t, os.WriteFile(path, []byte(token), 0o600))
	return path
}

// kubeconfig writes a kubeconfig file with a token and returns its path.
func (fx *fixture) kubeconfig(token string) string {
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: fx.config.Host, CertificateAuthorityData: fx.config.CAData}
	config.AuthInfos["pod"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "pod"}
	config.CurrentContext = "test"
	path := filepath.Join(fx.t.TempDir(), "kubeconfig")
	require.NoError(fx.t, clientcmd.WriteToFile(*config, path))
	return path
}

// A process is a program that runs until the test ends.
type process struct {
	t     *testing.T
	name  string
	lines chan string     // closed when the process has ended
	all   strings.Builder // the lines received so far
}

// start runs a program with the arguments of a manifest, followed by args, which override
// them.
func (fx *fixture) start(program string, manifest []string, args ...string) *process {
	cmd := exec.Command(program, slices.Concat(manifest, args)...)
	read, write := net.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	require.NoError(fx.t, cmd.Start())
	p := &process{t: fx.t, name: filepath.Base(program), lines: make(chan string, 10_000)}
	go func() {
		_ = cmd.Wait()
		_ = write.Close()
	}()
	go func() {
		defer close(p.lines)
		for lines := bufio.NewScanner(read); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	fx.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for line := range p.lines { // until the process has ended
			p.all.WriteString(line + "\n")
		}
		if fx.t.Failed() {
			fx.t.Logf("output of %s:\n%s", p.name, p.all.String())
		}
	})
	return p
}

// wait waits for a line that contains text and returns the rest of that line.
func (p *process) wait(text string) string {
	p.t.Helper()
	timeout := time.After(waitLimit)
	for {
		select {
		case line, more := <-p.lines:
			p.all.WriteString(line + "\n")
			if _, after, ok := strings.Cut(line, text); ok {
				return after
			}
			if !more {
				p.t.Fatalf("%s ended without %q:\n%s", p.name, text, p.all.String())
			}
		case <-timeout:
			p.t.Fatalf("%s: no line with %q within %v:\n%s", p.name, text, waitLimit, p.all.String())
		}
	}
}

// output returns all lines so far.
func (p *process) output() string {
	for {
		select {
		case line, more := <-p.lines:
			if p.all.WriteString(line + "\n"); !more {
				return p.all.String()
			}
		default:
			return p.all.String()
		}
	}
}
