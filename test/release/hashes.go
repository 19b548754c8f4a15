// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// checksumFile is the name of the file with the checksums, in the format of sha256sum.
const checksumFile = "SHA256SUMS"

// hashes returns the SHA-256 of each file in dir by name.
func hashes(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return nil, err
		}
		sums[e.Name()] = hex.EncodeToString(h.Sum(nil))
	}
	return sums, nil
}

// compareDirs returns an error that names each file that the directories do not have with the same content.
func compareDirs(first, second string) error {
	a, err := hashes(first)
	if err != nil {
		return err
	}
	b, err := hashes(second)
	if err != nil {
		return err
	}
	if len(a) == 0 {
		return fmt.Errorf("%s: no files to compare", first)
	}
	var differences []error
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if a[name] != b[name] {
			differences = append(differences, fmt.Errorf("%s: the first build has SHA-256 %q, the second %q", name, a[name], b[name]))
		}
	}
	return errors.Join(differences...)
}

// writeChecksums writes the checksums of all other files in dir.
func writeChecksums(dir string) error {
	sums, err := hashes(dir)
	if err != nil {
		return err
	}
	delete(sums, checksumFile)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&b, "%s  %s\n", sums[name], name)
	}
	return os.WriteFile(filepath.Join(dir, checksumFile), []byte(b.String()), 0o644)
}
