// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// resolvConf is where Unix systems list their DNS servers.
const resolvConf = "/etc/resolv.conf"

// portDNS is the port of DNS servers.
const portDNS = 53

// systemServers returns the DNS servers of a file like /etc/resolv.conf.
func systemServers(path string) (servers []netip.AddrPort, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("no server is configured: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil { // libc ignores others too
			servers = append(servers, netip.AddrPortFrom(a, portDNS))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("no server is configured: %w", err)
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("no server is configured, and %s has none", path)
	}
	return servers, nil
}
