// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// External addresses of the testbed are from the ranges for documentation. Those of pods
// and Services look like those of many clusters.

// addr returns address i of a range, given by its IPv4 and its IPv6 prefix.
func (v variant) addr(v4, v6 string, i int) netip.Addr {
	if v.v6 {
		return netip.MustParseAddr(fmt.Sprintf("%s%x", v6, i))
	}
	return netip.MustParseAddr(fmt.Sprintf("%s%d", v4, i))
}

// The external network: the node's addresses, of which NodePortAddresses holds all but
// excludedNodeAddr, and those of the clients.
func (v variant) nodeAddr() netip.Addr         { return v.addr("192.0.2.", "2001:db8:1::", 1) }
func (v variant) secondNodeAddr() netip.Addr   { return v.addr("192.0.2.", "2001:db8:1::", 78) }
func (v variant) excludedNodeAddr() netip.Addr { return v.addr("192.0.2.", "2001:db8:1::", 77) }
func (v variant) clientAddr(i int) netip.Addr  { return v.addr("192.0.2.", "2001:db8:1::", 100+i) }

// manyClients is a network whose addresses are all external clients.
func (v variant) manyClients() netip.Prefix {
	return prefix(v.addr("10.250.0.", "fd00:250::", 0), 16, 64)
}

// manyClientAddr returns client i of that network.
func (v variant) manyClientAddr(i int) netip.Addr {
	if v.v6 {
		return v.addr("", "fd00:250::", i+1)
	}
	return v.addr(fmt.Sprintf("10.250.%d.", i/250), "", i%250+1)
}

func (v variant) loopback() netip.Addr { return v.addr("127.0.0.", "::", 1) }

// Pods of the node: endpoints, and one that is only a client.
func (v variant) podGateway() netip.Addr      { return v.addr("10.244.0.", "fd00:244::", 1) }
func (v variant) podAddr(i int) netip.Addr    { return v.addr("10.244.0.", "fd00:244::", 10+i) }
func (v variant) callerGateway() netip.Addr   { return v.addr("10.244.1.", "fd00:244:1::", 1) }
func (v variant) callerAddr() netip.Addr      { return v.addr("10.244.1.", "fd00:244:1::", 2) }
func (v variant) podNetwork() netip.Prefix    { return prefix(v.podGateway(), 16, 32) }
func (v variant) remoteAddr(i int) netip.Addr { return v.addr("10.245.0.", "fd00:245::", 10+i) }

// The remote node.
func (v variant) remoteGateway() netip.Addr  { return v.addr("192.0.3.", "2001:db8:3::", 1) }
func (v variant) remoteNodeAddr() netip.Addr { return v.addr("192.0.3.", "2001:db8:3::", 2) }

// Another remote node, with a pod that is only a client.
func (v variant) otherNodeGateway() netip.Addr { return v.addr("192.0.4.", "2001:db8:4::", 1) }
func (v variant) otherNodeAddr() netip.Addr    { return v.addr("192.0.4.", "2001:db8:4::", 2) }
func (v variant) otherNodePod() netip.Addr     { return v.addr("10.246.0.", "fd00:246::", 2) }

func (v variant) clusterIP(i int) netip.Addr      { return v.addr("10.96.0.", "fd00:96::", i) }
func (v variant) externalIP(i int) netip.Addr     { return v.addr("198.51.100.", "2001:db8:51::", i) }
func (v variant) loadBalancerIP(i int) netip.Addr { return v.addr("203.0.113.", "2001:db8:113::", i) }

// prefix returns the network of a, with bits4 or bits6 bits.
func prefix(a netip.Addr, bits4, bits6 int) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(a, bits4).Masked()
	}
	return netip.PrefixFrom(a, bits6).Masked()
}

// targetPort returns the port on which endpoints listen. It differs by protocol, so that a
// backend that confuses protocols fails.
func (v variant) targetPort() uint16 {
	switch v.protocol {
	case localsink.ProtocolUDP:
		return 8081
	case localsink.ProtocolSCTP:
		return 8082
	case localsink.ProtocolTCP:
	}
	return 8080
}

// otherPort returns a second port on which the pods of the node listen.
func (v variant) otherPort() uint16 { return v.targetPort() + 1000 }

// podEndpoint, remoteEndpoint and nodeEndpoint return endpoints on a pod of the node, on a
// remote pod, and on the node itself.
func (v variant) podEndpoint(i int) localsink.Endpoint {
	return localsink.Endpoint{Addr: netip.AddrPortFrom(v.podAddr(i), v.targetPort()), Local: true, Weight: 1}
}

func (v variant) remoteEndpoint(i int) localsink.Endpoint {
	return localsink.Endpoint{Addr: netip.AddrPortFrom(v.remoteAddr(i), v.targetPort()), Weight: 1}
}

func (v variant) nodeEndpoint() localsink.Endpoint {
	return localsink.Endpoint{Addr: netip.AddrPortFrom(v.nodeAddr(), v.targetPort()), Local: true, Weight: 1}
}

// The numbers of addresses of each kind.
const (
	podCount    = 8
	remoteCount = 4
	clientCount = 8
)

// nodePort returns the number of node port i.
func nodePort(i int) uint16 { return uint16(30000 + i) }

// frontend returns frontend i of a kind. Without routes, all clients use the first pool.
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

// destinations returns the addresses at which clients reach a frontend.
func (v variant) destinations(fe localsink.Frontend) []netip.AddrPort {
	if fe.Kind != localsink.KindNodePort {
		return []netip.AddrPort{fe.Addr}
	}
	return []netip.AddrPort{
		netip.AddrPortFrom(v.nodeAddr(), fe.Addr.Port()),
		netip.AddrPortFrom(v.secondNodeAddr(), fe.Addr.Port()),
	}
}

// destinationsOf returns the addresses at which clients reach the frontends.
func (v variant) destinationsOf(frontends ...localsink.Frontend) []netip.AddrPort {
	var all []netip.AddrPort
	for _, fe := range frontends {
		all = append(all, v.destinations(fe)...)
	}
	return all
}

// kinds returns all kinds of frontends.
func kinds() []localsink.FrontendKind {
	return []localsink.FrontendKind{localsink.KindClusterIP, localsink.KindNodePort, localsink.KindExternalIP, localsink.KindLoadBalancer}
}

// kindFeature returns the feature that a kind of frontend needs.
func kindFeature(k localsink.FrontendKind) localsink.Features {
	switch k {
	case localsink.KindClusterIP:
		return localsink.FeatureClusterIP
	case localsink.KindNodePort:
		return localsink.FeatureNodePort
	case localsink.KindExternalIP:
		return localsink.FeatureExternalIP
	case localsink.KindLoadBalancer:
	}
	return localsink.FeatureLoadBalancer
}

// newPool returns a pool with its endpoints in the order of the contract.
func newPool(endpoints ...localsink.Endpoint) localsink.Pool {
	return localsink.Pool{Endpoints: sorted(endpoints)}
}

// onePool returns the pools of a port with one pool.
func onePool(endpoints ...localsink.Endpoint) []localsink.Pool {
	return []localsink.Pool{newPool(endpoints...)}
}

func poolList(all ...localsink.Pool) []localsink.Pool { return all }

func sorted(endpoints []localsink.Endpoint) []localsink.Endpoint {
	return slices.SortedFunc(slices.Values(endpoints), func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
}
