// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendmetrics

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/ebpf"
)

type fakeMaps struct {
	usage []ebpf.MapUsage
	err   error
}

func (m fakeMaps) MapUsage() ([]ebpf.MapUsage, error) { return m.usage, m.err }

func TestMapPressureIsCollected(t *testing.T) {
	collector := NewEBPF(fakeMaps{usage: []ebpf.MapUsage{{Name: "slots", Used: 3, Size: 4}, {Name: "flows", Size: 8, Fixed: true}}})
	require.NoError(t, testutil.CollectAndCompare(collector, strings.NewReader(`
# HELP kpng_ebpf_map_entries Entries in use of a BPF map.
# TYPE kpng_ebpf_map_entries gauge
kpng_ebpf_map_entries{map="flows"} 0
kpng_ebpf_map_entries{map="slots"} 3
# HELP kpng_ebpf_map_pressure Share of the entries of a BPF map that are in use, 0 to 1. A full map is replaced by a larger one, or forgets old entries.
# TYPE kpng_ebpf_map_pressure gauge
kpng_ebpf_map_pressure{map="flows"} 0
kpng_ebpf_map_pressure{map="slots"} 0.75
`)))
	_, err := testutil.CollectAndLint(NewEBPF(fakeMaps{err: errors.New("injected")}))
	require.ErrorContains(t, err, "injected")
}
