// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
)

// The pools of a port.
const (
	poolNodeHint overlay.Pool = iota // endpoints with a topology hint for this node
	poolCluster                      // endpoints for traffic that may leave the node
	poolLocal                        // endpoints of this node, for traffic that must stay on it
)

// clusterPools returns the pools of traffic that may leave the node.
func clusterPools(set *endpointSet) []overlay.Pool {
	if set.nodeHints {
		return []overlay.Pool{poolNodeHint, poolCluster}
	}
	return []overlay.Pool{poolCluster}
}

// internalRoutes returns the routes of the cluster IP. Clients other than local pods are
// masqueraded, so that replies return through this node. A node that cannot recognise its
// local pods masquerades no client.
func (f *serviceFamily) internalRoutes(set *endpointSet) []overlay.Route {
	direct := overlay.Route{Pools: clusterPools(set)}
	if f.internalLocal {
		direct.Pools, direct.EmptyVerdict = []overlay.Pool{poolLocal}, emptyLocalVerdict(set)
	}
	masqueraded := direct
	masqueraded.Masquerade = true
	switch {
	case !set.anyUsable:
		return []overlay.Route{direct}
	case f.masqueradeAll:
		return []overlay.Route{masqueraded}
	}
	pods, others := direct, masqueraded
	pods.From, pods.Condition = localsink.FromLocalPods, overlay.ConditionPodsKnown
	others.Condition, direct.Condition = overlay.ConditionPodsKnown, overlay.ConditionPodsUnknown
	return []overlay.Route{pods, others, direct}
}

// externalRoutes returns the routes of addresses for clients outside of the cluster. With
// external traffic policy Local, such clients reach only endpoints of this node and keep
// their address; local pods and the node itself reach all endpoints, as through the
// cluster IP.
func (f *serviceFamily) externalRoutes(set *endpointSet) []overlay.Route {
	pods := overlay.Route{Pools: clusterPools(set)}
	if !set.anyUsable {
		return []overlay.Route{pods}
	}
	node := pods
	node.Masquerade = true
	if !f.externalLocal {
		return []overlay.Route{node}
	}
	node.From = localsink.FromThisNode
	pods.From, pods.Condition = localsink.FromLocalPods, overlay.ConditionPodsKnown
	return []overlay.Route{pods, node, {Pools: []overlay.Pool{poolLocal}, EmptyVerdict: emptyLocalVerdict(set)}}
}

// emptyLocalVerdict returns the verdict for traffic that must stay on a node without usable
// endpoints. It is dropped, not rejected, while another node could serve the client.
func emptyLocalVerdict(set *endpointSet) localsink.Verdict {
	if set.anyUsable {
		return localsink.VerdictDrop
	}
	return localsink.VerdictReject
}

// withVerdictPass returns a copy of routes that pass packets on if there are no endpoints.
func withVerdictPass(routes []overlay.Route) []overlay.Route {
	out := slices.Clone(routes)
	for i := range out {
		out[i].EmptyVerdict = localsink.VerdictPass
	}
	return out
}
