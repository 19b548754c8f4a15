// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"sigs.k8s.io/kpng/localsink"
)

// newKubeProxy returns a bed with the real kube-proxy, whose path is in KPNG_KUBE_PROXY, or nil if
// that is not set. It has the same Services from an API server that lists objects and whose watches
// are silent.
func newKubeProxy(b *testing.B, mode string, services int) *connectBed {
	path := os.Getenv("KPNG_KUBE_PROXY")
	if path == "" {
		return nil
	}
	bed := newConnectBed(b, "kube-proxy-"+mode, services)
	api := &listAPI{lists: bed.objects(), ended: make(chan struct{})}
	var socket net.Listener
	bed.node.Do(func() (err error) {
		socket, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	server := &http.Server{Handler: api, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(socket)
	}()
	b.Cleanup(func() {
		close(api.ended)
		_ = server.Close()
		<-served
	})
	var log bytes.Buffer
	cmd := exec.Command(path, "--master=http://"+socket.Addr().String(), "--hostname-override=node", "--proxy-mode="+mode,
		"--cluster-cidr=10.2.0.0/24", "--detect-local-mode=ClusterCIDR", "--conntrack-max-per-core=0")
	cmd.Env = append(os.Environ(), "PATH="+legacyIPTables(b)+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = &log, &log
	bed.node.Do(cmd.Start)
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b.Failed() {
			b.Logf("log of %s:\n%s", bed.name, log.String())
		}
	})
	bed.awaitRules(b)
	return bed
}

// legacyIPTables returns a directory in which the command iptables is that of iptables-legacy, as for
// the backend.
func legacyIPTables(b *testing.B) string {
	dir := b.TempDir()
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			legacy, err := exec.LookPath(family + "-legacy" + suffix)
			require.NoError(b, err)
			require.NoError(b, os.Symlink(legacy, filepath.Join(dir, family+suffix)))
		}
	}
	return dir
}

// awaitRules waits until connections to the first and the last cluster IP succeed.
func (bed *connectBed) awaitRules(b *testing.B) {
	for _, target := range []netip.AddrPort{bed.targets[0], bed.targets[len(bed.targets)-1]} {
		require.Eventually(b, func() bool {
			return bed.pod.Run(func() error {
				_, err := connectOnce(target)
				return err
			}) == nil
		}, 2*time.Minute, 50*time.Millisecond, "%s: %s", bed.name, target)
	}
}

// objects returns the Services as lists of the API, by the path of the request.
func (bed *connectBed) objects() map[string]runtime.Object {
	services, slices := &corev1.ServiceList{}, &discoveryv1.EndpointSliceList{}
	for _, s := range bed.services {
		service, slice := apiObjects(s)
		services.Items, slices.Items = append(services.Items, service), append(slices.Items, slice)
	}
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node", ResourceVersion: "1"}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.2.0.1"}}
	return map[string]runtime.Object{
		"/api/v1/services": services, "/apis/discovery.k8s.io/v1/endpointslices": slices,
		"/api/v1/nodes": &corev1.NodeList{Items: []corev1.Node{node}}, "/api/v1/nodes/node": &node,
		"/apis/networking.k8s.io/v1/servicecidrs": &networkingv1.ServiceCIDRList{},
	}
}

// apiObjects returns a Service with one port as objects of the API.
func apiObjects(s *localsink.Service) (corev1.Service, discoveryv1.EndpointSlice) {
	port, ready, name := s.Ports[0], true, "p"
	frontend, endpoints := port.Frontends[0].Addr, port.Pools[0].Endpoints
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Namespace: s.Name.Namespace, Name: name, UID: "u", ResourceVersion: "1",
			Labels: map[string]string{discoveryv1.LabelServiceName: s.Name.Name},
		}
	}
	protocol, target := corev1.ProtocolTCP, int32(endpoints[0].Addr.Port())
	service := corev1.Service{ObjectMeta: meta(s.Name.Name), Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: frontend.Addr().String(), ClusterIPs: []string{frontend.Addr().String()},
		IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		Ports:      []corev1.ServicePort{{Name: name, Protocol: protocol, Port: int32(frontend.Port())}},
	}}
	slice := discoveryv1.EndpointSlice{
		ObjectMeta: meta(fmt.Sprint(s.Name.Name, "-1")), AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &target}},
	}
	for _, e := range endpoints {
		node := "node"
		if !e.Local {
			node = "another"
		}
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{e.Addr.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, NodeName: &node,
		})
	}
	return service, slice
}

// A listAPI serves lists and objects by path, and watches that are silent.
type listAPI struct {
	lists map[string]runtime.Object
	ended chan struct{}
}

// ServeHTTP implements http.Handler.
func (a *listAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	object, ok := a.lists[r.URL.Path]
	query := r.URL.Query()
	switch {
	case !ok:
		http.NotFound(w, r)
	case query.Get("sendInitialEvents") != "":
		http.Error(w, "no streamed lists", http.StatusBadRequest) // clients list instead
	case query.Get("watch") != "":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-a.ended:
		case <-r.Context().Done():
		}
	default:
		info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
		kinds, _, _ := scheme.Scheme.ObjectKinds(object)
		w.Header().Set("Content-Type", runtime.ContentTypeJSON)
		_ = scheme.Codecs.EncoderForVersion(info.Serializer, kinds[0].GroupVersion()).Encode(object, w)
	}
}
