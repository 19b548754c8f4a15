// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

// repairs counts what the sinks of a command repair. Its methods may be called concurrently after all
// sinks have been added.
type repairs struct {
	counts  []func() uint64
	unknown bool // a sink does not report its repairs
}

func (r *repairs) add(n NodeSink) {
	switch {
	case n.Sink == nil:
	case n.Repairs == nil:
		r.unknown = true
	default:
		r.counts = append(r.counts, n.Repairs)
	}
}

// count is conntrack.Config.Repairs.
func (r *repairs) count() (total uint64, known bool) {
	for _, count := range r.counts {
		total += count()
	}
	return total, !r.unknown
}

// noRepairs is the count of sinks that program nothing.
func noRepairs() uint64 { return 0 }
