// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A PodDetection configures how packets from pods of the node are recognised. At most one
// field is set; the zero value recognises none.
type PodDetection struct {
	// ClusterCIDRs are the networks of all pods of the cluster; the first of each family is
	// used. Packets from pods of other nodes are recognised too when they arrive with their
	// original source address.
	ClusterCIDRs []netip.Prefix
	// NodeCIDR uses the pod networks of the Node object.
	NodeCIDR bool
	// Interface is the name of the bridge to which all local pods are attached.
	Interface string
	// InterfacePrefix is the prefix of the names of the local pods' interfaces.
	InterfacePrefix string
}

func (d *PodDetection) validate() error {
	for i, p := range d.ClusterCIDRs {
		if !p.IsValid() {
			return fmt.Errorf("LocalPods.ClusterCIDRs[%d]: invalid network", i)
		}
	}
	set := 0
	for _, on := range []bool{len(d.ClusterCIDRs) > 0, d.NodeCIDR, d.Interface != "", d.InterfacePrefix != ""} {
		if on {
			set++
		}
	}
	if set > 1 {
		return errors.New("LocalPods: at most one of ClusterCIDRs, NodeCIDR, Interface and InterfacePrefix may be set")
	}
	return nil
}

// sources returns the sources of local pods on a node; object is nil when nothing is
// known of it.
func (d *PodDetection) sources(object *watchers.Node) localsink.PodSources {
	out := localsink.PodSources{Interface: d.Interface, InterfacePrefix: d.InterfacePrefix}
	networks := d.ClusterCIDRs
	if d.NodeCIDR && object != nil {
		networks = object.PodCIDRs
	}
	for _, p := range networks {
		sameFamily := func(q netip.Prefix) bool { return q.Addr().Is4() == p.Addr().Is4() }
		if d.NodeCIDR || !slices.ContainsFunc(out.Networks, sameFamily) {
			out.Networks = append(out.Networks, p.Masked())
		}
	}
	return out
}
