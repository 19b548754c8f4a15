// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
)

// batch is the number of elements of one system call.
const batch = 4096

// linuxMaps implements maps with a loaded collection. The arrays are mapped into memory, so
// writing to them needs no system call.
type linuxMaps struct {
	collection *ebpf.Collection
	arrays     [3]*ebpf.Memory
	outside    *ebpf.Program // for packets from outside; nil without devices
}

func newLinuxMaps(c *ebpf.Collection) (*linuxMaps, error) {
	m := &linuxMaps{collection: c}
	for a, name := range []string{arrayRecords: bytecode.ServicesMapRecords, arraySlots: bytecode.ServicesMapSlots, arrayCells: bytecode.ServicesMapTables} {
		var err error
		if m.arrays[a], err = c.Maps[name].Memory(); err != nil {
			c.Close()
			return nil, fmt.Errorf("map %s: %w", name, err)
		}
	}
	return m, nil
}

func (m *linuxMaps) write(a array, index uint32, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	_, err := m.arrays[a].WriteAt(data, int64(index)*a.elementSize())
	return err
}

func (m *linuxMaps) putFrontends(keys []frontendKey, values []uint64) error {
	frontends := m.collection.Maps[bytecode.ServicesMapFrontends]
	if len(keys) == 1 {
		return wrap("update frontend", frontends.Put(&keys[0], &values[0]))
	}
	for len(keys) > 0 {
		n, err := frontends.BatchUpdate(keys[:min(batch, len(keys))], values[:min(batch, len(keys))], nil)
		if err != nil {
			return wrap("update frontends", err)
		}
		keys, values = keys[n:], values[n:]
	}
	return nil
}

func (m *linuxMaps) deleteFrontends(keys []frontendKey) error {
	for i := range keys {
		err := m.collection.Maps[bytecode.ServicesMapFrontends].Delete(&keys[i])
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return wrap("delete frontend", err)
		}
	}
	return nil
}

func (m *linuxMaps) readFrontends() (map[frontendKey]uint64, error) {
	all := map[frontendKey]uint64{}
	var cursor ebpf.MapBatchCursor
	keys, values := make([]frontendKey, batch), make([]uint64, batch)
	for {
		n, err := m.collection.Maps[bytecode.ServicesMapFrontends].BatchLookup(&cursor, keys, values, nil)
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !last {
			return nil, wrap("read frontends", err)
		}
		for i := range n {
			all[keys[i]] = values[i]
		}
		if last {
			return all, nil
		}
	}
}

// rangeKey returns the key of a source range. IPv4 networks are in ::ffff:0:0/96.
func rangeKey(id uint32, p netip.Prefix) bytecode.ServicesRange {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return bytecode.ServicesRange{Prefix: uint32(32 + bits), Id: id, Addr: addrWords(p.Masked().Addr())}
}

func (m *linuxMaps) addRanges(id uint32, prefixes []netip.Prefix, value rangeValue) error {
	for _, p := range prefixes {
		k := rangeKey(id, p)
		if err := m.collection.Maps[bytecode.ServicesMapRanges].Put(&k, uint8(value)); err != nil {
			return wrap("add source range "+p.String(), err)
		}
	}
	return nil
}

func (m *linuxMaps) deleteRanges(id uint32, prefixes []netip.Prefix) error {
	for _, p := range prefixes {
		k := rangeKey(id, p)
		if err := m.collection.Maps[bytecode.ServicesMapRanges].Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return wrap("delete source range "+p.String(), err)
		}
	}
	return nil
}

func (m *linuxMaps) setLocalAddrs(add, remove []netip.Addr) error {
	addrs := m.collection.Maps[bytecode.ServicesMapLocalAddrs]
	for _, a := range add {
		k := addrWords(a)
		if err := addrs.Put(&k, uint8(1)); err != nil {
			return wrap("add node port address "+a.String(), err)
		}
	}
	for _, a := range remove {
		k := addrWords(a)
		if err := addrs.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return wrap("delete node port address "+a.String(), err)
		}
	}
	return nil
}

func (m *linuxMaps) readCounter(index uint32) (uint64, error) {
	var perCPU []uint64
	if err := m.collection.Maps[bytecode.ServicesMapCounters].Lookup(&index, &perCPU); err != nil {
		return 0, wrap("read counter", err)
	}
	sum := uint64(0)
	for _, v := range perCPU {
		sum += v
	}
	return sum, nil
}

func (m *linuxMaps) close() error {
	m.collection.Close()
	return m.outside.Close() // of nil too
}

// addrWords returns an address in the form of the program.
func addrWords(a netip.Addr) bytecode.ServicesAddr {
	var out bytecode.ServicesAddr
	b := a.As16()
	for i := range out.W {
		out.W[i] = nativeUint32(b[4*i:])
	}
	return out
}

func wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", operation, err)
}
