// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A sysctl is a kernel parameter of the network namespace.
type sysctl struct{ path, value string }

// sysctls returns the kernel parameters that the backend sets, as kube-proxy does.
func (cfg Config) sysctls(hasOldReuse bool) []sysctl {
	all := []sysctl{
		{"net/ipv4/ip_forward", "1"},
		{"net/ipv4/vs/conntrack", "1"}, // so that connections can be masqueraded
		{"net/ipv4/vs/expire_nodest_conn", "1"},
		{"net/ipv4/vs/expire_quiescent_template", "1"}, // a destination without weight loses its clients with affinity
	}
	if hasOldReuse {
		all = append(all, sysctl{"net/ipv4/vs/conn_reuse_mode", "0"})
	}
	if cfg.StrictARP {
		all = append(all, sysctl{"net/ipv4/conf/all/arp_ignore", "1"}, sysctl{"net/ipv4/conf/all/arp_announce", "2"})
	}
	return all
}

// setSysctls sets the kernel parameters that differ. A read-only /proc is an error only if one
// differs.
func (cfg Config) setSysctls() error {
	var errs []error
	for _, s := range cfg.sysctls(kernelBefore(5, 9)) {
		path := "/proc/sys/" + s.path
		present, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(present)) == s.value {
			continue
		}
		if err == nil {
			err = os.WriteFile(path, []byte(s.value), 0)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("ipvs: set kernel parameter %s=%s: %w", strings.ReplaceAll(s.path, "/", "."), s.value, err))
		}
	}
	return errors.Join(errs...)
}

// kernelBefore reports whether the kernel is older than a version. Before 5.9, the default of
// conn_reuse_mode delays connections that reuse a source port by a second.
func kernelBefore(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &a, &b); n < 2 {
		return false
	}
	return a < major || a == major && b < minor
}
