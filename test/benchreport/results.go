// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package benchreport

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// A Result is what was measured of one program with one number of Services.
type Result struct {
	Program     string  `json:"program"` // with its mode
	Services    int     `json:"services"`
	Endpoints   int     `json:"endpoints"`   // of each Service
	Start       float64 `json:"start"`       // seconds until random cluster IPs answer
	Latency     float64 `json:"latency"`     // milliseconds from the write of an EndpointSlice to a connection, median
	LatencyHigh float64 `json:"latencyHigh"` // the same, 90 %
	CPU         float64 `json:"cpu"`         // milliseconds of CPU for an endpoint change, ten changes a second
	Memory      float64 `json:"memory"`      // resident megabytes after that
	Peak        float64 `json:"peak"`        // the maximum
	Changes     int     `json:"changes"`     // in the measurement of CPU
}

// Append adds a result to a file, as a line of JSON.
func Append(path string, r Result) (err error) {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// Read returns the results in a file, by number of Services. Of two with the same program and number, the
// later one counts.
func Read(path string) (results []Result, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(bytes.NewReader(data)); ; {
		var r Result
		if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if r.Program == "" || r.Services <= 0 {
			return nil, fmt.Errorf("%s: result without program or services: %+v", path, r)
		}
		results = slices.DeleteFunc(results, func(old Result) bool { return old.Program == r.Program && old.Services == r.Services })
		results = append(results, r)
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("%s: no results", path)
	}
	slices.SortStableFunc(results, func(a, b Result) int { return cmp.Compare(a.Services, b.Services) })
	return results, nil
}

// programs returns the programs in the order of their first results.
func programs(results []Result) (names []string) {
	for _, r := range results {
		if !slices.Contains(names, r.Program) {
			names = append(names, r.Program)
		}
	}
	return names
}

// A metric is one quantity of results, and its plot.
type metric struct {
	file, title, unit string
	value             func(Result) float64
}

func metrics() []metric {
	return []metric{
		{"bench-start.svg", "Start until cluster IPs answer", "s", func(r Result) float64 { return r.Start }},
		{"bench-latency.svg", "Write of an EndpointSlice to first connection, median", "ms", func(r Result) float64 { return r.Latency }},
		{"bench-cpu.svg", "CPU time per endpoint change, ten a second", "ms", func(r Result) float64 { return r.CPU }},
		{"bench-memory.svg", "Resident memory", "MB", func(r Result) float64 { return r.Memory }},
	}
}

// plot returns the chart of a metric.
func (m metric) plot(results []Result) chart {
	c := chart{title: m.title, xLabel: "Services", yLabel: m.unit}
	for _, name := range programs(results) {
		s := series{name: name}
		for _, r := range results {
			if r.Program == name && m.value(r) > 0 {
				s.points = append(s.points, point{float64(r.Services), m.value(r)})
			}
		}
		if len(s.points) > 0 {
			c.series = append(c.series, s)
		}
	}
	return c
}
