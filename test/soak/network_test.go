// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"sigs.k8s.io/kpng/test/netns"
	"sigs.k8s.io/kpng/test/soak/oracle"
)

// nodes is the number of nodes.
const nodes = 4

// hubAddr is the address of the API server, the servers and the relay.
const hubAddr = "192.168.50.1"

// clusterCIDR is the network of all pods.
const clusterCIDR = "10.244.0.0/16,fd00:244::/32"

// A machine is a node.
type machine struct {
	oracle.Node
	*netns.Namespace
	number int
}

// A network is the hub and the nodes, which a bridge in the hub connects.
type network struct {
	hub      *netns.Namespace
	machines []*machine
}

func nodeName(number int) string { return fmt.Sprintf("node-%d", number) }

// nodeAddrs returns the addresses of a node: the first or the second of each family.
func nodeAddrs(number, which int) []string {
	host := 10 + 100*which + number
	return []string{fmt.Sprintf("192.168.50.%d", host), fmt.Sprintf("fd00:50::%d", host)}
}

// podAddr returns the address of a pod of a node.
func podAddr(number, pod int, is4 bool) string {
	if is4 {
		return fmt.Sprintf("10.244.%d.%d", number, pod)
	}
	return fmt.Sprintf("fd00:244:%d::%d", number, pod)
}

// servingPod is the pod of each node that answers.
const servingPod = 11

// newNetwork creates the namespaces. It needs root. The caller closes the network.
func newNetwork(ctx context.Context) (n *network, err error) {
	n = &network{}
	if n.hub, err = newNamespace(false); err == nil {
		err = commands(ctx, n.hub, "ip link add lan type bridge", "ip link set lan up",
			"ip addr add "+hubAddr+"/24 dev lan", "ip addr add fd00:50::1/64 dev lan nodad")
	}
	for number := 1; err == nil && number <= nodes; number++ {
		err = n.addNode(ctx, number)
	}
	for number := 1; err == nil && number <= nodes; number++ {
		err = n.addRoutes(ctx, number)
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *network) addNode(ctx context.Context, number int) error {
	ns, err := newNamespace(true)
	if err != nil {
		return err
	}
	m := &machine{Namespace: ns, number: number, Node: oracle.Node{Name: nodeName(number)}}
	n.machines = append(n.machines, m)
	port := fmt.Sprintf("node%d", number)
	setup := []string{
		fmt.Sprintf("ip link add %s type veth peer name eth0 netns /proc/%d/fd/%d", port, os.Getpid(), ns.Handle()),
		"ip link set " + port + " master lan up",
	}
	if err := commands(ctx, n.hub, setup...); err != nil {
		return err
	}
	setup = []string{"ip link set eth0 up"}
	for which := range 2 {
		addrs := nodeAddrs(number, which)
		setup = append(setup, "ip addr add "+addrs[0]+"/24 dev eth0", "ip addr add "+addrs[1]+"/64 dev eth0 nodad")
		m.Addrs = append(m.Addrs, netip.MustParseAddr(addrs[0]), netip.MustParseAddr(addrs[1]))
	}
	for _, is4 := range []bool{true, false} {
		pod := podAddr(number, servingPod, is4)
		setup = append(setup, "ip addr add "+pod+" dev lo")
		m.Addrs = append(m.Addrs, netip.MustParseAddr(pod))
	}
	setup = append(setup, "ip route add default via "+hubAddr, "ip -6 route add default via fd00:50::1")
	m.PodNetworks = []netip.Prefix{netip.MustParsePrefix(podAddr(number, 0, true) + "/24"), netip.MustParsePrefix(podAddr(number, 0, false) + "/64")}
	if number == 1 { // the drop-in recognises pods by the network of all
		m.PodNetworks = nil
		for text := range strings.SplitSeq(clusterCIDR, ",") {
			m.PodNetworks = append(m.PodNetworks, netip.MustParsePrefix(text))
		}
	}
	return commands(ctx, ns, setup...)
}

// addRoutes adds the routes of a node to the pods of the others, and that of the hub through the node.
func (n *network) addRoutes(ctx context.Context, number int) error {
	var setup []string
	for other := 1; other <= nodes; other++ {
		if via := nodeAddrs(other, 0); other != number {
			setup = append(setup, fmt.Sprintf("ip route add 10.244.%d.0/24 via %s", other, via[0]), fmt.Sprintf("ip -6 route add fd00:244:%d::/64 via %s", other, via[1]))
		}
	}
	if err := commands(ctx, n.machines[number-1].Namespace, setup...); err != nil {
		return err
	}
	via, to := nodeAddrs(number, 0), stableAddrs(number)
	return commands(ctx, n.hub, "ip route add "+to[0]+" via "+via[0], "ip -6 route add "+to[1]+" via "+via[1])
}

// Close deletes the namespaces and ends the processes in them.
func (n *network) Close() error {
	var errs []error
	for _, m := range n.machines {
		errs = append(errs, m.Close())
	}
	if n.hub != nil {
		errs = append(errs, n.hub.Close())
	}
	return errors.Join(errs...)
}

// newNamespace creates a namespace with a loopback interface, in which addresses can be used at once,
// without ICMP redirects.
func newNamespace(forwards bool) (*netns.Namespace, error) {
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	settings := []string{
		"ipv4/conf/all/rp_filter=0", "ipv4/conf/default/rp_filter=0",
		"ipv4/conf/all/send_redirects=0", "ipv4/conf/default/send_redirects=0", "ipv4/conf/all/accept_redirects=0",
		"ipv6/conf/all/accept_redirects=0", "ipv6/conf/default/accept_redirects=0",
		"ipv6/conf/all/accept_dad=0", "ipv6/conf/default/accept_dad=0", "ipv6/conf/default/accept_ra=0",
	}
	if forwards {
		settings = append(settings, "ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1")
	}
	err = ns.Do(func() error {
		for _, s := range settings {
			name, value, _ := strings.Cut(s, "=")
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = commands(context.Background(), ns, "ip link set lo up")
	}
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

// commands runs commands in a namespace.
func commands(ctx context.Context, ns *netns.Namespace, lines ...string) error {
	for _, line := range lines {
		words := strings.Fields(line)
		if _, err := ns.Output(ctx, words[0], words[1:]...); err != nil {
			return err
		}
	}
	return nil
}
