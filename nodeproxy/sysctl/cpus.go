// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// OnlineCPUs returns the number of CPUs of the node that are online, from the files below
// root, [Root] in a program. The process may be allowed to use fewer of them. Without these
// files it is the number of CPUs that the process may use.
func OnlineCPUs(root string) int {
	list, err := os.ReadFile(filepath.Join(root, "sys/devices/system/cpu/online"))
	if err != nil {
		return runtime.NumCPU()
	}
	cpus := 0
	for part := range strings.SplitSeq(strings.TrimSpace(string(list)), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || last < first {
			return runtime.NumCPU()
		}
		cpus += last - first + 1
	}
	return cpus
}
