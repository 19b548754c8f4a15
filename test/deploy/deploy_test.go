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
	"sigs.k8s.io/kpng/test/controlplane"
	"sigs.k8s.io/kpng/test/netns"
	"sigs.k8s.io/yaml"
)

const (
	manifests = "../../examples/deploy"
	namespace = "kpng-system"
	patience  = time.Minute
)

// A world is an API server that has the manifests, and the programs that they run.
type world struct {
	t       *testing.T
	dir     string
	config  *rest.Config // an administrator's
	client  kubernetes.Interface
	server  string // the programs
	agent   string
	kpngctl string
}

// TestManifestsWorkAgainstAnAPIServer: the API server takes every manifest, and what they
// run comes to life with the rights and the tokens that they give, and no others.
func TestManifestsWorkAgainstAnAPIServer(t *testing.T) {
	w := newWorld(t)
	w.apply()
	for _, name := range []string{"node-1", "node-2"} {
		_, err := w.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	w.createService()
	w.checkRights()

	deployment, err := w.client.AppsV1().Deployments(namespace).Get(t.Context(), "state-server", metav1.GetOptions{})
	require.NoError(t, err)
	server := w.start(w.server, deployment.Spec.Template.Spec.Containers[0].Args,
		"-listen=127.0.0.1:0", "-metrics=127.0.0.1:0", "-cert="+w.file("apiserver.crt"), "-key="+w.file("apiserver.key"),
		"-kubeconfig="+w.kubeconfig(w.token("state-server", "", nil)))
	address := server.wait("msg=Serving address=")

	daemons, err := w.client.AppsV1().DaemonSets(namespace).Get(t.Context(), "node-agent", metav1.GetOptions{})
	require.NoError(t, err)
	token := w.tokenFile("agent", w.token("node-agent", "kpng", w.createPod(daemons, "node-1")))
	args := []string{"-backend=print", "-server=" + address, "-server-name=127.0.0.1", "-ca=" + w.file("ca.crt"), "-health="}
	agent := w.start(w.agent, daemons.Spec.Template.Spec.Containers[0].Args, append(args, "-node=node-1", "-token-file="+token)...)
	agent.wait("+ default/web")
	agent.wait("Anyone -> 10.244.1.4:8080")
	other := w.start(w.agent, daemons.Spec.Template.Spec.Containers[0].Args, append(args, "-node=node-2", "-token-file="+token)...)
	other.wait("code = PermissionDenied")

	ctl := func(token string) (string, error) {
		out, err := exec.Command(w.kpngctl, "nodes", "-server="+address, "-server-name=127.0.0.1", "-ca="+w.file("ca.crt"),
			"-token-file="+w.tokenFile("ctl", token)).CombinedOutput()
		return string(out), err
	}
	out, err := ctl(w.token("inspector", "kpng", nil))
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)^node-1 .*node-agent`, out)
	out, err = ctl(w.token("inspector", "another", nil))
	require.Error(t, err)
	require.Contains(t, out, "could not authenticate this client")
	out, err = ctl(w.token("node-agent", "kpng", nil))
	require.Error(t, err)
	require.Contains(t, out, "not allowed")
	require.NotContains(t, server.said(), "forbidden")
}

func newWorld(t *testing.T) *world {
	binaries, err := controlplane.OpenBinaries()
	require.NoError(t, err)
	paths, err := binaries.Build(t.Context(), controlplane.EtcdPackage, controlplane.APIServerPackage,
		"sigs.k8s.io/kpng/examples/state-server", "sigs.k8s.io/kpng/examples/node-agent", "sigs.k8s.io/kpng/examples/kpngctl")
	require.NoError(t, err)
	host, err := netns.Host()
	require.NoError(t, err)
	t.Cleanup(func() { host.Close() })
	w := &world{t: t, dir: t.TempDir(), server: paths[2], agent: paths[3], kpngctl: paths[4]}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	control, err := controlplane.Start(ctx, controlplane.Options{
		Dir: w.dir, Addr: netip.MustParseAddr("127.0.0.1"), Namespace: host, Etcd: paths[0], APIServer: paths[1],
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, control.Close()) })
	path, err := control.WriteKubeconfig()
	require.NoError(t, err)
	w.config, err = clientcmd.BuildConfigFromFlags("", path)
	require.NoError(t, err)
	w.config.QPS = -1
	w.client, err = kubernetes.NewForConfig(w.config)
	require.NoError(t, err)
	return w
}

// file is one of the control plane's, whose certificate serves for our server too.
func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

// apply sends all manifests: first none of them is kept, then all are.
func (w *world) apply() {
	groups, err := restmapper.GetAPIGroupResources(w.client.Discovery())
	require.NoError(w.t, err)
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	client, err := dynamic.NewForConfig(w.config)
	require.NoError(w.t, err)
	for _, name := range []string{"namespace", "state-server", "node-agent"} {
		data, err := os.ReadFile(filepath.Join(manifests, name+".yaml"))
		require.NoError(w.t, err)
		for document := range bytes.SplitSeq(data, []byte("\n---\n")) {
			object := &unstructured.Unstructured{}
			require.NoError(w.t, yaml.Unmarshal(document, &object.Object))
			gvk := object.GroupVersionKind()
			mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
			require.NoError(w.t, err)
			var resource dynamic.ResourceInterface = client.Resource(mapping.Resource)
			if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
				resource = client.Resource(mapping.Resource).Namespace(object.GetNamespace())
			}
			raw, err := object.MarshalJSON()
			require.NoError(w.t, err)
			for _, dry := range [][]string{{metav1.DryRunAll}, nil} {
				_, err = resource.Patch(w.t.Context(), object.GetName(), types.ApplyPatchType, raw, metav1.PatchOptions{
					FieldManager: "test", FieldValidation: metav1.FieldValidationStrict, DryRun: dry,
				})
				require.NoError(w.t, err, "%s %s", gvk.Kind, object.GetName())
			}
		}
	}
}

func (w *world) createService() {
	port, protocol, name := int32(8080), corev1.ProtocolTCP, "http"
	_, err := w.client.CoreV1().Services("default").Create(w.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: name, Port: 80}}},
	}, metav1.CreateOptions{})
	require.NoError(w.t, err)
	_, err = w.client.DiscoveryV1().EndpointSlices("default").Create(w.t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.4"}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}, metav1.CreateOptions{})
	require.NoError(w.t, err)
}

// checkRights asks the API server what the accounts may do.
func (w *world) checkRights() {
	may := func(account, verb, group, resource string) bool {
		review, err := w.client.AuthorizationV1().SubjectAccessReviews().Create(w.t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "system:serviceaccount:" + namespace + ":" + account,
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource},
			},
		}, metav1.CreateOptions{})
		require.NoError(w.t, err)
		return review.Status.Allowed
	}
	wanted := map[string][3]string{
		"services":       {"list", "watch", ""},
		"nodes":          {"list", "watch", ""},
		"endpointslices": {"list", "watch", "discovery.k8s.io"},
		"servicecidrs":   {"list", "watch", "networking.k8s.io"},
	}
	for resource, r := range wanted {
		for _, verb := range r[:2] {
			require.True(w.t, may("state-server", verb, r[2], resource), "%s %s", verb, resource)
			require.False(w.t, may("node-agent", verb, r[2], resource), "%s %s", verb, resource)
		}
		require.False(w.t, may("state-server", "update", r[2], resource), resource)
	}
	require.True(w.t, may("state-server", "create", "authentication.k8s.io", "tokenreviews"))
	require.False(w.t, may("state-server", "get", "", "secrets"))
}

// createPod creates the pod that a daemon has on a node, as its controller would.
func (w *world) createPod(daemons *appsv1.DaemonSet, node string) *authenticationv1.BoundObjectReference {
	pod := &corev1.Pod{ObjectMeta: daemons.Spec.Template.ObjectMeta, Spec: daemons.Spec.Template.Spec}
	pod.Name, pod.Spec.NodeName = "node-agent-"+node, node
	pod, err := w.client.CoreV1().Pods(namespace).Create(w.t.Context(), pod, metav1.CreateOptions{})
	require.NoError(w.t, err)
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
}

// token is one of a service account, as kubelet asks for it.
func (w *world) token(account, audience string, bound *authenticationv1.BoundObjectReference) string {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	token, err := w.client.CoreV1().ServiceAccounts(namespace).CreateToken(w.t.Context(), account, request, metav1.CreateOptions{})
	require.NoError(w.t, err)
	return token.Status.Token
}

func (w *world) tokenFile(name, token string) string {
	path := filepath.Join(w.t.TempDir(), name)
	require.NoError(w.t, os.WriteFile(path, []byte(token), 0o600))
	return path
}

// kubeconfig is what a pod with a token has.
func (w *world) kubeconfig(token string) string {
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: w.config.Host, CertificateAuthorityData: w.config.CAData}
	config.AuthInfos["pod"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "pod"}
	config.CurrentContext = "test"
	path := filepath.Join(w.t.TempDir(), "kubeconfig")
	require.NoError(w.t, clientcmd.WriteToFile(*config, path))
	return path
}

// A process is a program that runs until the test ends.
type process struct {
	t     *testing.T
	name  string
	lines chan string // closed when it has ended
	all   strings.Builder
}

// start runs a program with the arguments of a manifest; those after it count more.
func (w *world) start(program string, manifest []string, args ...string) *process {
	cmd := exec.Command(program, slices.Concat(manifest, args)...)
	read, write := net.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	require.NoError(w.t, cmd.Start())
	p := &process{t: w.t, name: filepath.Base(program), lines: make(chan string, 10_000)}
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
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for line := range p.lines { // until it has ended
			p.all.WriteString(line + "\n")
		}
		if w.t.Failed() {
			w.t.Logf("%s said:\n%s", p.name, p.all.String())
		}
	})
	return p
}

// wait returns what follows text on the first line that has it.
func (p *process) wait(text string) string {
	p.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, more := <-p.lines:
			p.all.WriteString(line + "\n")
			if _, rest, ok := strings.Cut(line, text); ok {
				return rest
			}
			if !more {
				p.t.Fatalf("%s ended without %q:\n%s", p.name, text, p.all.String())
			}
		case <-late:
			p.t.Fatalf("%s has not said %q:\n%s", p.name, text, p.all.String())
		}
	}
}

// said returns all lines up to now.
func (p *process) said() string {
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
