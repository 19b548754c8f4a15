// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sysctl_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/kpng/nodeproxy/sysctl"
)

func ExampleConntrack_Apply() {
	root, _ := os.MkdirTemp("", "root") // a program uses sysctl.Root
	defer os.RemoveAll(root)
	timeout := filepath.Join(root, "proc/sys/net/netfilter/nf_conntrack_udp_timeout")
	_ = os.MkdirAll(filepath.Dir(timeout), 0o700)
	_ = os.WriteFile(timeout, []byte("30\n"), 0o600)
	err := sysctl.Conntrack{UDPTimeout: time.Minute}.Apply(root, nil)
	value, _ := os.ReadFile(timeout)
	fmt.Println(string(value), err)
	// Output: 60 <nil>
}
