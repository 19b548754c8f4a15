// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendmetrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/backends/ebpf"
)

// A MapUser has BPF maps; *ebpf.Backend is one.
type MapUser interface {
	MapUsage() ([]ebpf.MapUsage, error)
}

// NewEBPF returns the collector of how full the maps of b are. Nothing is measured between
// collections.
func NewEBPF(b MapUser) prometheus.Collector {
	return &mapUsage{
		user: b,
		entries: prometheus.NewDesc("kpng_ebpf_map_entries",
			"Entries in use of a BPF map.", []string{"map"}, nil),
		pressure: prometheus.NewDesc("kpng_ebpf_map_pressure",
			"Share of the entries of a BPF map that are in use, 0 to 1. A full map is replaced by a larger one, or forgets old entries.", []string{"map"}, nil),
	}
}

type mapUsage struct {
	user              MapUser
	entries, pressure *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (m *mapUsage) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.entries
	ch <- m.pressure
}

// Collect implements [prometheus.Collector].
func (m *mapUsage) Collect(ch chan<- prometheus.Metric) {
	all, err := m.user.MapUsage()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(m.pressure, err)
	}
	for _, u := range all {
		ch <- prometheus.MustNewConstMetric(m.entries, prometheus.GaugeValue, float64(u.Used), u.Name)
		ch <- prometheus.MustNewConstMetric(m.pressure, prometheus.GaugeValue, float64(u.Used)/float64(u.Size), u.Name)
	}
}
