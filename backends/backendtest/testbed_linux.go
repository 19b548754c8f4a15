// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A testbed is a node, its pods, two remote nodes with pods, and external clients, each in a
// network namespace. The node routes between all of them.
type testbed struct {
	node      *netnstest.Namespace
	pods      *netnstest.Namespace // endpoints on the node
	clientPod *netnstest.Namespace // a pod on the node that is only a client
	remote    *netnstest.Namespace // a remote node with endpoints
	otherNode *netnstest.Namespace // a remote node with a pod that is only a client
	clients   *netnstest.Namespace
	servers   *servers
	ports     *clientPorts
	limits    TimeLimits
}

// nodeNamespace implements NodeNamespace.
type nodeNamespace struct {
	*netnstest.Namespace
	pods []Namespace
}

func (n nodeNamespace) LocalPods() []Namespace { return n.pods }

// nodeNamespace returns the namespace of the node for a sink.
func (b *testbed) nodeNamespace() NodeNamespace {
	return nodeNamespace{b.node, []Namespace{b.pods, b.clientPod}}
}

// clientPorts allocates source ports. They repeat after 32,000 connections.
type clientPorts struct{ used atomic.Uint32 }

func (c *clientPorts) next() uint16 { return uint16(33000 + c.used.Add(1)%32000) }

func newTestbed(t testing.TB, limits TimeLimits) *testbed {
	b := &testbed{ports: &clientPorts{}, limits: limits}
	for _, ns := range []**netnstest.Namespace{&b.node, &b.pods, &b.clientPod, &b.remote, &b.otherNode, &b.clients} {
		*ns = netnstest.New(t)
	}
	b.clients.Sysctl("net/ipv6/ip_nonlocal_bind", "1") // for manyClients, which no interface has
	b.node.Sysctl("net/ipv4/ip_forward", "1")
	b.node.Sysctl("net/ipv6/conf/all/forwarding", "1")
	netnstest.Link(b.node, "outside", b.clients, "eth0")
	netnstest.Link(b.node, "pods0", b.pods, "eth0")
	netnstest.Link(b.node, "pods1", b.clientPod, "eth0")
	netnstest.Link(b.node, "remote", b.remote, "eth0")
	netnstest.Link(b.node, "far", b.otherNode, "eth0")
	for _, v := range []variant{{v6: false}, {v6: true}} {
		b.addAddresses(v)
	}
	b.servers = &servers{}
	t.Cleanup(b.servers.close)
	return b
}

// addAddresses configures the addresses and routes of one family.
func (b *testbed) addAddresses(v variant) {
	in := func(addrs ...netip.Addr) []string {
		var all []string
		for _, a := range addrs {
			all = append(all, netip.PrefixFrom(a, prefix(a, 24, 64).Bits()).String())
		}
		return all
	}
	each := func(n int, f func(int) netip.Addr) []netip.Addr {
		var all []netip.Addr
		for i := range n {
			all = append(all, f(i))
		}
		return all
	}
	all := prefix(netip.IPv4Unspecified(), 0, 0).String()
	if v.v6 {
		all = prefix(netip.IPv6Unspecified(), 0, 0).String()
	}
	b.node.Address("outside", in(v.nodeAddr(), v.secondNodeAddr(), v.excludedNodeAddr())...)
	b.node.Address("pods0", in(v.podGateway())...)
	b.node.Address("pods1", in(v.callerGateway())...)
	b.node.Address("remote", in(v.remoteGateway())...)
	b.node.Address("far", in(v.otherNodeGateway())...)
	b.pods.Address("eth0", in(each(podCount, v.podAddr)...)...)
	b.clientPod.Address("eth0", in(v.callerAddr())...)
	b.remote.Address("eth0", in(v.remoteNodeAddr())...)
	b.remote.Address("lo", in(each(remoteCount, v.remoteAddr)...)...)
	b.otherNode.Address("eth0", in(v.otherNodeAddr())...)
	b.otherNode.Address("lo", in(v.otherNodePod())...)
	b.clients.Address("eth0", in(each(clientCount, v.clientAddr)...)...)

	b.node.Route(all, v.clientAddr(0).String())
	b.node.Route(prefix(v.remoteAddr(0), 24, 64).String(), v.remoteNodeAddr().String())
	b.node.Route(prefix(v.otherNodePod(), 24, 64).String(), v.otherNodeAddr().String())
	b.pods.Route(all, v.podGateway().String())
	b.clientPod.Route(all, v.callerGateway().String())
	b.remote.Route(all, v.remoteGateway().String())
	b.otherNode.Route(all, v.otherNodeGateway().String())
	b.clients.Route(all, v.nodeAddr().String())
	b.clients.LocalNetwork(v.manyClients().String())
}

// startServers starts the servers of a variant.
func (b *testbed) startServers(v variant) error {
	var pods, remotes []netip.AddrPort
	for i := range podCount {
		pods = append(pods, v.podEndpoint(i).Addr, netip.AddrPortFrom(v.podAddr(i), v.otherPort()))
	}
	for i := range remoteCount {
		remotes = append(remotes, v.remoteEndpoint(i).Addr)
	}
	for _, s := range []struct {
		ns    *netnstest.Namespace
		addrs []netip.AddrPort
	}{
		{b.pods, pods},
		{b.remote, remotes},
		{b.node, []netip.AddrPort{v.nodeEndpoint().Addr}},
		{b.clients, []netip.AddrPort{netip.AddrPortFrom(v.clientAddr(0), v.targetPort())}},
	} {
		if err := b.servers.start(s.ns, v.protocol, s.addrs...); err != nil {
			return fmt.Errorf("backendtest: start servers: %w", err)
		}
	}
	return nil
}

// traceHost returns the addresses of the node for sinktest.Trace.
func (b *testbed) traceHost() sinktest.Host {
	var h sinktest.Host
	for _, v := range []variant{{v6: false}, {v6: true}} {
		h.Addrs = append(h.Addrs, v.loopback(), v.nodeAddr(), v.secondNodeAddr(), v.excludedNodeAddr(),
			v.podGateway(), v.callerGateway(), v.remoteGateway(), v.otherNodeGateway())
	}
	return h
}

// testbedNode returns the node of the testbed as in an Update.
func testbedNode() *localsink.Node {
	n := &localsink.Node{Name: "node"}
	for _, v := range []variant{{v6: false}, {v6: true}} {
		n.IPs = append(n.IPs, v.nodeAddr())
		n.LocalPods.Networks = append(n.LocalPods.Networks, v.podNetwork())
		for _, a := range []netip.Addr{v.nodeAddr(), v.secondNodeAddr()} {
			n.NodePortAddresses = append(n.NodePortAddresses, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return n
}

// A client is a source of connections.
type client struct {
	name   string
	ns     *netnstest.Namespace
	iface  string // of the node, through which its packets arrive; empty for the node
	addr   func(v variant) netip.Addr
	ports  *clientPorts
	limits TimeLimits
}

func (b *testbed) nodeClient() client {
	return client{"the node", b.node, "", variant.nodeAddr, b.ports, b.limits}
}

func (b *testbed) localPodClient() client {
	return client{"a local pod", b.clientPod, "pods1", variant.callerAddr, b.ports, b.limits}
}

// endpointClient returns the pod of endpoint i as a client.
func (b *testbed) endpointClient(i int) client {
	return client{fmt.Sprint("endpoint ", i), b.pods, "pods0", func(v variant) netip.Addr { return v.podAddr(i) }, b.ports, b.limits}
}

// remoteEndpointClient returns the pod of remote endpoint i as a client.
func (b *testbed) remoteEndpointClient(i int) client {
	return client{fmt.Sprint("remote endpoint ", i), b.remote, "remote", func(v variant) netip.Addr { return v.remoteAddr(i) }, b.ports, b.limits}
}

func (b *testbed) remotePodClient() client {
	return client{"a remote pod", b.otherNode, "far", variant.otherNodePod, b.ports, b.limits}
}

func (b *testbed) externalClient(i int) client {
	return client{fmt.Sprint("external client ", i), b.clients, "outside", func(v variant) netip.Addr { return v.clientAddr(i) }, b.ports, b.limits}
}

// clientsOfEachKind returns one client of each kind.
func (b *testbed) clientsOfEachKind() []client {
	return []client{b.nodeClient(), b.localPodClient(), b.remotePodClient(), b.externalClient(0)}
}

// externalClients returns all external clients.
func (b *testbed) externalClients() []client {
	var all []client
	for i := range clientCount {
		all = append(all, b.externalClient(i))
	}
	return all
}
