// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/backends/hns"
	"sigs.k8s.io/kpng/backends/hns/hnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/dataplane"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxyconfig"
)

// fakeHNS returns a node with an L2 bridge network and the pod 10.244.0.4.
func fakeHNS() *hnstest.Fake {
	f := hnstest.New(hnstest.Config{Network: hns.Network{Name: "cbr0", Type: hns.TypeL2Bridge}, Features: hnstest.AllFeatures()})
	f.AddLocalEndpoints(netip.MustParseAddr("10.244.0.4"))
	return f
}

// cluster returns a Service with an endpoint on this node and one on another, and the node.
func cluster() *fake.Clientset {
	meta := metav1.ObjectMeta{Namespace: "default", Name: "web"}
	slice := meta
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
	node1, node2, port, name := "node-1", "node-2", int32(8080), ""
	return fake.NewClientset(
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.10"}}}},
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIP: "10.96.0.10", ClusterIPs: []string{"10.96.0.10"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			Ports:                 []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080}},
		}},
		&discoveryv1.EndpointSlice{
			ObjectMeta: slice, AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.4"}, NodeName: &node1}, {Addresses: []string{"10.244.1.7"}, NodeName: &node2}},
		})
}

// TestProxyProgramsHNS runs the whole program on any system: flags, watches, resolution and backend,
// with a fake API server and a fake HNS.
func TestProxyProgramsHNS(t *testing.T) {
	f := fakeHNS()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	h := host{client: cluster(), open: func() (hns.HNS, func() error, error) { return f, func() error { return nil }, nil }}
	var stderr strings.Builder
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{
			"--proxy-mode=kernelspace", "--network-name=cbr0", "--enable-dsr", "--hostname-override=node-1", "--cluster-cidr=10.244.0.0/16",
			"--healthz-bind-address=127.0.0.1:41256", "--metrics-bind-address=127.0.0.1:41249", // one in use is tried again
		}, new(strings.Builder), &stderr, h)
	}()
	want := strings.Join([]string{
		"TCP 0.0.0.0:30080 -> 8080 [10.244.0.4] LocalRoutedVIP VIPExternalIP DSR",
		"TCP 10.96.0.10:80 -> 8080 [10.244.0.4 10.244.1.7] DSR",
		"remote 10.244.1.7 mac=02-11-0a-f4-01-07",
	}, "\n")
	for ends := time.After(30 * time.Second); f.Describe() != want; {
		select {
		case err := <-done:
			t.Fatalf("the proxy ended: %v\n%s", err, stderr.String())
		case <-ends:
			stop()
			t.Fatalf("end: %v; HNS has:\n%s\nlog:\n%s", <-done, f.Describe(), stderr.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	require.NoError(t, <-done, stderr.String())
	require.Equal(t, want, f.Describe(), "load balancers stay")

	require.NoError(t, run(t.Context(), []string{"--cleanup", "--network-name=cbr0", "--hostname-override=node-1"}, new(strings.Builder), new(strings.Builder), h))
	require.Empty(t, f.Describe())
}

// TestNodeWithoutHNS checks that such a node gets the userspace proxy.
func TestNodeWithoutHNS(t *testing.T) {
	options, err := kubeproxyconfig.ParseFor(pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError),
		[]string{"--proxy-mode=kernelspace", "--network-name=cbr0", "--hostname-override=node-1"}, "windows")
	require.NoError(t, err)
	settings, err := options.Load()
	require.NoError(t, err)
	for openErr, want := range map[error]string{
		fmt.Errorf("HNS requires Windows: %w", errors.ErrUnsupported): dataplane.ModeUserspace,
		errors.New("HNS: access is denied"):                           "",
	} {
		var log strings.Builder
		h := host{open: func() (hns.HNS, func() error, error) { return nil, nil, openErr }}
		backend, closeHNS, err := newBackend(settings, h, slog.New(slog.NewTextHandler(&log, nil)))
		if want == "" {
			require.ErrorIs(t, err, openErr, "another failure is not a missing HNS")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, backend.Mode)
		require.Nil(t, backend.Takeover)
		require.Contains(t, log.String(), "Proxy mode not available, using userspace")
		require.NoError(t, backend.Rules.Sync(t.Context(), sinktest.NewUpdate(&localsink.Node{Name: "node-1"}, nil, sinktest.NewState())))
		require.NoError(t, errors.Join(backend.Close(), closeHNS()))
	}
}

func TestInvalidCommandLines(t *testing.T) {
	for want, args := range map[string][]string{
		"must be one of kernelspace": {"--proxy-mode=iptables"}, "unknown flag": {"--no-such-flag"},
		"--network-name, KUBE_NETWORK": {"--cleanup"}, "--init-only": {"--init-only"},
	} {
		var stderr strings.Builder
		err := run(t.Context(), append(args, "--hostname-override=node-1"), new(strings.Builder), &stderr, host{open: openHNS})
		require.ErrorContains(t, err, want)
		require.Equal(t, 1, command.ExitCode("kube-proxy", err, &stderr), args)
	}
	var help strings.Builder
	require.ErrorIs(t, run(t.Context(), []string{"--help"}, &help, new(strings.Builder), host{}), flag.ErrHelp)
	require.Contains(t, help.String(), "--network-name")
}

// TestManifest checks that the program accepts the configuration file of the DaemonSet.
func TestManifest(t *testing.T) {
	data, err := os.ReadFile("../../deploy/kube-proxy/windows.yaml")
	require.NoError(t, err)
	var config corev1.ConfigMap
	first, rest, found := strings.Cut(string(data), "\n---\n")
	require.True(t, found)
	require.NoError(t, yaml.UnmarshalStrict([]byte(first), &config))
	var set appsv1.DaemonSet
	require.NoError(t, yaml.UnmarshalStrict([]byte(rest), &set))
	require.True(t, *set.Spec.Template.Spec.SecurityContext.WindowsOptions.HostProcess)
	require.Equal(t, config.Name, set.Spec.Template.Spec.Volumes[0].ConfigMap.Name)
	dir := t.TempDir()
	file, written := filepath.Join(dir, "config.conf"), filepath.Join(dir, "written")
	require.NoError(t, os.WriteFile(file, []byte(config.Data["config.conf"]), 0o600))
	var stderr strings.Builder
	require.NoError(t, run(t.Context(), []string{"--config=" + file, "--write-config-to=" + written, "--hostname-override=node-1"}, new(strings.Builder), &stderr, host{}))
	require.Empty(t, stderr.String(), "no unknown field")
	complete, err := os.ReadFile(written)
	require.NoError(t, err)
	require.Contains(t, string(complete), "networkName: cbr0")
}
