// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
)

const inNamespace = "KPNG_QUICKSTART_INSIDE"

// enter runs this program again in a network namespace of its own, where it may do as
// it likes and disturbs nobody. inside says that we are that second run;
// otherwise err tells how it went.
func enter() (inside bool, err error) {
	if os.Getenv(inNamespace) != "" {
		return true, nil
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 { // others need a user namespace to be allowed that
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("%w: %w", errNoPackets, err)
	}
	return false, cmd.Wait()
}

// furnish gives the namespace a loopback interface with the addresses of a node and
// its pods, and a way for packets to service addresses.
func furnish(addrs ...string) error {
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
