// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kuberouter_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"example.com/plugins/internal/paths"
	"example.com/plugins/kuberouter"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

const manifest = `
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.10}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: default, name: web}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  ipFamilies: [IPv4]
  externalIPs: [198.51.100.1]
  ports:
  - {protocol: TCP, port: 80, nodePort: 30080}
status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: default, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports:
- {name: "", protocol: TCP, port: 8080}
endpoints:
- {addresses: [10.244.1.1], nodeName: node-1, conditions: {ready: true}}
- {addresses: [10.244.2.1], nodeName: node-2, conditions: {ready: true}}
`

// A table is an IPVS without a kernel. Only Sync calls it.
type table map[kuberouter.Key]kuberouter.IPVSService

func (t table) Set(svc kuberouter.IPVSService) error {
	t[svc.Key] = svc
	return nil
}

func (t table) Delete(key kuberouter.Key) error {
	if _, found := t[key]; !found {
		return fmt.Errorf("no service %v", key)
	}
	delete(t, key)
	return nil
}

// String returns the table as ipvsadm prints it.
func (t table) String() string {
	var b strings.Builder
	for _, key := range slices.SortedFunc(maps.Keys(t), func(a, b kuberouter.Key) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }) {
		svc := t[key]
		fmt.Fprintf(&b, "%v %v %s%v", key.Protocol, key.Addr, svc.Scheduler, svc.Flags)
		if svc.FirewallMark {
			b.WriteString(" fwmark")
		}
		if svc.Hairpin {
			b.WriteString(" hairpin")
		}
		if svc.Timeout > 0 {
			fmt.Fprintf(&b, " persistent %v", svc.Timeout)
		}
		for _, d := range svc.Destinations {
			fmt.Fprintf(&b, " %v=%d", d.Addr, d.Weight)
			if d.Tunnel {
				b.WriteString("(tunnel)")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestProxyReadsSevenAnnotations(t *testing.T) {
	const both, local = " 10.244.1.1:8080=1 10.244.2.1:8080=1\n", " 10.244.1.1:8080=1\n"
	const tunnels = " 10.244.1.1:8080=1(tunnel) 10.244.2.1:8080=1(tunnel)\n"
	const prefix = "kube-router.io/service."
	cases := []struct {
		annotations map[string]string
		want        string
	}{
		{nil, "TCP 10.96.0.10:80 rr[]" + both + "TCP 192.0.2.10:30080 rr[]" + both + "TCP 198.51.100.1:80 rr[]" + both + "TCP 203.0.113.1:80 rr[]" + both},
		{
			map[string]string{prefix + "scheduler": "mh", prefix + "schedflags": "flag-1,flag-2", prefix + "skiplbips": ""},
			"TCP 10.96.0.10:80 mh[flag-1 flag-2]" + both + "TCP 192.0.2.10:30080 mh[flag-1 flag-2]" + both + "TCP 198.51.100.1:80 mh[flag-1 flag-2]" + both,
		},
		{
			map[string]string{prefix + "scheduler": "sh", prefix + "schedflags": "flag-1", prefix + "local": "true"},
			"TCP 10.96.0.10:80 sh[]" + local + "TCP 192.0.2.10:30080 sh[]" + local + "TCP 198.51.100.1:80 sh[]" + local + "TCP 203.0.113.1:80 sh[]" + local,
		},
		{
			map[string]string{prefix + "hairpin": "", prefix + "dsr": "tunnel"},
			"TCP 10.96.0.10:80 rr[] hairpin" + both + "TCP 192.0.2.10:30080 rr[] hairpin" + both +
				"TCP 198.51.100.1:80 rr[] fwmark" + tunnels + "TCP 203.0.113.1:80 rr[] fwmark" + tunnels,
		},
		{
			map[string]string{prefix + "hairpin": "", prefix + "hairpin.externalips": "", prefix + "scheduler": "unknown"},
			"TCP 10.96.0.10:80 rr[] hairpin" + both + "TCP 192.0.2.10:30080 rr[] hairpin" + both +
				"TCP 198.51.100.1:80 rr[] hairpin" + both + "TCP 203.0.113.1:80 rr[] hairpin" + both,
		},
	}
	for _, path := range paths.All() {
		t.Run(path.Name, func(t *testing.T) {
			client, ipvs := paths.Client(t, manifest), table{}
			extend, err := kubeapi.CopyKeys("service:annotation:" + prefix + "*")
			require.NoError(t, err)
			applied := paths.NewStates(kuberouter.New(ipvs), ipvs.String)
			path.Run(t, client, kube.Config{Extend: extend}, nodelocal.MultiNodeConfig{}, applied)
			for _, c := range cases {
				paths.ChangeService(t, client, "web", func(svc *corev1.Service) { svc.Annotations = c.annotations })
				applied.Await(t, c.want)
			}
		})
	}
}

// TestSelectionOfThePort checks that a scheduler that the model has is used without an
// annotation, too.
func TestSelectionOfThePort(t *testing.T) {
	client, ipvs := paths.Client(t, manifest), table{}
	applied := paths.NewStates(kuberouter.New(ipvs), ipvs.String)
	onlyClusterIP := nodelocal.MultiNodeConfig{
		Scope: nodelocal.Scope{FrontendKinds: []localsink.FrontendKind{localsink.KindClusterIP}},
		Policy: func(_ *watchers.Service, port *nodelocal.PolicyPort) error {
			port.Selection = localsink.SelectionLeastConnections
			return nil
		},
	}
	paths.All()[1].Run(t, client, kube.Config{}, onlyClusterIP, applied)
	applied.Await(t, "TCP 10.96.0.10:80 lc[] 10.244.1.1:8080=1 10.244.2.1:8080=1\n")
}

func TestProxyObeysTheLawsOfSinks(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{
		New: func(*testing.T) (localsink.Sink, func() string) {
			ipvs := table{}
			return kuberouter.New(ipvs), ipvs.String
		},
		Unsupported: kuberouter.New(nil).Unsupported(),
		Extensions: []localsink.Extension{ // the other two have an effect only together with these
			{Key: kuberouter.AnnotationDSR, Value: "tunnel"},
			{Key: kuberouter.AnnotationScheduler, Value: "sh"},
			{Key: kuberouter.AnnotationHairpin},
			{Key: kuberouter.AnnotationLocal, Value: "true"},
			{Key: kuberouter.AnnotationSkipLBIPs},
		},
	})
}
