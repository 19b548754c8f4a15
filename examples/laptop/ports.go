// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sigs.k8s.io/kpng/backends/userspace"
	"sigs.k8s.io/kpng/localsink"
)

// A portMap holds the local ports of Service ports, by NAMESPACE/NAME:PORT.
type portMap map[string]uint16

// add adds NAMESPACE/NAME:PORT=LOCALPORT.
func (m portMap) add(s string) error {
	key, local, ok := strings.Cut(s, "=")
	service, _, hasPort := strings.Cut(key, ":")
	if name, valid := localsink.ParseServiceName(service); !ok || !hasPort || !valid || name.Origin != "" {
		return fmt.Errorf("%q: want NAMESPACE/NAME:PORT=LOCALPORT", s)
	}
	port, err := strconv.ParseUint(local, 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("%q: local port %q out of range 1-65535", s, local)
	}
	if m[key] != 0 {
		return fmt.Errorf("%s: mapped twice", key)
	}
	m[key] = uint16(port)
	return nil
}

// localAddresses maps frontends to local addresses: those of -map, and free ports.
func (o options) localAddresses() userspace.Map {
	given := map[string]netip.AddrPort{}
	for key, port := range o.ports {
		given[key] = netip.AddrPortFrom(o.address, port)
	}
	all := userspace.FirstOf(userspace.PortMap(given), userspace.FreePorts(o.address))
	return func(f userspace.Frontend) []netip.AddrPort {
		if o.namespace != "" && f.Service.Namespace != o.namespace {
			return nil
		}
		return all(f)
	}
}
