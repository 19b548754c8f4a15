// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package calico_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/plugins/calico"
	"example.com/plugins/internal/paths"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

const manifest = `
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {topology.kubernetes.io/zone: a}}
---
apiVersion: v1
kind: Service
metadata:
  namespace: default
  name: dns
  annotations:
    projectcalico.org/udpConntrackCleanup: terminatingImmediately
    lb.projectcalico.org/external-traffic-strategy: Maglev
    service.kubernetes.io/topology-mode: Auto
    other.example/note: unused
spec:
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, "fd00::10"]
  ipFamilies: [IPv4, IPv6]
  ports:
  - {name: udp, protocol: UDP, port: 53}
  - {name: tcp, protocol: TCP, port: 53}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: default, name: dns-1, labels: {kubernetes.io/service-name: dns}}
addressType: IPv4
ports:
- {name: udp, protocol: UDP, port: 5353}
- {name: tcp, protocol: TCP, port: 5353}
endpoints:
- {addresses: [10.244.2.1], nodeName: node-2, conditions: {ready: true}, hints: {forZones: [{name: a}]}}
- {addresses: [10.244.3.1], nodeName: node-3, conditions: {ready: true}, hints: {forZones: [{name: b}]}}
- {addresses: [10.244.1.1], nodeName: node-1, conditions: {ready: true}, hints: {forZones: [{name: a}]}}
- {addresses: [10.244.1.2], nodeName: node-1, conditions: {ready: false, serving: true, terminating: true}, hints: {forZones: [{name: a}]}}
`

// A syncer writes the entries of Calico's NAT maps for cluster IPs as text. It reads only
// what the getters return, and in the order of Calico's syncer: local endpoints first.
func syncer(state calico.State) (entries []string) {
	for name, svc := range state.Services {
		entry := fmt.Sprintf("%s %s", name.Port, svc)
		if svc.ExcludeService() {
			entry += " excluded"
		}
		if svc.UseMaglev() {
			entry += " maglev"
		}
		var local, remote, drained []string
		for _, ep := range state.Endpoints[name] {
			switch {
			case svc.TopologyMode() == "Auto" && state.NodeZone != "" && !ep.ZoneHints().Has(state.NodeZone):
			case ep.IsTerminating() && !svc.ReapTerminatingUDP():
				drained = append(drained, ep.String()+"(draining)")
			case ep.IsReady() && ep.IsLocal():
				local = append(local, ep.String())
			case ep.IsReady():
				remote = append(remote, ep.String())
			}
		}
		entries = append(entries, entry+" -> "+strings.Join(slices.Concat(local, remote, drained), " "))
	}
	slices.Sort(entries)
	return entries
}

func TestSyncerReadsAnnotations(t *testing.T) {
	for _, path := range paths.All() {
		t.Run(path.Name, func(t *testing.T) {
			client := paths.Client(t, manifest)
			extend, err := kubeapi.CopyKeys("service:annotation:projectcalico.org/*",
				"service:annotation:"+calico.AnnotationStrategy, "service:annotation:"+calico.AnnotationTopologyMode)
			require.NoError(t, err)
			store := path.Store(t, client, kube.Config{Extend: extend})
			source := calico.Source{Node: paths.NodeName, Family: watchers.FamilyIPv4}
			await := func(want ...string) {
				t.Helper()
				slices.Sort(want)
				var got []string
				defer func() {
					if t.Failed() {
						t.Logf("want %q, got %q", want, got)
					}
				}()
				paths.Await(t, store, func(snapshot watchers.Snapshot) bool {
					got = syncer(source.State(snapshot))
					return slices.Equal(want, got)
				})
			}
			await("udp 10.96.0.10:53/UDP maglev -> 10.244.1.1:5353 10.244.2.1:5353",
				"tcp 10.96.0.10:53/TCP maglev -> 10.244.1.1:5353 10.244.2.1:5353 10.244.1.2:5353(draining)")
			annotate := func(annotations map[string]string) {
				paths.ChangeService(t, client, "dns", func(svc *corev1.Service) { svc.Annotations = annotations })
			}
			annotate(map[string]string{calico.AnnotationTopologyMode: "Disabled"})
			await("udp 10.96.0.10:53/UDP -> 10.244.1.1:5353 10.244.2.1:5353 10.244.3.1:5353 10.244.1.2:5353(draining)",
				"tcp 10.96.0.10:53/TCP -> 10.244.1.1:5353 10.244.2.1:5353 10.244.3.1:5353 10.244.1.2:5353(draining)")
			annotate(map[string]string{calico.AnnotationExclude: "true", calico.AnnotationStrategy: "maglev"})
			await("udp 10.96.0.10:53/UDP excluded -> 10.244.1.1:5353 10.244.2.1:5353 10.244.3.1:5353 10.244.1.2:5353(draining)",
				"tcp 10.96.0.10:53/TCP excluded -> 10.244.1.1:5353 10.244.2.1:5353 10.244.3.1:5353 10.244.1.2:5353(draining)")
		})
	}
}

func TestOtherFamilyHasItsOwnMaps(t *testing.T) {
	path := paths.All()[0]
	store := path.Store(t, paths.Client(t, manifest), kube.Config{})
	snapshot := paths.Await(t, store, func(s watchers.Snapshot) bool {
		return s.Service(watchers.ServiceName{Namespace: "default", Name: "dns"}) != nil
	})
	state := calico.Source{Node: paths.NodeName, Family: watchers.FamilyIPv6}.State(snapshot)
	require.Equal(t, []string{"tcp fd00::10:53/TCP -> ", "udp fd00::10:53/UDP -> "}, syncer(state))
}
