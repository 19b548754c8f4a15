// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sigs.k8s.io/kpng/backends/hns"
	"sigs.k8s.io/kpng/backends/hns/hcn"
)

// openHNS returns the HNS of this node.
func openHNS() (hns.HNS, func() error, error) {
	h := hcn.Open()
	return h, h.Close, nil
}
