// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import "net/netip"

// A ServiceCIDR lists networks from which cluster IPs are allocated.
type ServiceCIDR struct {
	Name     string
	Networks []netip.Prefix
	// Problems lists the invalid fields.
	Problems []Problem
}
