// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// Verdicts of the kernel's interface.
const (
	verdictAccept = -2
	verdictReturn = -5
)

// A builder writes entries of a table.
type builder struct{ *blob }

// add appends an entry with a target, and returns its offset.
func (b *builder) add(name string, content []byte) int {
	offset := len(b.data)
	target := make([]byte, targetData, targetData+len(content))
	copy(target[targetName:], name)
	target = append(target, content...)
	e := append(make([]byte, b.layout.size), target...)
	binary.NativeEndian.PutUint16(e[b.layout.targetOffset:], uint16(b.layout.size))
	binary.NativeEndian.PutUint16(e[b.layout.nextOffset:], uint16(len(e)))
	b.data = append(b.data, e...)
	b.numEntries++
	return offset
}

func (b *builder) verdict(v int) int {
	return b.add("", binary.NativeEndian.AppendUint64(nil, uint64(uint32(int32(v)))))
}

func (b *builder) name(name string) {
	content := make([]byte, chainNameLen+2)
	copy(content, name)
	b.add(errorTarget, content)
}

// exampleTable has the chain INPUT, which jumps to KUBE-A, USER and KUBE-A, in a table with
// two more user-defined chains. USER has a rule without target and one with an extension.
func exampleTable(l layout) *blob {
	size := l.size + targetData + 8
	name := l.size + targetData + chainNameLen + 2
	kubeA := 4 * size
	user := kubeA + name + 2*size
	b := &builder{&blob{layout: l, validHooks: 1 << 1}}
	b.hookEntry[1] = uint32(b.verdict(kubeA + name))
	b.verdict(user + name)
	b.verdict(kubeA + name)
	b.underflow[1] = uint32(b.verdict(verdictAccept))
	b.name("KUBE-A")
	b.verdict(user + name)
	b.verdict(verdictReturn)
	b.name("USER")
	b.verdict(user + name + size)
	b.add("MARK", make([]byte, 8))
	b.verdict(verdictReturn)
	b.name(errorTarget)
	return b.blob
}

func layouts() []layout { return []layout{layout4(), layout6()} }

func isKube(name string) bool { return name == "KUBE-A" }

func never(string) bool { return false }

func TestEditOfATable(t *testing.T) {
	for _, l := range layouts() {
		b := exampleTable(l)
		require.NoError(t, b.parse())
		chains, err := b.list()
		require.NoError(t, err)
		require.Equal(t, []chain{
			{name: "INPUT", builtin: true, targets: [][]string{{"KUBE-A"}, {"USER"}, {"KUBE-A"}}},
			{name: "KUBE-A", targets: [][]string{{"USER"}}},
			{name: "USER", targets: [][]string{nil, nil}},
		}, chains)
		e, kept := newEdit(chains, isKube, never, nil)
		require.Empty(t, kept)
		changed, err := b.apply(e)
		require.NoError(t, err)

		after := &blob{
			layout: l, numEntries: len(changed.from), validHooks: b.validHooks,
			hookEntry: changed.hookEntry, underflow: changed.underflow, data: changed.data,
		}
		require.NoError(t, after.parse())
		chains, err = after.list()
		require.NoError(t, err)
		require.Equal(t, []chain{
			{name: "INPUT", builtin: true, targets: [][]string{{"USER"}}},
			{name: "USER", targets: [][]string{nil, nil}},
		}, chains)
		require.Equal(t, []int{1, 3, 7, 8, 9, 10, 11}, changed.from)
	}
}

func TestChainInUseBecomesEmpty(t *testing.T) {
	chains := []chain{
		{name: "OUTPUT", builtin: true, targets: [][]string{{"KUBE-A"}}},
		{name: "KUBE-A", targets: [][]string{nil, nil}},
		{name: "USER", targets: [][]string{{"KUBE-A"}}},
	}
	e, kept := newEdit(chains, isKube, never, nil)
	require.Equal(t, []string{"KUBE-A (used by USER)"}, kept)
	require.Equal(t, edit{rules: map[string][]int{"OUTPUT": {0}}, flush: []string{"KUBE-A"}}, e)
	e, _ = newEdit(chains, isKube, isKube, nil)
	require.Empty(t, e.flush, "it keeps its rules")
	e, kept = newEdit(chains[:2], isKube, never, map[string]string{"KUBE-A": "a map"})
	require.Equal(t, []string{"KUBE-A (used by a map)"}, kept)
	require.Equal(t, []string{"KUBE-A"}, e.flush)
}

// FuzzTable checks that no content makes parse, list and apply panic, and that what they
// accept has no entry that points outside.
func FuzzTable(f *testing.F) {
	for i, l := range layouts() {
		b := exampleTable(l)
		f.Add(i == 1, b.numEntries, b.validHooks, b.hookEntry[1], b.underflow[1], b.data)
	}
	f.Fuzz(func(t *testing.T, isIPv6 bool, numEntries int, hooks, entry, underflow uint32, data []byte) {
		l := layout4()
		if isIPv6 {
			l = layout6()
		}
		b := &blob{layout: l, numEntries: numEntries, validHooks: hooks, data: data}
		b.hookEntry[1], b.underflow[1] = entry, underflow
		if b.parse() != nil {
			return
		}
		chains, err := b.list()
		if err != nil {
			return
		}
		e, _ := newEdit(chains, func(name string) bool { return len(name)%2 == 0 }, never, nil)
		changed, err := b.apply(e)
		if err != nil {
			return
		}
		for _, from := range changed.from {
			require.Less(t, from, len(b.entries))
		}
		require.LessOrEqual(t, len(changed.data), len(data))
	})
}
