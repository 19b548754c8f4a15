// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"fmt"
)

// A MapUsage is how full a map is. Maps with a fixed size forget the entry that is used least
// recently; the others are replaced by larger ones.
type MapUsage struct {
	Name       string
	Used, Size uint64
	Fixed      bool
}

// MapUsage returns how full the maps are. It reads the entries of those with a fixed size, which
// takes milliseconds.
func (b *Backend) MapUsage() ([]MapUsage, error) {
	all := b.ownUsage()
	b.closing.RLock()
	defer b.closing.RUnlock()
	if b.closed {
		return nil, nil
	}
	shared, err := b.kernel.sharedUsage()
	if err != nil {
		return nil, fmt.Errorf("ebpf: map usage: %w", err)
	}
	return append(all, shared...), nil
}

// ownUsage returns the usage of the maps of the present load.
func (b *Backend) ownUsage() []MapUsage {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.state
	if s == nil {
		return nil
	}
	of := func(a *arena) uint64 { return uint64(a.inUse + a.queued) }
	all := []MapUsage{
		{Name: "frontends", Used: uint64(len(s.frontends)), Size: uint64(s.sizes.frontends)},
		{Name: "records", Used: of(s.records), Size: uint64(s.sizes.records)},
		{Name: "slots", Used: of(s.slots), Size: uint64(s.sizes.slots)},
		{Name: "tables", Used: of(s.cells), Size: uint64(s.sizes.cells)},
		{Name: "ranges", Used: uint64(s.rangesInUse), Size: uint64(s.sizes.ranges)},
		{Name: "local_addrs", Used: uint64(len(s.addrs)), Size: uint64(s.sizes.addrs)},
	}
	if s.counting {
		all = append(all, MapUsage{Name: "counters", Used: uint64(s.counters.next - 1), Size: uint64(s.sizes.counters)})
	}
	return all
}
