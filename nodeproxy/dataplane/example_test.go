// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane_test

import (
	"errors"
	"fmt"

	"sigs.k8s.io/kpng/nodeproxy/dataplane"
)

// A program with a flag for the mode falls back where the machine does not support it.
func ExampleNew() {
	mode := "ebtables" // of a flag
	d, err := dataplane.New(mode, dataplane.Config{})
	if errors.Is(err, dataplane.ErrUnavailable) {
		d, err = dataplane.New(dataplane.ModeNFTables, dataplane.Config{})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	// Output: dataplane: mode "ebtables": want one of nftables, ebpf, iptables, ipvs, userspace
}
