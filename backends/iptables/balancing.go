// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"strconv"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// balance adds the rules that send a connection to one of the endpoints. There is no chain for
// each endpoint, as kube-proxy has: time and memory of the kernel depend on the number of rules and
// chains. The lists of clients with session affinity have the names of kube-proxy's, so
// that it keeps them when one replaces the other.
func (p *port) balance(c *serviceChain, endpoints []localsink.Endpoint) {
	proto := "-p " + p.names.proto
	if p.spec.Affinity > 0 {
		for i := range endpoints {
			c.add(proto, "-m recent --update --seconds", seconds(p.spec.Affinity), "--reap --name", p.names.affinityList(endpoints[i].Addr),
				"--rsource", dnatTo(&endpoints[i]))
		}
	}
	if refused := p.spec.RefusedPerMille; refused > 0 {
		c.add(withProbability(uint64(refused), 1000), "-j ACCEPT") // the filter table refuses them
	}
	var remaining uint64 // the weight of the endpoints from i on
	for i := range endpoints {
		remaining += weight(&endpoints[i])
	}
	for i := range endpoints {
		e := &endpoints[i]
		var remember string
		if p.spec.Affinity > 0 {
			remember = "-m recent --set --name " + p.names.affinityList(e.Addr) + " --rsource"
		}
		c.add(proto, withProbability(weight(e), remaining), remember, dnatTo(e))
		remaining -= weight(e)
	}
}

// weight returns the weight of an endpoint; the contract excludes 0.
func weight(e *localsink.Endpoint) uint64 { return uint64(max(1, e.Weight)) }

// withProbability returns the option that matches a share of packets.
func withProbability(share, of uint64) string {
	if share >= of {
		return ""
	}
	return "-m statistic --mode random --probability " + strconv.FormatFloat(float64(share)/float64(of), 'f', 10, 64)
}

func dnatTo(e *localsink.Endpoint) string { return "-j DNAT --to-destination " + e.Addr.String() }

// seconds returns a duration as a positive number of seconds.
func seconds(d time.Duration) string { return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second))) }
