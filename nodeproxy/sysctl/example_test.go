// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sysctl_test

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/kpng/nodeproxy/sysctl"
)

func ExampleConntrack_Apply() {
	dir, _ := os.MkdirTemp("", "netfilter") // a program uses sysctl.ConntrackDirectory
	defer os.RemoveAll(dir)
	limit := filepath.Join(dir, "nf_conntrack_max")
	_ = os.WriteFile(limit, []byte("65536\n"), 0o600)
	sysctl.Conntrack{Max: 131072}.Apply(dir, nil)
	value, _ := os.ReadFile(limit)
	fmt.Println(string(value))
	// Output: 131072
}
