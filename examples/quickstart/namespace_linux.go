// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
)

// inNamespace is an environment variable that marks the process in the namespace.
const inNamespace = "KPNG_QUICKSTART_INSIDE"

// runInNamespace runs this program again in a new network namespace. inside reports
// whether this process is that second run; otherwise err is the result of it.
func runInNamespace(ctx context.Context) (inside bool, err error) {
	if os.Getenv(inNamespace) != "" {
		return true, nil
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 { // without root, a network namespace requires a user namespace
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("%w: %w", errNotPermitted, err)
	}
	return false, cmd.Wait()
}

// configureNamespace adds the addresses of the node and its pods to the loopback interface,
// and a route for the addresses of Services.
func configureNamespace(addrs ...string) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	errs := []error{netlink.LinkSetUp(lo)}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a + "/32")
		if err == nil {
			err = netlink.AddrAdd(lo, addr)
		}
		errs = append(errs, err)
	}
	services, err := netlink.ParseIPNet("10.96.0.0/12")
	if err == nil {
		err = netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: services, Scope: netlink.SCOPE_LINK})
	}
	return errors.Join(append(errs, err)...)
}
