// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"sync"

	"sigs.k8s.io/kpng/watchers"
)

// A KnownNode holds what is known of one node while the cluster state has no Node object of
// it: the last one, or what the caller assumes before there is any. A machine whose Node was
// deleted still receives traffic, so its node ports must not close. The zero value is
// empty. Its methods may be called concurrently.
type KnownNode struct {
	mu   sync.Mutex
	last *watchers.Node
}

// Remember records a Node object, or assumed properties of the node. It ignores nil. Where
// node has no addresses or no pod networks, the earlier ones remain: a Node that was created
// again gets them after a while.
func (k *KnownNode) Remember(node *watchers.Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = completed(node, k.last)
}

// Last returns what is known, or nil. The result must not be modified.
func (k *KnownNode) Last() *watchers.Node {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

// complete returns object, completed by what is known; nil if nothing is known. k may be nil.
func (k *KnownNode) complete(object *watchers.Node) *watchers.Node {
	if k == nil {
		return object
	}
	return completed(object, k.Last())
}

// completed returns object with the addresses and pod networks of last where it has none.
func completed(object, last *watchers.Node) *watchers.Node {
	switch {
	case object == nil:
		return last
	case last == nil || len(object.IPs) > 0 && len(object.PodCIDRs) > 0:
		return object
	}
	out := *object
	if len(out.IPs) == 0 {
		out.IPs = last.IPs
	}
	if len(out.PodCIDRs) == 0 {
		out.PodCIDRs = last.PodCIDRs
	}
	return &out
}
