// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bufio"
	"context"
	"io"
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
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
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
)

const (
	manifests = "../../examples/deploy"
	namespace = "kpng-system" // of the server tier
	waitLimit = time.Minute
)

// A fixture is a control plane in a network namespace, in which the programs run too.
type fixture struct {
	dir      string
	ns       *netns.Namespace
	control  *controlplane.ControlPlane
	binaries *controlplane.Binaries
	config   *rest.Config // of a cluster administrator
	client   kubernetes.Interface
	dynamic  dynamic.Interface
	mapper   meta.RESTMapper
}

func newFixture(t *testing.T) *fixture {
	if os.Getuid() != 0 && os.Getenv("KPNG_REQUIRE_NETNS") != "1" {
		t.Skip("needs root")
	}
	binaries, err := controlplane.OpenBinaries()
	require.NoError(t, err)
	paths, err := binaries.Build(t.Context(), controlplane.EtcdPackage, controlplane.APIServerPackage)
	require.NoError(t, err)
	ns, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ns.Close()) })
	_, err = ns.Output(t.Context(), "ip", "link", "set", "lo", "up")
	require.NoError(t, err)

	fx := &fixture{dir: t.TempDir(), ns: ns, binaries: binaries}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	fx.control, err = controlplane.Start(ctx, controlplane.Config{
		Dir: fx.dir, Addr: netip.MustParseAddr("127.0.0.1"), Namespace: ns, Etcd: paths[0], APIServer: paths[1], Audit: true,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fx.control.Close()) })
	path, err := fx.control.WriteKubeconfig()
	require.NoError(t, err)
	fx.config, err = clientcmd.BuildConfigFromFlags("", path)
	require.NoError(t, err)
	fx.config.QPS = -1
	fx.config.Dial = fx.dial
	fx.client, err = kubernetes.NewForConfig(fx.config)
	require.NoError(t, err)
	fx.dynamic, err = dynamic.NewForConfig(fx.config)
	require.NoError(t, err)
	groups, err := restmapper.GetAPIGroupResources(fx.client.Discovery())
	require.NoError(t, err)
	fx.mapper = restmapper.NewDiscoveryRESTMapper(groups)
	return fx
}

// dial connects from the network namespace.
func (fx *fixture) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return fx.ns.DialContext(ctx, net.Dialer{}, network, addr)
}

// file returns the path of a file of the control plane. The state server uses its certificate.
func (fx *fixture) file(name string) string { return filepath.Join(fx.dir, name) }

// apply applies objects with strict validation; a dry run changes nothing.
func (fx *fixture) apply(t *testing.T, all []*unstructured.Unstructured, dryRun bool) {
	for _, object := range all {
		gvk := object.GroupVersionKind()
		mapping, err := fx.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		require.NoError(t, err)
		var resource dynamic.ResourceInterface = fx.dynamic.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			require.NotEmpty(t, object.GetNamespace(), "%s %s", gvk.Kind, object.GetName())
			resource = fx.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace())
		}
		raw, err := object.MarshalJSON()
		require.NoError(t, err)
		options := metav1.PatchOptions{FieldManager: "test", FieldValidation: metav1.FieldValidationStrict}
		if dryRun {
			options.DryRun = []string{metav1.DryRunAll}
		}
		_, err = resource.Patch(t.Context(), object.GetName(), types.ApplyPatchType, raw, options)
		require.NoError(t, err, "%s %s", gvk.Kind, object.GetName())
	}
}

// createPod creates the pod of a DaemonSet on a node, as its controller would.
func (fx *fixture) createPod(t *testing.T, template corev1.PodTemplateSpec, inNamespace, name, node string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name, pod.Spec.NodeName = name, node
	pod, err := fx.client.CoreV1().Pods(inNamespace).Create(t.Context(), pod, metav1.CreateOptions{})
	require.NoError(t, err)
	return pod
}

// token returns a token of a service account, requested as the kubelet does. A nil pod means
// that the token is not bound to one.
func (fx *fixture) token(t *testing.T, inNamespace, account, audience string, pod *corev1.Pod) string {
	request := &authenticationv1.TokenRequest{}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	token, err := fx.client.CoreV1().ServiceAccounts(inNamespace).CreateToken(t.Context(), account, request, metav1.CreateOptions{})
	require.NoError(t, err)
	return token.Status.Token
}

func tokenFile(t *testing.T, token string) string {
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte(token), 0o600))
	return path
}

// kubeconfig writes a kubeconfig file with a token and returns its path.
func (fx *fixture) kubeconfig(t *testing.T, token string) string {
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: fx.config.Host, CertificateAuthorityData: fx.config.CAData}
	config.AuthInfos["pod"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "pod"}
	config.CurrentContext = "test"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, path))
	return path
}

// A process is a program that runs until the test ends.
type process struct {
	t     *testing.T
	name  string
	lines chan string     // closed when the process has ended
	all   strings.Builder // the lines received so far
	cmd   *exec.Cmd
}

// start runs a program with the arguments of a manifest, followed by args, which override
// them.
func (fx *fixture) start(t *testing.T, program string, manifest []string, args ...string) *process {
	cmd := exec.Command(program, slices.Concat(manifest, args)...)
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	require.NoError(t, fx.ns.Start(cmd))
	p := &process{t: t, name: filepath.Base(program), lines: make(chan string, 10_000), cmd: cmd}
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
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for line := range p.lines { // until the process has ended
			p.all.WriteString(line + "\n")
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.name, p.all.String())
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

// waitEnd waits until the program has ended, which it must do without an error.
func (p *process) waitEnd() {
	p.t.Helper()
	timeout := time.After(waitLimit)
	for {
		select {
		case line, more := <-p.lines:
			if more {
				p.all.WriteString(line + "\n")
				continue
			}
			require.True(p.t, p.cmd.ProcessState.Success(), "%s: %v:\n%s", p.name, p.cmd.ProcessState, p.all.String())
			return
		case <-timeout:
			p.t.Fatalf("%s has not ended within %v:\n%s", p.name, waitLimit, p.all.String())
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
