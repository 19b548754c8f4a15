package e2e

import (
	"regexp"
	"strings"
)

// A difference is something that another proxy is known to do otherwise. It changes
// what probes of that proxy must see, so one that does not occur fails as much as one
// that is not listed. docs/semantics.md has a row for each.
type difference struct {
	// id is that of its row.
	id string
	// probes is a regular expression for titles of probes, see [probe.title].
	probes string
	// sees is what these probes see instead, in the words of probes.
	sees string
	why  string
}

// differing applies the first difference that is about the probe.
func differing(p probe, differences []difference) probe {
	for _, d := range differences {
		if regexp.MustCompile(d.probes).MatchString(p.title()) {
			p.want, p.one, p.source, p.difference = nil, false, "", d.id
			p.expect(strings.Fields(d.sees))
			return p
		}
	}
	return p
}

// iptablesDifferences are those of kube-proxy's iptables mode.
func iptablesDifferences() []difference {
	return []difference{
		{
			id: "DP-02", sees: "timeout",
			probes: `^undefined port and protocol are refused, |` +
				`^a port is renamed, step 4: \S+ \S+:80/|` +
				`^ports are added and removed, (step 1: \S+ \S+:81/|step 3: \S+ \S+:80/)|` +
				`^one of two protocols is removed, step 2: \S+ \S+/udp|` +
				`^should serve endpoints on same port and different protocol for .*, (step 2: \S+ mixed/cluster\S+/udp|step 3: \S+ mixed/cluster\S+/tcp)`,
			why: "the packet for a port that the Service does not have goes on to wherever cluster IPs are routed",
		},
		{
			id: "SEL-21", sees: "timeout",
			probes: `^(no|unready) endpoints are refused, step 1: node \S+/(external|lb)`,
			why:    "the chain that refuses is not in the path of packets from the node itself",
		},
		{
			id: "IN-81", sees: "pod1",
			probes: `^node ports answer on the primary addresses only, step 1: \S+ primary/inner`,
			why:    "node ports answer on all addresses of the node unless told otherwise",
		},
		{
			id: "DP-60", sees: "pod1",
			probes: `^node ports answer on the primary addresses only, step 1: node primary/loop4`,
			why:    "node ports answer on IPv4 loopback addresses, at the price of route_localnet",
		},
	}
}
