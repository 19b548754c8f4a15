// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// minSamples is the number of quiet points from which the growth of a process is checked.
const minSamples = 4

// A limit is how much a metric may grow: to its maximum in the first half of the samples of a process,
// times factor, plus extra.
type limit struct {
	metric        string
	factor, extra float64
}

// limits returns the limits of all processes. Memory and streams of a server depend on which nodes
// prefer it, those of a node on the number of objects, so they vary; a leak of one goroutine,
// descriptor or kilobyte per operation exceeds the limits within an hour.
func limits() []limit {
	return []limit{
		{"process_resident_memory_bytes", 1.5, 32 << 20},
		{"go_goroutines", 1.25, 25},
		{"process_open_fds", 1.25, 20},
	}
}

// resources are the measurements of all processes, by process and process ID.
type resources struct {
	samples map[string][]map[string]float64
}

// measure adds a sample of a process.
func (r *resources) measure(ctx context.Context, p *process) error {
	var names []string
	for _, l := range limits() {
		names = append(names, l.metric)
	}
	values, err := p.metrics(ctx, names...)
	if err != nil {
		return err
	}
	if r.samples == nil {
		r.samples = map[string][]map[string]float64{}
	}
	key := fmt.Sprintf("%s (process %d)", p.name, p.PID())
	r.samples[key] = append(r.samples[key], values)
	return nil
}

// halves returns the maximum in the first half of the samples, and in the last quarter.
func halves(samples []map[string]float64, metric string) (first, last float64) {
	for i, s := range samples {
		if i < len(samples)/2 {
			first = max(first, s[metric])
		}
		if i >= len(samples)-(len(samples)+3)/4 {
			last = max(last, s[metric])
		}
	}
	return first, last
}

// flat returns an error that names what has grown.
func (r *resources) flat() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(r.samples)) {
		samples := r.samples[name]
		if len(samples) < minSamples {
			continue
		}
		for _, l := range limits() {
			if first, last := halves(samples, l.metric); last > first*l.factor+l.extra {
				errs = append(errs, fmt.Errorf("%s: %s grew from %.0f to %.0f in %d quiet points", name, l.metric, first, last, len(samples)))
			}
		}
	}
	return errors.Join(errs...)
}

// String returns a table of all measurements.
func (r *resources) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.samples)) {
		samples := r.samples[name]
		fmt.Fprintf(&b, "%-26s %3d quiet points", name, len(samples))
		for _, l := range limits() {
			first, last := halves(samples, l.metric)
			if l.metric == "process_resident_memory_bytes" {
				first, last = first/(1<<20), last/(1<<20)
			}
			fmt.Fprintf(&b, "  %s %.0f, %.0f", l.metric, first, last)
		}
		b.WriteString("\n")
	}
	return b.String()
}
