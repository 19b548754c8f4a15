// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
)

// sharedUsage implements kernel.
func (k *linuxKernel) sharedUsage() ([]MapUsage, error) {
	var all []MapUsage
	for _, of := range []struct {
		name  string
		count func(*ebpf.Map) (uint64, error)
	}{
		{bytecode.ServicesMapNamespaces, countEntries[uint64, uint8]},
		{bytecode.ServicesMapAffinity, countEntries[bytecode.ServicesClient, bytecode.ServicesChoice]},
		{bytecode.ServicesMapFlows, countEntries[bytecode.ServicesFlow, bytecode.ServicesChoice]},
		{bytecode.ServicesMapReverse, countEntries[bytecode.ServicesFlow, bytecode.ServicesOrigin]},
	} {
		m := k.shared[of.name]
		n, err := of.count(m)
		if err != nil {
			return nil, fmt.Errorf("map %s: %w", of.name, err)
		}
		all = append(all, MapUsage{Name: of.name, Used: n, Size: uint64(m.MaxEntries()), Fixed: true})
	}
	return all, nil
}

// countEntries returns the number of entries of a map with keys K and values V.
func countEntries[K, V any](m *ebpf.Map) (uint64, error) {
	const perCall = 1024
	var cursor ebpf.MapBatchCursor
	keys, values := make([]K, perCall), make([]V, perCall)
	for total := uint64(0); ; {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		total += uint64(n)
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return total, nil
		case err != nil:
			return 0, err
		}
	}
}
