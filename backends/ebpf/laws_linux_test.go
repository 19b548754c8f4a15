// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestSinkContract runs the tests of all sinks with the real kernel.
func TestSinkContract(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{
		Unsupported: localsink.FeatureSCTP | localsink.FeatureSelectionLeastConnections | localsink.FeatureNoMasquerade,
		New: func(t *testing.T) (localsink.Sink, func() string) {
			b := newBed(t, Config{}).backend
			return b, func() string { return describe(t, b) }
		},
	})
}

// TestSinkContractWithDevices is the same with records for clients outside.
func TestSinkContractWithDevices(t *testing.T) {
	addChains(t, netnstest.New(t))
	skipWithoutCommonTypes(t)
	sinktest.TestSink(t, sinktest.Harness{
		Unsupported: localsink.FeatureSCTP | localsink.FeatureSelectionLeastConnections | localsink.FeaturePass | localsink.FeatureNoMasquerade,
		New: func(t *testing.T) (localsink.Sink, func() string) {
			b := newBed(t, Config{Combined: true, Devices: []string{"out*"}}).backend
			return b, func() string { return describe(t, b) }
		},
	})
}

// describe returns what the maps in the kernel contain, without the numbers that depend on
// history.
func describe(t testing.TB, b *Backend) string {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil {
		return ""
	}
	m := b.state.maps.(*linuxMaps)
	frontends, err := m.readFrontends()
	require.NoError(t, err)
	var lines []string
	for k, value := range frontends {
		host, outside := uint32(value>>32), uint32(0)
		if b.state.compiler.packets && host != 0 {
			outside = host + 1
		}
		lines = append(lines, fmt.Sprintln(k.addrPort(), k[18], describeRecord(t, m, host), describeRecord(t, m, uint32(value)), describeRecord(t, m, outside)))
	}
	var addr bytecode.ServicesAddr
	var one uint8
	for it := m.collection.Maps[bytecode.ServicesMapLocalAddrs].Iterate(); it.Next(&addr, &one); {
		lines = append(lines, fmt.Sprintln("node port address", addr))
	}
	lines = append(lines, describeRanges(m.collection.Maps[bytecode.ServicesMapRanges], podNetworks))
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func describeRecord(t testing.TB, m *linuxMaps, index uint32) string {
	t.Helper()
	if index == 0 {
		return "none"
	}
	var data [recordSize]byte
	_, err := m.arrays[arrayRecords].ReadAt(data[:], int64(index)*recordSize)
	require.NoError(t, err)
	number := func(at int) uint32 { return binary.NativeEndian.Uint32(data[at:]) }
	base, total, table, cells, ranges := number(24), number(32), number(72), number(76), number(36)
	text := fmt.Sprint(hex.EncodeToString(data[:24]), number(28), " refused ", number(40), " affinity ", hex.EncodeToString(data[56:72]))
	for i := range total {
		var s [slotSize]byte
		_, err := m.arrays[arraySlots].ReadAt(s[:], int64(base+i)*slotSize)
		require.NoError(t, err)
		text += fmt.Sprint(" ", endpointKey(s[:20]).addrPort(), " ", hex.EncodeToString(s[20:28]))
	}
	sum := uint64(0)
	for i := range cells {
		var c [cellSize]byte
		_, err := m.arrays[arrayCells].ReadAt(c[:], int64(table+i)*cellSize)
		require.NoError(t, err)
		sum = sum*31 + uint64(c[0])
	}
	text += fmt.Sprint(" table ", sum)
	if ranges > 0 {
		text += describeRanges(m.collection.Maps[bytecode.ServicesMapRanges], ranges)
	}
	return text
}

func describeRanges(m *ebpf.Map, id uint32) string {
	var all []string
	var k bytecode.ServicesRange
	var one uint8
	for it := m.Iterate(); it.Next(&k, &one); {
		if k.Id == id {
			all = append(all, fmt.Sprint(k.Prefix, k.Addr, one))
		}
	}
	slices.Sort(all)
	return " ranges " + strings.Join(all, " ")
}

// TestLayout compares the layout of records and slots with that of the bytecode.
func TestLayout(t *testing.T) {
	spec, err := bytecode.LoadServices()
	require.NoError(t, err)
	require.EqualValues(t, recordSize, spec.Maps[bytecode.ServicesMapRecords].ValueSize)
	require.EqualValues(t, slotSize, spec.Maps[bytecode.ServicesMapSlots].ValueSize)
	r := record{
		frontend: frontendKey{1}, verdict: 1, hashing: 2, denied: 3, empty: 4, base: 5, count: 6, total: 7, table: 8, cells: 9,
		ranges: 10, refused: 11, counter: 12, version: 13, affinity: 14, tmo: 15,
	}
	var data [recordSize]byte
	r.encode(data[:])
	var got bytecode.ServicesRecord
	n, err := binary.Decode(data[:], binary.NativeEndian, &got)
	require.NoError(t, err)
	require.Equal(t, recordSize, n)
	require.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, []uint64{
		uint64(got.Verdict), uint64(got.Hashing), uint64(got.Denied), uint64(got.Empty), uint64(got.Base), uint64(got.Count), uint64(got.Total),
		uint64(got.Table), uint64(got.Cells), uint64(got.Ranges), uint64(got.Refused), uint64(got.Counter), got.Version, got.Affinity, got.Timeout,
	})
	var s [slotSize]byte
	(&slot{threshold: 1, alias: 2, counter: 3}).encode(s[:])
	var gotSlot bytecode.ServicesSlot
	_, err = binary.Decode(s[:], binary.NativeEndian, &gotSlot)
	require.NoError(t, err)
	require.Equal(t, []uint32{1, 2, 3}, []uint32{gotSlot.Threshold, gotSlot.Alias, gotSlot.Counter})
}
