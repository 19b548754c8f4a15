// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

// Stats are numbers of a [Sink]. Those by kind are in the order of [Kinds].
type Stats struct {
	// Names is the number of resource names that are served; each has one resource of each kind.
	Names int
	// Bytes is the size of all encoded resources.
	Bytes int
	// Streams is the number of open streams, and Opened that of all streams until now.
	Streams, Opened int
	// Responses and Rejections count responses that were sent, and those that clients rejected.
	Responses, Rejections [kinds]int
}

// Kinds returns the names of the kinds of resources.
func Kinds() []string {
	var all []string
	for k := range kinds {
		all = append(all, k.String())
	}
	return all
}

// Stats returns the current numbers.
func (s *Sink) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Names, out.Streams = s.table.served, len(s.streams)
	for i := range s.table.entries {
		for _, r := range s.table.entries[i].resources {
			if r != nil {
				out.Bytes += len(r.delta)
			}
		}
	}
	return out
}
