// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package netnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// RequireEnv names an environment variable. If it is 1, tests without the privilege to
// create network namespaces fail instead of being skipped.
const RequireEnv = "KPNG_REQUIRE_NETNS"

// insideEnv is set in the environment of a test binary that runs in a user namespace.
const insideEnv = "KPNG_INSIDE_USER_NAMESPACE"

// Main runs the tests of a package. Without root privileges it runs the test binary again
// as root of a new user namespace, if the system allows that. Call it from TestMain and exit
// with its result.
func Main(m *testing.M) int {
	if os.Geteuid() == 0 || os.Getenv(insideEnv) != "" {
		return m.Run()
	}
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		return m.Run() // tests that need privileges are skipped
	}
	if err := cmd.Wait(); err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return exit.ExitCode()
		}
		return 1
	}
	return 0
}

// A Namespace is a network namespace that exists until its test ends.
type Namespace struct {
	t      testing.TB
	handle netns.NsHandle
}

// New creates a namespace with its loopback interface up. Without the privilege it skips or
// fails the test, see RequireEnv.
func New(t testing.TB) *Namespace {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a network namespace: skipped with -short")
	}
	n := &Namespace{t: t}
	err := onThread(func() (err error) {
		n.handle, err = netns.New()
		return err
	})
	if err != nil {
		if os.Getenv(RequireEnv) == "1" {
			t.Fatalf("create network namespace (%s is set): %v", RequireEnv, err)
		}
		t.Skipf("needs network namespaces (root, or user namespaces): %v", err)
	}
	handle := n.handle // Close changes it; a function that the test has abandoned may still read n.handle
	t.Cleanup(func() { _ = handle.Close() })
	for path, value := range map[string]string{
		// Duplicate address detection would delay the use of IPv6 addresses by a second.
		"ipv6/conf/default/accept_dad": "0",
		// Limits of ICMP would suppress rejections. The last two belong to the namespace since Linux 6.13.
		"ipv4/icmp_ratelimit": "0", "ipv6/icmp/ratelimit": "0", "ipv4/icmp_msgs_per_sec": "100000", "ipv4/icmp_msgs_burst": "10000",
	} {
		_ = n.Run(func() error { return os.WriteFile("/proc/sys/net/"+path, []byte(value), 0) })
	}
	n.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return n
}

// onThread runs f on a new operating system thread, which then ends.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // not unlocked, so that the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

// Run runs f on a new thread in the namespace and returns its error. Sockets that f opens
// stay in the namespace; goroutines that it starts do not run there.
func (n *Namespace) Run(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return err
		}
		return f()
	})
}

// Do calls Run and fails the test on an error.
func (n *Namespace) Do(f func() error) {
	n.t.Helper()
	require.NoError(n.t, n.Run(f))
}

// Command runs a program in the namespace and returns its standard output and error output.
func (n *Namespace) Command(name string, args ...string) (string, error) {
	var out []byte
	err := n.Run(func() (err error) {
		out, err = exec.CommandContext(context.Background(), name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// Sysctl sets a kernel parameter. path is relative to /proc/sys.
func (n *Namespace) Sysctl(path, value string) {
	n.t.Helper()
	n.Do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0) })
}

// Link connects two namespaces with a veth pair.
func Link(a *Namespace, aName string, b *Namespace, bName string) {
	a.t.Helper()
	a.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = aName
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerNamespace: netlink.NsFd(b.handle)})
	})
	a.up(aName)
	b.up(bName)
}

func (n *Namespace) up(name string) {
	n.t.Helper()
	n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
}

// Address adds addresses, each with its prefix length, to an interface.
func (n *Namespace) Address(link string, prefixes ...string) {
	n.t.Helper()
	n.Do(func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		for _, p := range prefixes {
			addr, err := netlink.ParseAddr(p)
			if err != nil {
				return err
			}
			addr.Flags = syscall.IFA_F_NODAD
			if err := netlink.AddrAdd(l, addr); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
		}
		return nil
	})
}

// Route adds a route to network, a prefix, through a gateway.
func (n *Namespace) Route(network, gateway string) {
	n.t.Helper()
	n.Do(func() error {
		p := netip.MustParsePrefix(network)
		return netlink.RouteAdd(&netlink.Route{
			Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
			Gw:  net.ParseIP(gateway),
		})
	})
}

// LocalNetwork makes all addresses of a network, a prefix, those of the namespace, without
// adding each to an interface.
func (n *Namespace) LocalNetwork(network string) {
	n.t.Helper()
	n.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		p := netip.MustParsePrefix(network)
		return netlink.RouteAdd(&netlink.Route{
			Type: syscall.RTN_LOCAL, Table: syscall.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST, LinkIndex: lo.Attrs().Index,
			Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
		})
	})
}
