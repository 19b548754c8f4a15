// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxInput is the size in bytes of the largest file that is committed.
const maxInput = 4096

// An input is one file of a corpus and what it covers: blocks of code, each with the magnitude of the
// number of its executions.
type input struct {
	name    string
	size    int
	covered map[string]bool
}

// selectCorpus leaves at most keep files in the committed corpus of t, selected from that corpus and
// from what the go command has found on this machine.
func (t target) selectCorpus(ctx context.Context, keep int) (err error) {
	binary, err := t.buildWithCoverage(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(binary)) }()
	committed := filepath.Join(t.dir, "testdata", "fuzz", t.name)
	if err := t.copyFound(ctx, committed); err != nil {
		return err
	}
	seeds, err := t.seedCoverage(ctx, binary)
	if err != nil {
		return err
	}
	inputs, err := t.measure(ctx, binary, committed)
	if err != nil {
		return err
	}
	kept := selectInputs(seeds, inputs, keep)
	for _, in := range inputs {
		if !slices.Contains(kept, in.name) {
			if err := os.Remove(filepath.Join(committed, in.name)); err != nil {
				return err
			}
		}
	}
	fmt.Printf("corpus of %s: %d of %d inputs\n", t, len(kept), len(inputs))
	if len(kept) == 0 {
		return os.Remove(committed)
	}
	return nil
}

// selectInputs returns the names of at most keep inputs: each covers most of what the seeds and the inputs
// before it do not cover, the smallest one first among equals.
func selectInputs(seeds map[string]bool, inputs []input, keep int) (names []string) {
	covered := map[string]bool{}
	for block := range seeds {
		covered[block] = true
	}
	inputs = slices.Clone(inputs)
	slices.SortFunc(inputs, func(a, b input) int {
		if a.size != b.size {
			return a.size - b.size
		}
		return strings.Compare(a.name, b.name)
	})
	for len(names) < keep {
		best, gain := -1, 0
		for i, in := range inputs {
			if n := in.beyond(covered); n > gain {
				best, gain = i, n
			}
		}
		if best < 0 {
			break
		}
		names = append(names, inputs[best].name)
		for block := range inputs[best].covered {
			covered[block] = true
		}
	}
	return names
}

// beyond returns the number of blocks that in covers and covered does not have.
func (in input) beyond(covered map[string]bool) (n int) {
	for block := range in.covered {
		if !covered[block] {
			n++
		}
	}
	return n
}

// buildWithCoverage compiles the test of t, with coverage of the packages of its module that it uses.
func (t target) buildWithCoverage(ctx context.Context) (binary string, err error) {
	const ofModule = "{{if and .Module (not .ForTest)}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}"
	out, err := output(ctx, t.module, "go", "list", "-deps", "-test", "-f", ofModule, t.pkg)
	if err != nil {
		return "", err
	}
	packages := slices.DeleteFunc(strings.Fields(string(out)), func(p string) bool { return strings.HasSuffix(p, ".test") })
	f, err := os.CreateTemp("", "fuzz-*.test")
	if err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	_, err = output(ctx, t.module, "go", "test", "-vet=off", "-c", "-covermode=count", "-coverpkg="+strings.Join(packages, ","), "-o", f.Name(), t.pkg)
	return f.Name(), err
}

// copyFound copies the inputs that the go command keeps in its build cache to the committed corpus.
func (t target) copyFound(ctx context.Context, committed string) error {
	cache, err := output(ctx, t.module, "go", "env", "GOCACHE")
	if err != nil {
		return err
	}
	found := filepath.Join(strings.TrimSpace(string(cache)), "fuzz", filepath.FromSlash(t.pkg), t.name)
	entries, err := os.ReadDir(found)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(committed, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(found, e.Name()))
		if err != nil {
			return err
		}
		if len(data) > maxInput {
			continue
		}
		if err := os.WriteFile(filepath.Join(committed, e.Name()), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// measure runs each file of the corpus by itself.
func (t target) measure(ctx context.Context, binary, committed string) (inputs []input, err error) {
	entries, err := os.ReadDir(committed)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		covered, err := t.coverage(ctx, binary, e.Name())
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", e.Name(), err)
		}
		inputs = append(inputs, input{e.Name(), int(info.Size()), covered})
	}
	return inputs, nil
}

// seedCoverage returns what the seeds cover that the target adds itself, each by itself.
func (t target) seedCoverage(ctx context.Context, binary string) (map[string]bool, error) {
	out, err := output(ctx, t.dir, binary, "-test.v", "-test.run", "^"+t.name+"$/^seed#")
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^=== RUN +`+t.name+`/(seed#\d+)$`).FindAllSubmatch(out, -1) {
		covered, err := t.coverage(ctx, binary, string(m[1]))
		if err != nil {
			return nil, err
		}
		maps.Copy(all, covered)
	}
	return all, nil
}

// coverage returns what one input covers.
func (t target) coverage(ctx context.Context, binary, name string) (map[string]bool, error) {
	profile := binary + ".cover"
	if _, err := output(ctx, t.dir, binary, "-test.run", "^"+t.name+"$/^"+name+"$", "-test.coverprofile", profile); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(profile)
	return coveredBlocks(data), errors.Join(err, os.Remove(profile))
}

// coveredBlocks returns the executed blocks of a coverage profile, with the number of binary digits of the
// number of executions.
func coveredBlocks(profile []byte) map[string]bool {
	blocks := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(\S+) \d+ ([1-9]\d*)$`).FindAllSubmatch(bytes.TrimSpace(profile), -1) {
		if executions, err := strconv.ParseUint(string(m[2]), 10, 64); err == nil {
			blocks[fmt.Sprintf("%s %d", m[1], bits.Len64(executions))] = true
		}
	}
	return blocks
}
