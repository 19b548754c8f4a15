// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	endpointsPerService = 10
	servicesPerSpace    = 100
	// settle is how long the programs may return memory after the first sync.
	settle = 20 * time.Second
	load   = 3 * time.Second
)

// TestMemory runs CoreDNS and kpng-dns, one after the other, with the same Services from the same API
// server, and prints their resident memory and the queries that they answer per second. The API server
// is a fake: it lists objects in protobuf, and its watches are silent. KPNG_DNS_COMPARE is the number of
// Services.
func TestMemory(t *testing.T) {
	count, err := strconv.Atoi(os.Getenv("KPNG_DNS_COMPARE"))
	if err != nil {
		t.Skip("KPNG_DNS_COMPARE is not set")
	}
	dir := t.TempDir()
	for name, pkg := range map[string][2]string{"coredns": {".", "."}, "kpng-dns": {"..", "./kpng-dns"}} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg[1])
		build.Dir, build.Env = pkg[0], append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	for _, headless := range []bool{false, true} {
		t.Run(fmt.Sprintf("headless=%v", headless), func(t *testing.T) {
			api := newAPI(count, headless)
			server := httptest.NewServer(api)
			defer server.Close()
			defer api.close()
			coredns := measure(t, count, corednsCommand(t, dir, server.URL))
			kpng := measure(t, count, kpngCommand(t, dir, server.URL))
			t.Logf("resident memory: coredns %d MiB (peak %d), kpng-dns %d MiB (peak %d): %.2f times", coredns.resident>>20, coredns.peak>>20,
				kpng.resident>>20, kpng.peak>>20, float64(coredns.resident)/float64(kpng.resident))
			t.Logf("of that not pages of the program's file: coredns %d MiB, kpng-dns %d MiB: %.2f times", coredns.own>>20, kpng.own>>20,
				float64(coredns.own)/float64(kpng.own))
			t.Logf("queries per second: coredns %.0f, kpng-dns %.0f: %.2f times", coredns.rate, kpng.rate, kpng.rate/coredns.rate)
			if kpng.resident*3 > coredns.resident {
				t.Errorf("kpng-dns takes more than a third of the memory of CoreDNS")
			}
		})
	}
}

func freePort(t *testing.T) string {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, port, _ := net.SplitHostPort(c.LocalAddr().String())
	return port
}

type command struct {
	cmd     *exec.Cmd
	address string
}

func corednsCommand(t *testing.T, dir, api string) command {
	port := freePort(t)
	file := filepath.Join(dir, "Corefile")
	config := fmt.Sprintf("cluster.local:%s in-addr.arpa:%s {\n bind 127.0.0.1\n errors\n kubernetes cluster.local in-addr.arpa {\n endpoint %s\n }\n}\n", port, port, api)
	config = strings.Replace(config, " bind 127.0.0.1\n", "", 1) // the plugin bind is not compiled in
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return command{exec.Command(filepath.Join(dir, "coredns"), "-conf", file), "127.0.0.1:" + port}
}

func kpngCommand(t *testing.T, dir, api string) command {
	address := "127.0.0.1:" + freePort(t)
	file := filepath.Join(dir, "kubeconfig")
	config := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "c", "cluster": {"server": %q}}],
"contexts": [{"name": "c", "context": {"cluster": "c"}}]}`, api)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return command{exec.Command(filepath.Join(dir, "kpng-dns"), "run", "--kubeconfig", file, "--from", "kube", "--to", "dns:"+address), address}
}

type figures struct {
	resident, peak uint64
	own            uint64 // of resident, without pages of files, which the kernel can drop and share
	rate           float64
}

// measure runs a program until it answers for all Services.
func measure(t *testing.T, count int, c command) (f figures) {
	var log strings.Builder
	c.cmd.Stderr, c.cmd.Stdout = &log, &log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}()
	client := dns.Client{Timeout: time.Second}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		q := new(dns.Msg)
		q.SetQuestion(serviceName(count-1), dns.TypeA)
		if response, _, err := client.Exchange(q, c.address); err == nil && len(response.Answer) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no answer from %s:\n%s", c.cmd.Path, log.String())
		}
	}
	time.Sleep(settle)
	f.resident, f.peak = memory(t, c.cmd.Process.Pid, "VmRSS:"), memory(t, c.cmd.Process.Pid, "VmHWM:")
	f.own = memory(t, c.cmd.Process.Pid, "RssAnon:")
	f.rate = rate(c.address, count)
	return f
}

// rate returns the queries for A records that are answered per second.
func rate(address string, count int) float64 {
	var answered atomic.Int64
	var running sync.WaitGroup
	end := time.Now().Add(load)
	for worker := range 8 {
		running.Go(func() {
			conn, err := dns.Dial("udp", address)
			if err != nil {
				return
			}
			defer conn.Close()
			for i := worker; time.Now().Before(end); i += 7 {
				q := new(dns.Msg)
				q.SetQuestion(serviceName(i%count), dns.TypeA)
				_ = conn.SetDeadline(time.Now().Add(time.Second))
				if conn.WriteMsg(q) != nil {
					continue
				}
				if response, err := conn.ReadMsg(); err == nil && len(response.Answer) > 0 {
					answered.Add(1)
				}
			}
		})
	}
	running.Wait()
	return float64(answered.Load()) / load.Seconds()
}

func memory(t *testing.T, pid int, field string) uint64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); fields[0] == field {
			kib, _ := strconv.ParseUint(fields[1], 10, 64)
			return kib << 10
		}
	}
	t.Fatalf("no %s", field)
	return 0
}

func namespace(i int) string { return fmt.Sprintf("team-%d", i/servicesPerSpace) }

func serviceName(i int) string {
	return fmt.Sprintf("service-%d.%s.svc.cluster.local.", i, namespace(i))
}

// An api serves lists, and watches that are silent.
type api struct {
	lists map[string]runtime.Object
	ended chan struct{}
}

func newAPI(count int, headless bool) *api {
	services, slices, namespaces := &corev1.ServiceList{}, &discoveryv1.EndpointSliceList{}, &corev1.NamespaceList{}
	for i := range count {
		if i%servicesPerSpace == 0 {
			namespaces.Items = append(namespaces.Items, corev1.Namespace{ObjectMeta: meta("", namespace(i), i)})
		}
		name := fmt.Sprintf("service-%d", i)
		port := corev1.ServicePort{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}
		service := corev1.Service{ObjectMeta: meta(namespace(i), name, i)}
		ip := fmt.Sprintf("10.%d.%d.%d", 96+i>>16, i>>8&255, i&255)
		if headless {
			ip = corev1.ClusterIPNone
		}
		service.Spec = corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{port},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Selector: map[string]string{"app.kubernetes.io/name": name},
		}
		services.Items = append(services.Items, service)
		slices.Items = append(slices.Items, slice(i, name, headless))
	}
	return &api{ended: make(chan struct{}), lists: map[string]runtime.Object{
		"/api/v1/services": services, "/apis/discovery.k8s.io/v1/endpointslices": slices, "/api/v1/namespaces": namespaces,
		"/api/v1/nodes": &corev1.NodeList{}, "/apis/networking.k8s.io/v1/servicecidrs": &networkingv1.ServiceCIDRList{},
	}}
}

func slice(i int, service string, headless bool) discoveryv1.EndpointSlice {
	name, port, protocol := "http", int32(8080), corev1.ProtocolTCP
	s := discoveryv1.EndpointSlice{
		ObjectMeta: meta(namespace(i), service+"-x7f2k", i), AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	s.Labels[discoveryv1.LabelServiceName] = service
	s.Labels[discoveryv1.LabelManagedBy] = "endpointslice-controller.k8s.io"
	if headless {
		s.Labels[corev1.IsHeadlessService] = ""
	}
	for e := range endpointsPerService {
		n := i*endpointsPerService + e
		node, zone := fmt.Sprintf("node-%d", n%500), fmt.Sprintf("zone-%d", n%3)
		pod := fmt.Sprintf("%s-7d4b9c6f58-%05d", service, n)
		yes, no := true, false
		endpoint := discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.%d.%d.%d", 128+n>>16, n>>8&255, n&255)},
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no}, NodeName: &node, Zone: &zone,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: namespace(i), Name: pod, UID: "2f6d3c1e-7a55-4f0b-9f0e-0c9d5a7b1e42"},
		}
		if headless {
			host := fmt.Sprintf("%s-%d", service, e)
			endpoint.Hostname = &host
		}
		s.Endpoints = append(s.Endpoints, endpoint)
	}
	return s
}

// meta returns metadata with what objects of clusters have.
func meta(namespace, name string, i int) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: "9a1c3b5e-1d2f-4c3a-8b7e-6f5d4c3b2a10", ResourceVersion: strconv.Itoa(i + 1), Generation: 1,
		CreationTimestamp: metav1.NewTime(time.Unix(1_700_000_000, 0)),
		Labels:            map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop"},
		Annotations:       map[string]string{"meta.helm.sh/release-name": name},
		ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1",
			FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:labels":{".":{},"f:app.kubernetes.io/name":{}}},"f:spec":{"f:ports":{},"f:selector":{}}}`)},
		}},
	}
}

func (a *api) close() { close(a.ended) }

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	list, ok := a.lists[r.URL.Path]
	query := r.URL.Query()
	switch {
	case r.URL.Path == "/version":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"major": "1", "minor": "36", "gitVersion": "v1.36.0"}`)
	case !ok || query.Get("sendInitialEvents") != "":
		http.Error(w, r.URL.String(), http.StatusBadRequest) // clients list instead
	case query.Get("watch") != "":
		w.Header().Set("Content-Type", r.Header.Get("Accept"))
		w.(http.Flusher).Flush()
		select {
		case <-a.ended:
		case <-r.Context().Done():
		}
	default:
		const protobuf = "application/vnd.kubernetes.protobuf"
		info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), protobuf)
		w.Header().Set("Content-Type", protobuf)
		kinds, _, _ := scheme.Scheme.ObjectKinds(list)
		_ = scheme.Codecs.EncoderForVersion(info.Serializer, kinds[0].GroupVersion()).Encode(list, w)
	}
}
