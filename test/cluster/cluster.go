// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cluster builds the network around a service proxy in network namespaces: the node
// of the proxy with its pods, another node with pods, and an external client. It starts
// neither an API server nor a proxy.
//
//	pod1 pod2 pod3                rpod1 rpod2
//	     │ routed veths                │
//	   node ────────── lan ────────── remote
//	   (proxy)     (API server)
//	                client
//
// The default route of everything outside of the node is the node, as if the node announced
// the addresses of all Services. The default route of the node is the lan, which drops
// packets without a route.
//
// Every place except the client runs servers that return their name and the source address
// of the request (server.go); dial.go has the client side.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/test/netns"
)

// Names, addresses and networks of the cluster.
const (
	NodeName   = "node1"
	RemoteName = "node2"
	PodCIDR4   = "10.244.0.0/16"
	PodCIDR6   = "fd00:244::/32"
	// ManyCIDR4 is a network of the remote node. Each of its addresses answers on TCP port
	// [ServerPort]+2.
	ManyCIDR4 = "10.200.0.0/13"

	lan4, lan6       = "192.168.50.", "fd00:50::"
	local4, local6   = "10.244.1.", "fd00:244:1::"
	remote4, remote6 = "10.244.2.", "fd00:244:2::"
)

// ServerPort is the first of two consecutive ports on which every place except the client
// answers, with TCP and UDP.
const ServerPort = 8080

// A Place is a node, a pod or the client, with an IPv4 and an IPv6 address.
type Place struct {
	Name      string
	Namespace *netns.Namespace
	// Addrs holds the IPv4 and the IPv6 address.
	Addrs [2]netip.Addr
	// Node is the name of the node of the place; empty for the client.
	Node string
	// Aliases are further source addresses of its packets.
	Aliases []netip.Addr
	// OwnSourcePorts gives each TCP connection a source port that no other connection of the
	// namespace has, also not one to another address.
	OwnSourcePorts bool
	// sharesNamespace reports whether other places have the same namespace, so that the
	// source address of a connection must be chosen.
	sharesNamespace bool
}

// Has reports whether addr is an address of the place.
func (p *Place) Has(addr netip.Addr) bool {
	return slices.Contains(p.Aliases, addr) || slices.Contains(p.Addrs[:], addr)
}

// A Cluster is a set of connected places.
type Cluster struct {
	// Lan is the namespace for an API server, and LanAddr its address.
	Lan     *netns.Namespace
	LanAddr netip.Addr
	Node    *Place
	Client  *Place
	// Places holds all places by name: node, pod1, pod2, pod3, remote, rpod1, rpod2 and
	// client.
	Places map[string]*Place

	namespaces []*netns.Namespace
	servers    sync.WaitGroup
	stop       context.CancelFunc
}

// New builds the namespaces and starts the servers in them. It needs root. The cluster stays
// until Close, also after ctx is done.
func New(ctx context.Context) (*Cluster, error) {
	c := &Cluster{Places: map[string]*Place{}, LanAddr: netip.MustParseAddr(lan4 + "1")}
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	err := c.build()
	if err == nil {
		err = c.serve(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close stops the servers, kills all processes in the namespaces and deletes these.
func (c *Cluster) Close() error {
	c.stop()
	c.servers.Wait()
	var errs []error
	for _, ns := range c.namespaces {
		errs = append(errs, ns.Close())
	}
	return errors.Join(errs...)
}

func (c *Cluster) build() error {
	var err error
	if c.Lan, err = c.namespace(); err != nil {
		return err
	}
	if err := c.buildLan(); err != nil {
		return fmt.Errorf("lan: %w", err)
	}
	if c.Node, err = c.host("node", "10", "1"); err != nil {
		return err
	}
	c.Node.Node = NodeName
	c.Node.Aliases = addrs(local4+"1", local6+"1")
	if c.Client, err = c.host("client", "20", "10"); err != nil {
		return err
	}
	remote, err := c.host("remote", "11", "10")
	if err != nil {
		return err
	}
	remote.Node = RemoteName
	for _, pod := range []string{"1", "2", "3"} {
		if err := c.localPod(pod); err != nil {
			return fmt.Errorf("pod%s: %w", pod, err)
		}
	}
	if err := c.remotePods(remote); err != nil {
		return fmt.Errorf("remote pods: %w", err)
	}
	return c.nodeRoutes()
}

// namespace creates a namespace whose addresses can be used at once (no duplicate address
// detection), without ICMP redirects and without rate limits for ICMP errors, because a test
// rejects many connections at once.
func (c *Cluster) namespace() (*netns.Namespace, error) {
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	c.namespaces = append(c.namespaces, ns)
	err = ns.Do(func() error {
		for _, setting := range []string{
			"ipv4/conf/all/rp_filter=0", "ipv4/conf/default/rp_filter=0",
			"ipv4/conf/all/send_redirects=0", "ipv4/conf/default/send_redirects=0",
			"ipv4/conf/all/accept_redirects=0", "ipv6/conf/all/accept_redirects=0",
			"ipv4/icmp_ratelimit=0", "ipv6/icmp/ratelimit=0", "ipv4/icmp_msgs_per_sec=100000", "ipv4/icmp_msgs_burst=10000",
			"ipv6/conf/all/disable_ipv6=0", "ipv6/conf/default/disable_ipv6=0",
			"ipv6/conf/default/accept_dad=0", "ipv6/conf/default/accept_ra=0",
		} {
			name, value, _ := strings.Cut(setting, "=")
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ns, within(ns, func(h *netlink.Handle) error { return up(h, "lo") })
}

func (c *Cluster) buildLan() error {
	return within(c.Lan, func(h *netlink.Handle) error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lan"}}
		if err := errors.Join(h.LinkAdd(bridge), up(h, "lan"), address(h, "lan", lan4+"1/24", lan6+"1/64")); err != nil {
			return err
		}
		// Packets without a route are dropped instead of rejected.
		for _, to := range []string{"0.0.0.0/0", "::/0"} {
			if err := h.RouteAdd(&netlink.Route{Dst: network(to), Type: unix.RTN_BLACKHOLE}); err != nil {
				return fmt.Errorf("blackhole route to %s: %w", to, err)
			}
		}
		return nil
	})
}

// host adds a host to the lan. number is the last part of its addresses, and gateway that of
// its default route.
func (c *Cluster) host(name, number, gateway string) (*Place, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, err
	}
	err = within(c.Lan, func(h *netlink.Handle) error {
		if err := veth(h, name, "eth0", ns); err != nil {
			return err
		}
		port, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		bridge, err := h.LinkByName("lan")
		if err != nil {
			return err
		}
		return errors.Join(h.LinkSetMaster(port, bridge), up(h, name))
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	place := &Place{Name: name, Namespace: ns, Addrs: [2]netip.Addr(addrs(lan4+number, lan6+number))}
	c.Places[name] = place
	return place, within(ns, func(h *netlink.Handle) error {
		return errors.Join(up(h, "eth0"), address(h, "eth0", lan4+number+"/24", lan6+number+"/64"),
			route(h, "eth0", "0.0.0.0/0", lan4+gateway), route(h, "eth0", "::/0", lan6+gateway))
	})
}

// localPod adds a pod to the node with a routed link, so that packets between two pods are
// forwarded by the node like all others.
func (c *Cluster) localPod(number string) error {
	ns, err := c.namespace()
	if err != nil {
		return err
	}
	name, ip4, ip6 := "pod"+number, local4+"1"+number, local6+"1"+number
	c.Places[name] = &Place{Name: name, Namespace: ns, Addrs: [2]netip.Addr(addrs(ip4, ip6)), Node: NodeName}
	err = within(c.Node.Namespace, func(h *netlink.Handle) error {
		link := "veth" + number
		return errors.Join(veth(h, link, "eth0", ns), up(h, link), address(h, link, local4+"1/32", local6+"1/128"),
			route(h, link, ip4+"/32", ""), route(h, link, ip6+"/128", ""))
	})
	if err != nil {
		return err
	}
	return within(ns, func(h *netlink.Handle) error {
		return errors.Join(up(h, "eth0"), address(h, "eth0", ip4+"/32", ip6+"/128"),
			route(h, "eth0", local4+"1/32", ""), route(h, "eth0", local6+"1/128", ""),
			route(h, "eth0", "0.0.0.0/0", local4+"1"), route(h, "eth0", "::/0", local6+"1"))
	})
}

// remotePods adds the addresses of the remote pods to the namespace of the remote node, and
// makes all addresses of ManyCIDR4 local to it.
func (c *Cluster) remotePods(remote *Place) error {
	return within(remote.Namespace, func(h *netlink.Handle) error {
		for _, number := range []string{"1", "2"} {
			ip4, ip6 := remote4+"1"+number, remote6+"1"+number
			c.Places["rpod"+number] = &Place{
				Name: "rpod" + number, Namespace: remote.Namespace, sharesNamespace: true,
				Addrs: [2]netip.Addr(addrs(ip4, ip6)), Node: RemoteName,
			}
			if err := address(h, "lo", ip4+"/32", ip6+"/128"); err != nil {
				return err
			}
		}
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.RouteAdd(&netlink.Route{
			LinkIndex: lo.Attrs().Index, Dst: network(ManyCIDR4), Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
		})
	})
}

func (c *Cluster) nodeRoutes() error {
	err := c.Node.Namespace.Do(func() error {
		return errors.Join(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644),
			os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0o644))
	})
	if err != nil {
		return err
	}
	return within(c.Node.Namespace, func(h *netlink.Handle) error {
		return errors.Join(route(h, "eth0", remote4+"0/24", lan4+"11"), route(h, "eth0", remote6+"/64", lan6+"11"),
			route(h, "eth0", ManyCIDR4, lan4+"11"))
	})
}

// within calls fn with a netlink handle of a namespace.
func within(ns *netns.Namespace, fn func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(ns.Handle())
	if err != nil {
		return err
	}
	defer h.Close()
	return fn(h)
}

func veth(h *netlink.Handle, name, peer string, peerIn *netns.Namespace) error {
	return h.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer, PeerNamespace: netlink.NsFd(peerIn.Handle()),
	})
}

func up(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return h.LinkSetUp(link)
}

func address(h *netlink.Handle, name string, prefixes ...string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	for _, p := range prefixes {
		parsed, err := netlink.ParseAddr(p)
		if err != nil {
			return err
		}
		// Without this flag the address is tentative and cannot be used at once.
		parsed.Flags = unix.IFA_F_NODAD
		if err := h.AddrAdd(link, parsed); err != nil {
			return fmt.Errorf("address %s on %s: %w", p, name, err)
		}
	}
	return nil
}

// route adds a route to a network. Without a gateway the network is directly on the link.
func route(h *netlink.Handle, name, to, gateway string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: network(to)}
	if gateway == "" {
		r.Scope = netlink.SCOPE_LINK
	} else {
		r.Gw = net.ParseIP(gateway)
	}
	if err := h.RouteAdd(r); err != nil {
		return fmt.Errorf("route to %s on %s: %w", to, name, err)
	}
	return nil
}

func network(s string) *net.IPNet {
	p := netip.MustParsePrefix(s)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func addrs(ss ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range ss {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}
