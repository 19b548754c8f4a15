// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hnstest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/backends/hns"
)

// addressesOf returns the addresses of an endpoint.
func addressesOf(e *hns.Endpoint) (addrs []netip.Addr) {
	for _, ip := range e.IPConfigurations {
		if addr, err := netip.ParseAddr(ip.IPAddress); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// frontends returns the frontends of a load balancer, as "PROTOCOL ADDRESS:PORT".
func frontends(lb *hns.LoadBalancer) (all []string) {
	vips := lb.FrontendVIPs
	if len(vips) == 0 {
		vips = []string{"0.0.0.0"}
		if lb.Flags&hns.LoadBalancerIPv6 != 0 {
			vips = []string{"::"}
		}
	}
	for _, m := range lb.PortMappings {
		for _, text := range vips {
			addr, _ := netip.ParseAddr(text)
			all = append(all, fmt.Sprintf("%s %v", map[uint32]string{6: "TCP", 17: "UDP"}[m.Protocol], netip.AddrPortFrom(addr, m.ExternalPort)))
		}
	}
	return all
}

// balancerText describes a load balancer without IDs. The mutex must not be held.
func (f *Fake) balancerText(lb *hns.LoadBalancer) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.textOf(lb)
}

// textOf describes a load balancer without IDs. The mutex must be held.
func (f *Fake) textOf(lb *hns.LoadBalancer) string {
	members := make([]string, len(lb.Endpoints))
	for i, id := range lb.Endpoints {
		if e := f.endpoints[strings.ToLower(id)]; e != nil {
			members[i] = fmt.Sprint(addressesOf(e)[0])
			if e.Name != "" {
				members[i] = e.Name
			}
		} else {
			members[i] = "?"
		}
	}
	slices.Sort(members)
	parts, options := frontends(lb), []string(nil)
	for _, m := range lb.PortMappings {
		parts = append(parts, fmt.Sprintf("-> %d %v", m.InternalPort, members))
		options = append(options, mappingOptions(m)...)
	}
	if lb.Flags&hns.LoadBalancerDSR != 0 {
		options = append(options, "DSR")
	}
	if lb.SourceVIP != "" {
		options = append(options, "source="+lb.SourceVIP)
	}
	return strings.Join(append(parts, options...), " ")
}

func mappingOptions(m hns.PortMapping) (options []string) {
	for flag, name := range []string{"ILB", "LocalRoutedVIP", "UseMux", "PreserveDIP", "VIPExternalIP"} {
		if m.Flags&(1<<flag) != 0 {
			options = append(options, name)
		}
	}
	if m.Distribution != hns.DistributionFlow {
		options = append(options, "SourceIP")
	}
	return options
}

// endpointText describes an endpoint without its ID.
func endpointText(e *hns.Endpoint) string {
	parts := []string{"local"}
	if e.Flags&hns.EndpointRemote != 0 {
		parts[0] = "remote"
	}
	for _, a := range addressesOf(e) {
		parts = append(parts, a.String())
	}
	parts = append(parts, "mac="+e.MACAddress)
	for _, p := range e.Policies {
		parts = append(parts, "provider="+p.Settings.ProviderAddress)
	}
	return strings.Join(parts, " ")
}

// endpoint describes the endpoint with an ID.
func (f *Fake) endpoint(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.endpoints[strings.ToLower(id)]; e != nil {
		return endpointText(e)
	}
	return "?"
}

// Describe returns all load balancers and remote endpoints, without IDs, one on each line.
func (f *Fake) Describe() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, lb := range f.balancers {
		lines = append(lines, f.textOf(lb))
	}
	for _, e := range f.endpoints {
		if e.Flags&hns.EndpointRemote != 0 {
			lines = append(lines, endpointText(e))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
