// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sigs.k8s.io/kpng/backends/backendtest"
	"sigs.k8s.io/kpng/backends/userspace"
	"sigs.k8s.io/kpng/localsink"
)

// TestConformanceUserspace checks the proxy of package userspace on a node that has the
// addresses of all Services.
func TestConformanceUserspace(t *testing.T) {
	checkBackend(t, "userspace", backendtest.Backend{
		Name: "userspace",
		New: func(_ context.Context, node backendtest.Namespace) (localsink.Sink, error) {
			if err := addServiceAddresses(); err != nil {
				return nil, err
			}
			return userspace.New(userspace.Config{Dial: backendtest.DialIn(node), InterfaceAddrs: interfaceAddrsOf(node)})
		},
		Proxy:             true,
		LoopbackNodePorts: true,
		TimeLimits:        backendtest.TimeLimits{Answer: 10 * time.Second}, // each connection needs CPU time of the proxy
	})
}

// addServiceAddresses makes all addresses of Services in the testbed those of the node, without
// adding each to an interface.
func addServiceAddresses() error {
	// Without this, a process cannot listen on an IPv6 address that no interface has.
	if err := os.WriteFile("/proc/sys/net/ipv6/ip_nonlocal_bind", []byte("1"), 0); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, network := range []string{
		"10.96.0.0/15", "198.51.100.0/24", "203.0.113.0/24", // cluster IPs, external IPs, load balancers
		"fd00:96::/64", "fd00:97::/64", "2001:db8:51::/64", "2001:db8:113::/64",
	} {
		_, dst, err := net.ParseCIDR(network)
		if err != nil {
			return err
		}
		if err := netlink.RouteReplace(&netlink.Route{
			Type: syscall.RTN_LOCAL, Table: syscall.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST, LinkIndex: lo.Attrs().Index, Dst: dst,
		}); err != nil {
			return err
		}
	}
	return nil
}

// interfaceAddrsOf returns a function that lists the addresses of a namespace.
func interfaceAddrsOf(ns backendtest.Namespace) func() ([]net.Addr, error) {
	return func() (addrs []net.Addr, err error) {
		err = ns.Run(func() error {
			addrs, err = net.InterfaceAddrs()
			return err
		})
		return addrs, err
	}
}
