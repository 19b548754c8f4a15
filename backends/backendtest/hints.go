// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import "slices"

// A hint is a usual cause of failures.
type hint struct {
	ids  []string
	text string
}

// hints returns the hints, at most one for each behaviour. The causes are those that the
// backends of this module had, and that their parts solve.
func hints() []hint {
	return []hint{
		{[]string{"CT-02", "CT-03", "CT-03-first", "CT-08", "CT-11"},
			"UDP flows follow their connection tracking entry: chain backends/conntrack behind the sink"},
		{[]string{"DP-14", "DP-14-update", "DP-34", "churn", "OP-05", "service-recreated"},
			"a change must not pass through a state without rules, and must not delete entries of established connections"},
		{[]string{"DP-62", "DP-62-changes", "DP-62-affinity"},
			"chain backends/localhost behind the sink, or set net.ipv4.conf.*.route_localnet and masquerade"},
		{[]string{"DP-61", "DP-63"},
			"the node port matches every local address; loopback addresses are local too"},
		{[]string{"DP-22"},
			"a connection from an endpoint to itself is masqueraded even if Route.Masquerade is false"},
		{[]string{"DP-20", "DP-23"},
			"masquerading needs fully random source ports, and a mark or set that no other rule clears"},
		{[]string{"DP-16", "DP-16-change", "DP-16-drain"},
			"Endpoint.Weight is relative to the other endpoints of its pool; declare FeatureWeights as unsupported if the dataplane has no weights"},
		{[]string{"DP-17", "DP-17-algorithm", "DP-17-removal", "DP-17-weights", "DP-18", "DP-18-algorithm", "DP-18-removal"},
			"package localsink/consistent determines the endpoint; its client is the source of the packet before masquerading, on every node"},
		{[]string{"DP-19", "DP-19-all", "DP-19-empty", "DP-19-affinity"},
			"draw the refused share once for each new connection, after source ranges and affinity entries, before the endpoint is selected"},
		{[]string{"DP-26", "DP-26-hairpin", "DP-26-change"},
			"Node.NoMasquerade matches the client, applies to Route.Masquerade only, and may change without any Service"},
		{[]string{"DP-27", "DP-27-networks", "DP-27-routes", "DP-27-change"},
			"a passed packet ends the rules of Services: it meets neither node ports, nor the refusal of cluster IPs, nor Node.ServiceNetworks"},
		{[]string{"DP-02", "DP-10"},
			"an address of Node.ServiceNetworks belongs to Services alone: refuse its other ports, do not translate ICMP"},
		{[]string{"SEL-20", "SEL-20-both"},
			"an empty pool is refused with a TCP reset or an ICMP error, also for processes on the node; Frontend without endpoints still exist in the update"},
		{[]string{"DP-41", "DP-44"},
			"each new connection restarts the duration of Port.Affinity"},
		{[]string{"OP-14", "OP-14-cut-off"},
			"after an error the next Update repeats all changes since the last acknowledged state: apply an update completely, or not at all"},
		{[]string{"first-update"},
			"the first Update is complete: remove what it does not contain, also what an earlier process has left"},
		{[]string{"OP-16"},
			"send on the channel of ResyncRequested when another program has changed the target"},
	}
}

// hintFor returns the hint for a behaviour, "" if there is none.
func hintFor(id string) string {
	for _, h := range hints() {
		if slices.Contains(h.ids, id) {
			return h.text
		}
	}
	return ""
}
