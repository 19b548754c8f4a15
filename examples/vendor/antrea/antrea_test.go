// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package antrea_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"example.com/plugins/antrea"
	"example.com/plugins/internal/paths"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

const manifest = `
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.10}, {type: InternalIP, address: "2001:db8::10"}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: default, name: web, annotations: {multicluster.antrea.io/imported-service: "true"}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  healthCheckNodePort: 32000
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, "fd00::10"]
  ipFamilies: [IPv4, IPv6]
  externalIPs: [198.51.100.1]
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 86400}}
  ports:
  - {protocol: TCP, port: 80, nodePort: 30080}
status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}
---
apiVersion: v1
kind: Service
metadata: {namespace: kube-system, name: dns}
spec: {clusterIP: 10.96.0.53, clusterIPs: [10.96.0.53], ipFamilies: [IPv4], ports: [{protocol: UDP, port: 53}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: default, name: kubernetes}
spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ipFamilies: [IPv4], ports: [{protocol: TCP, port: 443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: default, name: web-4, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports:
- {name: "", protocol: TCP, port: 8080}
endpoints:
- {addresses: [10.244.1.1], nodeName: node-1, conditions: {ready: true}}
- {addresses: [10.244.2.1], nodeName: node-2, conditions: {ready: true}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: default, name: web-6, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports:
- {name: "", protocol: TCP, port: 8080}
endpoints:
- {addresses: ["fd01::1"], nodeName: node-2, conditions: {ready: true}}
`

// An ovs is a switch without a kernel. Only Sync calls it.
type ovs struct {
	groups map[uint32]string
	flows  map[netip.AddrPort]map[localsink.Protocol]antrea.ServiceConfig
}

func newOVS() *ovs {
	return &ovs{map[uint32]string{}, map[netip.AddrPort]map[localsink.Protocol]antrea.ServiceConfig{}}
}

func (o *ovs) InstallServiceGroup(id uint32, withAffinity bool, endpoints []localsink.Endpoint) error {
	var list []string
	for _, ep := range endpoints {
		list = append(list, ep.Addr.String())
	}
	if withAffinity {
		list = append(list, "affinity")
	}
	o.groups[id] = fmt.Sprint(list)
	return nil
}

func (o *ovs) UninstallServiceGroup(id uint32) error {
	for _, flow := range o.all() {
		if flow.ClusterGroup == id || flow.LocalGroup == id {
			return fmt.Errorf("group %d has flow %v", id, flow.Addr)
		}
	}
	if _, found := o.groups[id]; !found {
		return fmt.Errorf("no group %d", id)
	}
	delete(o.groups, id)
	return nil
}

func (o *ovs) InstallServiceFlows(cfg antrea.ServiceConfig) error {
	if _, found := o.flows[cfg.Addr][cfg.Protocol]; found {
		return fmt.Errorf("%v %v has a flow", cfg.Protocol, cfg.Addr)
	}
	if o.groups[cfg.ClusterGroup] == "" || o.groups[cfg.LocalGroup] == "" {
		return fmt.Errorf("flow %v has no group", cfg)
	}
	if o.flows[cfg.Addr] == nil {
		o.flows[cfg.Addr] = map[localsink.Protocol]antrea.ServiceConfig{}
	}
	o.flows[cfg.Addr][cfg.Protocol] = cfg
	return nil
}

func (o *ovs) UninstallServiceFlows(addr netip.AddrPort, protocol localsink.Protocol) error {
	if _, found := o.flows[addr][protocol]; !found {
		return fmt.Errorf("%v %v has no flow", protocol, addr)
	}
	delete(o.flows[addr], protocol)
	return nil
}

func (o *ovs) all() (flows []antrea.ServiceConfig) {
	for _, addr := range slices.SortedFunc(maps.Keys(o.flows), netip.AddrPort.Compare) {
		for _, protocol := range slices.Sorted(maps.Keys(o.flows[addr])) {
			flows = append(flows, o.flows[addr][protocol])
		}
	}
	return flows
}

// String returns the flows with the endpoints of their groups, and the number of groups.
func (o *ovs) String() string {
	var b strings.Builder
	used := map[uint32]bool{}
	for _, flow := range o.all() {
		fmt.Fprintf(&b, "%v %v", flow.Protocol, flow.Addr)
		for _, word := range []struct {
			text string
			set  bool
		}{
			{" external", flow.IsExternal},
			{" node port", flow.IsNodePort},
			{" nested", flow.IsNested},
			{" dsr", flow.IsDSR},
			{fmt.Sprint(" timeout ", flow.AffinityTimeout), flow.AffinityTimeout > 0},
		} {
			if word.set {
				b.WriteString(word.text)
			}
		}
		fmt.Fprint(&b, " cluster", o.groups[flow.ClusterGroup])
		if flow.LocalGroup != flow.ClusterGroup {
			fmt.Fprint(&b, " local", o.groups[flow.LocalGroup])
		}
		used[flow.ClusterGroup], used[flow.LocalGroup] = true, true
		b.WriteString("\n")
	}
	if unused := len(o.groups) - len(used); unused > 0 {
		fmt.Fprintf(&b, "%d unused groups\n", unused)
	}
	return b.String()
}

func TestProxiersReadAnnotations(t *testing.T) {
	skip := []string{"kube-system/dns", "10.96.0.1"}
	const both, local = "[10.244.1.1:8080 10.244.2.1:8080 affinity]", "[10.244.1.1:8080 affinity]"
	for _, path := range paths.All() {
		t.Run(path.Name, func(t *testing.T) {
			client := paths.Client(t, manifest)
			extend, err := kubeapi.CopyKeys("service:annotation:"+antrea.AnnotationLoadBalancerMode, "service:annotation:"+antrea.AnnotationImported)
			require.NoError(t, err)
			run := func(family watchers.IPFamily, o antrea.Options) *paths.States {
				flows := newOVS()
				applied := paths.NewStates(noProblems(t, antrea.New(flows, o)), flows.String)
				path.Run(t, client, kube.Config{Extend: extend}, antrea.ResolverConfig(family, o), applied)
				return applied
			}
			v4 := run(watchers.FamilyIPv4, antrea.Options{SkipServices: skip})
			v6 := run(watchers.FamilyIPv6, antrea.Options{SkipServices: skip})
			all := run(watchers.FamilyIPv4, antrea.Options{SkipServices: skip, ProxyAll: true, DSR: true})

			v4.Await(t, "TCP 10.96.0.10:80 nested timeout 65535 cluster"+both+"\n"+
				"TCP 203.0.113.1:80 external timeout 65535 cluster"+both+" local"+local+"\n")
			v6.Await(t, "TCP [fd00::10]:80 nested timeout 65535 cluster[[fd01::1]:8080 affinity]\n")
			all.Await(t, "TCP 0.0.0.0:30080 external node port timeout 65535 cluster"+both+" local"+local+"\n"+
				"TCP 10.96.0.10:80 nested timeout 65535 cluster"+both+"\n"+
				"TCP 198.51.100.1:80 external dsr timeout 65535 cluster"+both+" local"+local+"\n"+
				"TCP 203.0.113.1:80 external dsr timeout 65535 cluster"+both+" local"+local+"\n")

			paths.ChangeService(t, client, "web", func(svc *corev1.Service) {
				svc.Annotations = map[string]string{antrea.AnnotationLoadBalancerMode: "dsr"}
				svc.Spec.SessionAffinity, svc.Spec.SessionAffinityConfig = corev1.ServiceAffinityNone, nil
			})
			v4.Await(t, "TCP 10.96.0.10:80 cluster[10.244.1.1:8080 10.244.2.1:8080]\n"+
				"TCP 203.0.113.1:80 external dsr cluster[10.244.1.1:8080 10.244.2.1:8080] local[10.244.1.1:8080]\n")
			v6.Await(t, "TCP [fd00::10]:80 cluster[[fd01::1]:8080]\n")
		})
	}
}

// noProblems returns a sink around another that fails the test when a Service has a Problem:
// what an agent does not serve on purpose must not fill the log with one line per Service.
func noProblems(t *testing.T, sink localsink.Sink) localsink.Sink {
	return localsink.Tee(sink, localsink.Func(func(_ context.Context, u *localsink.Update) error {
		for svc := range u.All.All() {
			if len(svc.Problems) > 0 {
				t.Errorf("%s: %v", svc.Name, svc.Problems)
			}
		}
		return nil
	}))
}

func TestProxierObeysTheLawsOfSinks(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{
		New: func(*testing.T) (localsink.Sink, func() string) {
			flows := newOVS()
			return antrea.New(flows, antrea.Options{ProxyAll: true}), flows.String
		},
		Unsupported: antrea.New(nil, antrea.Options{}).Unsupported(),
		Extensions:  []localsink.Extension{{Key: antrea.AnnotationLoadBalancerMode, Value: "dsr"}, {Key: antrea.AnnotationImported, Value: "true"}},
	})
}
