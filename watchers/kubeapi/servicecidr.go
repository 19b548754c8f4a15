// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	networkingv1 "k8s.io/api/networking/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/valid"
)

// ServiceCIDR converts a ServiceCIDR.
func ServiceCIDR(c *networkingv1.ServiceCIDR) *watchers.ServiceCIDR {
	p := &fieldParser{object: "ServiceCIDR " + c.Name}
	out := &watchers.ServiceCIDR{Name: intern(c.Name), Networks: p.prefixes(c.Spec.CIDRs, valid.ServiceNetwork, "spec.cidrs[%d]")}
	out.Problems = p.problems
	return out
}
