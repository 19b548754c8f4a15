// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// The addresses of the world are from the ranges for documentation, and those of pods
// and Services are like those of many clusters.

func (v variant) addr(v4 string, v6 string, i int) netip.Addr {
	if v.v6 {
		return netip.MustParseAddr(fmt.Sprintf("%s%x", v6, i))
	}
	return netip.MustParseAddr(fmt.Sprintf("%s%d", v4, i))
}

// What is outside: the node's addresses there, of which all but one are permitted for
// node ports, and the clients'.
func (v variant) nodeAddr() netip.Addr        { return v.addr("192.0.2.", "2001:db8:1::", 1) }
func (v variant) secondNodeAddr() netip.Addr      { return v.addr("192.0.2.", "2001:db8:1::", 78) }
func (v variant) excludedNodeAddr() netip.Addr   { return v.addr("192.0.2.", "2001:db8:1::", 77) }
func (v variant) clientAddr(i int) netip.Addr { return v.addr("192.0.2.", "2001:db8:1::", 100+i) }

func (v variant) loopback() netip.Addr { return v.addr("127.0.0.", "::", 1) }

// Pods of this node: endpoints, and one that only calls.
func (v variant) podGateway() netip.Addr      { return v.addr("10.244.0.", "fd00:244::", 1) }
func (v variant) podAddr(i int) netip.Addr    { return v.addr("10.244.0.", "fd00:244::", 10+i) }
func (v variant) callerGateway() netip.Addr     { return v.addr("10.244.1.", "fd00:244:1::", 1) }
func (v variant) callerAddr() netip.Addr      { return v.addr("10.244.1.", "fd00:244:1::", 2) }
func (v variant) podNetwork() netip.Prefix    { return prefix(v.podGateway(), 16, 32) }
func (v variant) remoteAddr(i int) netip.Addr { return v.addr("10.245.0.", "fd00:245::", 10+i) }

// The remote node.
func (v variant) remoteGateway() netip.Addr { return v.addr("192.0.3.", "2001:db8:3::", 1) }
func (v variant) remoteNodeAddr() netip.Addr    { return v.addr("192.0.3.", "2001:db8:3::", 2) }

// A pod of yet another node, that only calls.
func (v variant) otherNodeGateway() netip.Addr { return v.addr("192.0.4.", "2001:db8:4::", 1) }
func (v variant) otherNodeAddr() netip.Addr    { return v.addr("192.0.4.", "2001:db8:4::", 2) }
func (v variant) otherNodePod() netip.Addr     { return v.addr("10.246.0.", "fd00:246::", 2) }

func (v variant) clusterIP(i int) netip.Addr  { return v.addr("10.96.0.", "fd00:96::", i) }
func (v variant) externalIP(i int) netip.Addr { return v.addr("198.51.100.", "2001:db8:51::", i) }
func (v variant) loadBalancerIP(i int) netip.Addr { return v.addr("203.0.113.", "2001:db8:113::", i) }

func prefix(a netip.Addr, bits4, bits6 int) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(a, bits4).Masked()
	}
	return netip.PrefixFrom(a, bits6).Masked()
}

// targetPort is where endpoints listen: another port for each protocol, so that no
// mistake about protocols goes unseen.
func (v variant) targetPort() uint16 {
	switch v.protocol {
	case localsink.ProtocolUDP:
		return 8081
	case localsink.ProtocolSCTP:
		return 8082
	}
	return 8080
}

// otherPort is a second port at which the pods of this node listen.
func (v variant) otherPort() uint16 { return v.targetPort() + 1000 }

// podEndpoint, remote and host are endpoints.
func (v variant) podEndpoint(i int) localsink.Endpoint {
	return localsink.Endpoint{Addr: netip.AddrPortFrom(v.podAddr(i), v.targetPort()), Local: true}
}

func (v variant) remoteEndpoint(i int) localsink.Endpoint {
	return localsink.Endpoint{Addr: netip.AddrPortFrom(v.remoteAddr(i), v.targetPort())}
}

func (v variant) nodeEndpoint() localsink.Endpoint {
	return localsink.Endpoint{Addr: netip.AddrPortFrom(v.nodeAddr(), v.targetPort()), Local: true}
}

// How many of each there are.
const (
	podCount    = 8
	remoteCount = 4
	clientCount = 8
)

func nodePort(i int) uint16 { return uint16(30000 + i) }

// frontend returns frontend i of a kind: at most one of each kind and number. Without
// routes, everybody goes to the first pool.
func (v variant) frontend(kind localsink.FrontendKind, i int, routes ...localsink.Route) localsink.Frontend {
	if routes == nil {
		routes = []localsink.Route{{}}
	}
	fe := localsink.Frontend{Kind: kind, Routes: routes}
	switch kind {
	case localsink.KindClusterIP:
		fe.Addr = netip.AddrPortFrom(v.clusterIP(i), 80)
	case localsink.KindExternalIP:
		fe.Addr = netip.AddrPortFrom(v.externalIP(i), 80)
	case localsink.KindLoadBalancer:
		fe.Addr = netip.AddrPortFrom(v.loadBalancerIP(i), 80)
	case localsink.KindNodePort:
		fe.Addr = netip.AddrPortFrom(netip.IPv4Unspecified(), nodePort(i))
		if v.v6 {
			fe.Addr = netip.AddrPortFrom(netip.IPv6Unspecified(), nodePort(i))
		}
	}
	return fe
}

// destinations returns what clients dial to reach a frontend.
func (v variant) destinations(fe localsink.Frontend) []netip.AddrPort {
	if fe.Kind != localsink.KindNodePort {
		return []netip.AddrPort{fe.Addr}
	}
	return []netip.AddrPort{
		netip.AddrPortFrom(v.nodeAddr(), fe.Addr.Port()),
		netip.AddrPortFrom(v.secondNodeAddr(), fe.Addr.Port()),
	}
}

// destinationsOf returns what clients dial to reach some frontends.
func (v variant) destinationsOf(fronts ...localsink.Frontend) []netip.AddrPort {
	var all []netip.AddrPort
	for _, fe := range fronts {
		all = append(all, v.destinations(fe)...)
	}
	return all
}

// kinds are the kinds of frontends with the features that they take.
func kinds() []localsink.FrontendKind {
	return []localsink.FrontendKind{localsink.KindClusterIP, localsink.KindNodePort, localsink.KindExternalIP, localsink.KindLoadBalancer}
}

func kindFeature(k localsink.FrontendKind) localsink.Features {
	switch k {
	case localsink.KindClusterIP:
		return localsink.FeatureClusterIP
	case localsink.KindNodePort:
		return localsink.FeatureNodePort
	case localsink.KindExternalIP:
		return localsink.FeatureExternalIP
	}
	return localsink.FeatureLoadBalancer
}

// newPool returns a pool in the order of the contract.
func newPool(endpoints ...localsink.Endpoint) localsink.Pool {
	return localsink.Pool{Endpoints: sorted(endpoints)}
}

func poolList(all ...localsink.Pool) []localsink.Pool { return all }

func sorted(endpoints []localsink.Endpoint) []localsink.Endpoint {
	return slices.SortedFunc(slices.Values(endpoints), func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
}
