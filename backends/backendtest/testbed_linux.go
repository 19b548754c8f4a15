// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A testbed is a node with its pods, a remote node with pods, and clients outside: each
// in a network namespace of its own. Everybody reaches everybody else through the node.
type testbed struct {
	node    *netnstest.Namespace
	pods    *netnstest.Namespace // endpoints
	caller   *netnstest.Namespace // a pod that is none
	remote  *netnstest.Namespace // a remote node, with endpoints
	otherNode     *netnstest.Namespace // another, with a pod that is none
	clients *netnstest.Namespace
	servers *servers
	ports   *clientPorts
}

// clientPorts are the ports that clients use, each once.
type clientPorts struct{ used atomic.Uint32 }

func (c *clientPorts) next() uint16 { return uint16(33000 + c.used.Add(1)%32000) }

func newTestbed(t testing.TB) (*testbed, error) {
	w := &testbed{ports: &clientPorts{}}
	for _, ns := range []**netnstest.Namespace{&w.node, &w.pods, &w.caller, &w.remote, &w.otherNode, &w.clients} {
		*ns = netnstest.New(t)
		// The kernel would refuse one connection a second to each client, and then be silent.
		(*ns).Sysctl("net/ipv4/icmp_ratelimit", "0")
		(*ns).Sysctl("net/ipv6/icmp/ratelimit", "0")
		_ = (*ns).Run(func() error { // where namespaces have a limit of their own
			return os.WriteFile("/proc/sys/net/ipv4/icmp_msgs_burst", []byte("10000"), 0)
		})
	}
	w.node.Sysctl("net/ipv4/ip_forward", "1")
	w.node.Sysctl("net/ipv6/conf/all/forwarding", "1")
	netnstest.Link(w.node, "outside", w.clients, "eth0")
	netnstest.Link(w.node, "pods0", w.pods, "eth0")
	netnstest.Link(w.node, "pods1", w.caller, "eth0")
	netnstest.Link(w.node, "remote", w.remote, "eth0")
	netnstest.Link(w.node, "far", w.otherNode, "eth0")
	for _, v := range []variant{{v6: false}, {v6: true}} {
		w.addAddresses(v)
	}
	w.servers = &servers{}
	t.Cleanup(w.servers.close)
	for _, v := range allVariants() {
		if err := w.startServers(v); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// addAddresses gives all their addresses and routes of one family.
func (w *testbed) addAddresses(v variant) {
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
	everything := prefix(netip.IPv4Unspecified(), 0, 0).String()
	if v.v6 {
		everything = prefix(netip.IPv6Unspecified(), 0, 0).String()
	}
	w.node.Address("outside", in(v.nodeAddr(), v.secondNodeAddr(), v.excludedNodeAddr())...)
	w.node.Address("pods0", in(v.podGateway())...)
	w.node.Address("pods1", in(v.callerGateway())...)
	w.node.Address("remote", in(v.remoteGateway())...)
	w.node.Address("far", in(v.otherNodeGateway())...)
	w.pods.Address("eth0", in(each(podCount, v.podAddr)...)...)
	w.caller.Address("eth0", in(v.callerAddr())...)
	w.remote.Address("eth0", in(v.remoteNodeAddr())...)
	w.remote.Address("lo", in(each(remoteCount, v.remoteAddr)...)...)
	w.otherNode.Address("eth0", in(v.otherNodeAddr())...)
	w.otherNode.Address("lo", in(v.otherNodePod())...)
	w.clients.Address("eth0", in(each(clientCount, v.clientAddr)...)...)

	w.node.Route(everything, v.clientAddr(0).String())
	w.node.Route(prefix(v.remoteAddr(0), 24, 64).String(), v.remoteNodeAddr().String())
	w.node.Route(prefix(v.otherNodePod(), 24, 64).String(), v.otherNodeAddr().String())
	w.pods.Route(everything, v.podGateway().String())
	w.caller.Route(everything, v.callerGateway().String())
	w.remote.Route(everything, v.remoteGateway().String())
	w.otherNode.Route(everything, v.otherNodeGateway().String())
	w.clients.Route(everything, v.nodeAddr().String())
}

// startServers starts the servers of a variant.
func (w *testbed) startServers(v variant) error {
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
		{w.pods, pods},
		{w.remote, remotes},
		{w.node, []netip.AddrPort{v.nodeEndpoint().Addr}},
		{w.clients, []netip.AddrPort{netip.AddrPortFrom(v.clientAddr(0), v.targetPort())}},
	} {
		if err := w.servers.start(s.ns, v.protocol, s.addrs...); err != nil {
			return fmt.Errorf("backendtest: servers of the test: %w", err)
		}
	}
	return nil
}

// traceHost is what the contract's reading must know of the node.
func (w *testbed) traceHost() sinktest.Host {
	var h sinktest.Host
	for _, v := range []variant{{v6: false}, {v6: true}} {
		h.Addrs = append(h.Addrs, v.loopback(), v.nodeAddr(), v.secondNodeAddr(), v.excludedNodeAddr(),
			v.podGateway(), v.callerGateway(), v.remoteGateway(), v.otherNodeGateway())
	}
	return h
}

// testbedNode is the node of the world as a backend is told.
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

// A client is who connects.
type client struct {
	name  string
	ns    *netnstest.Namespace
	iface string // by which its packets reach the node
	addr  func(v variant) netip.Addr
	ports *clientPorts
}

func (w *testbed) nodeClient() client {
	return client{"the node", w.node, "", variant.nodeAddr, w.ports}
}

func (w *testbed) localPodClient() client {
	return client{"a pod of the node", w.caller, "pods1", variant.callerAddr, w.ports}
}

// endpointClient is the pod of endpoint i.
func (w *testbed) endpointClient(i int) client {
	return client{fmt.Sprint("endpoint ", i), w.pods, "pods0", func(v variant) netip.Addr { return v.podAddr(i) }, w.ports}
}

// remoteEndpointClient is the pod of a remote endpoint.
func (w *testbed) remoteEndpointClient(i int) client {
	return client{fmt.Sprint("remote endpoint ", i), w.remote, "remote", func(v variant) netip.Addr { return v.remoteAddr(i) }, w.ports}
}

func (w *testbed) remotePodClient() client {
	return client{"a remote pod", w.otherNode, "far", variant.otherNodePod, w.ports}
}

func (w *testbed) externalClient(i int) client {
	return client{fmt.Sprint("client ", i), w.clients, "outside", func(v variant) netip.Addr { return v.clientAddr(i) }, w.ports}
}

// clientsOfEachKind is one client of each kind.
func (w *testbed) clientsOfEachKind() []client {
	return []client{w.nodeClient(), w.localPodClient(), w.remotePodClient(), w.externalClient(0)}
}

// externalClients are all clients outside.
func (w *testbed) externalClients() []client {
	var all []client
	for i := range clientCount {
		all = append(all, w.externalClient(i))
	}
	return all
}
