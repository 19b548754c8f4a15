// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package qemutest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestImageFormat checks the archive that the kernel reads: parents before what they contain, sizes
// and padding.
func TestImageFormat(t *testing.T) {
	source := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(source, []byte("12345"), 0o700))
	m := &Image{entries: map[string]entry{}}
	require.NoError(t, m.AddFile("/bin/x", source))
	m.AddData("/bin", fs.ModeSymlink, []byte("usr/bin"))
	var out bytes.Buffer
	require.NoError(t, m.Write(&out))
	header := func(inode, mode, size, name string) string {
		zero := "00000000"
		return "070701" + inode + mode + zero + zero + "00000001" + zero + size + zero + zero + zero + zero + name + zero
	}
	require.Equal(t, strings.Join([]string{
		header("00000001", "0000a1ff", "00000007", "00000004"), "bin\x00\x00\x00", "usr/bin\x00",
		header("00000002", "000041ed", "00000000", "00000004"), "usr\x00\x00\x00",
		header("00000003", "000041ed", "00000000", "00000008"), "usr/bin\x00\x00\x00",
		header("00000004", "000081c0", "00000005", "0000000a"), "usr/bin/x\x00", "12345\x00\x00\x00",
		header("00000000", "00000000", "00000000", "0000000b"), "TRAILER!!!\x00\x00\x00\x00",
	}, "|"), joinParts(out.String()))
	require.Zero(t, out.Len()%4)
}

// joinParts separates the records of an archive, and their data.
func joinParts(s string) string {
	const headerSize = 110
	var parts []string
	for len(s) > 0 {
		var size, name int
		size, name = number(s[54:62]), number(s[94:102])
		nameEnd := (headerSize + name + 3) / 4 * 4
		parts = append(parts, s[:headerSize], s[headerSize:nameEnd])
		dataEnd := nameEnd + (size+3)/4*4
		if size > 0 {
			parts = append(parts, s[nameEnd:dataEnd])
		}
		s = s[dataEnd:]
	}
	return strings.Join(parts, "|")
}

func number(hex string) (n int) {
	for _, c := range hex {
		n = n*16 + strings.IndexRune("0123456789abcdef", c)
	}
	return n
}

func TestKernelMode(t *testing.T) {
	require.Equal(t, uint32(0o040755), kernelMode(fs.ModeDir|0o755))
	require.Equal(t, uint32(0o120777), kernelMode(fs.ModeSymlink))
	require.Equal(t, uint32(0o100600), kernelMode(0o600))
}
