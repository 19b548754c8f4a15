// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"os"
	"strings"
)

// routeLocalnet is the sysctl that makes the kernel route packets from loopback addresses to other
// hosts, in the network namespace of the thread that opens the file.
const routeLocalnet = "/proc/sys/net/ipv4/conf/all/route_localnet"

// allowLoopback sets the sysctl that node ports on loopback addresses need, unless it is set. The
// rules that protect loopback addresses from other hosts must exist before.
func allowLoopback() error {
	if present, err := os.ReadFile(routeLocalnet); err == nil && strings.TrimSpace(string(present)) != "0" {
		return nil
	}
	if err := os.WriteFile(routeLocalnet, []byte("1"), 0o600); err != nil {
		return fmt.Errorf("iptables: Config.LocalhostNodePorts: %w", err)
	}
	return nil
}
