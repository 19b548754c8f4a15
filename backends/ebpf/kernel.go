// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"context"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

// A kernel loads maps with their programs and attaches them. linuxKernel implements it.
type kernel interface {
	// load creates empty maps, and programs that use them and are not attached.
	load(s sizes) (maps, error)
	// attach replaces the attached programs by those of m, each at once.
	attach(m maps) error
	// attachDevices attaches the program of the last attach for packets from outside to the devices
	// of the configuration that do not have it, and detaches it from others.
	attachDevices(pods *localsink.PodSources) error
	// intact reports whether the programs of the last attach are still attached.
	intact() (bool, error)
	// closeSockets closes connected UDP sockets whose endpoint has been removed.
	closeSockets(ctx context.Context, isRemoved func(f frontendKey, e endpointKey) bool) (int, error)
	// readRewrites calls each for the rewrites that the programs record, until ctx is done.
	readRewrites(ctx context.Context, each func(rewrite)) error
	// sharedUsage returns the usage of the maps that all loads share.
	sharedUsage() ([]MapUsage, error)
	close() error
}

// sizes are numbers of elements.
type sizes struct{ frontends, records, slots, cells, ranges, addrs, counters uint32 }

// An array is one of the arrays whose elements the program finds by index.
type array uint8

const (
	arrayRecords array = iota
	arraySlots
	arrayCells
)

// elementSize returns the size of an element in bytes, with padding.
func (a array) elementSize() int64 {
	switch a {
	case arrayRecords:
		return recordSize
	case arraySlots:
		return slotSize
	case arrayCells:
	}
	return cellSize
}

// podNetworks is the identifier of the networks of pods, as in services.bpf.c. Those of source
// ranges are larger.
const podNetworks = 1

// A rangeValue is the value of a network.
type rangeValue uint8

// The values, with those of services.bpf.c.
const (
	rangeContained rangeValue = iota + 1
	rangeUnknown
)

// maps are the maps of one load. Elements of arrays that a frontend refers to are not written.
type maps interface {
	write(a array, index uint32, data []byte) error
	putFrontends(keys []frontendKey, values []uint64) error
	deleteFrontends(keys []frontendKey) error
	// readFrontends returns all frontends.
	readFrontends() (map[frontendKey]uint64, error)
	// addRanges and deleteRanges change the networks with an identifier.
	addRanges(id uint32, prefixes []netip.Prefix, value rangeValue) error
	deleteRanges(id uint32, prefixes []netip.Prefix) error
	setLocalAddrs(add, remove []netip.Addr) error
	// readCounter returns the sum over all processors.
	readCounter(index uint32) (uint64, error)
	close() error
}

// withRoom returns the sizes of maps for what is needed, with room
// for as much again.
func (need sizes) withRoom() sizes {
	room := func(n, least uint32) uint32 {
		size := least
		for size < 2*n {
			size *= 2
		}
		return size
	}
	return sizes{
		frontends: room(need.frontends, 4096), records: room(need.records, 4096), slots: room(need.slots, 16384),
		cells: room(need.cells, 16384), ranges: room(need.ranges, 1024), addrs: room(need.addrs, 1024),
		counters: room(need.counters, 1),
	}
}

// isConsistent reports whether a selection uses a table.
func isConsistent(s localsink.Selection) bool { return hashingOf(s) != hashingRandom }
