// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"slices"
	"sync/atomic"
	"time"
)

// Stats summarises the state of a server and its nodes.
type Stats struct {
	// Revision is that of the newest state; 0 before the first one.
	Revision uint64
	// Connected is the number of nodes that have a stream. Of them, Current have applied the
	// newest state, and the last acknowledgement of Failing was a failure.
	Connected, Current, Failing int
	// Disconnected is the number of Nodes that have no stream to this server. Unknown is the
	// number of connected nodes whose Node object is missing, usually because of a
	// misspelt name.
	Disconnected, Unknown int
	// Lags holds, for each connected node, the time since the oldest update that it has not
	// applied was sent; 0 if it has applied all of them. Lags is sorted in ascending order.
	Lags []time.Duration
	// Messages and Bytes count what was sent to nodes since the server was created.
	Messages, Bytes uint64
}

// Stats returns the current statistics. It may be called concurrently. Its cost grows with
// the number of nodes.
func (s *Server) Stats() Stats {
	st := s.hub.Snapshot()
	out := Stats{Revision: st.Revision, Messages: s.traffic.messages.Load(), Bytes: s.traffic.bytes.Load()}
	if st.Revision == 0 {
		return out
	}
	for _, n := range s.nodes(st, time.Now()) {
		if !n.GetConnected() {
			out.Disconnected++
			continue
		}
		out.Connected++
		if st.Extra.cluster.Node(n.GetName()) == nil {
			out.Unknown++
		}
		if n.GetLastError() != "" {
			out.Failing++
		}
		if n.GetAppliedRevision() >= st.Revision {
			out.Current++
		}
		out.Lags = append(out.Lags, time.Duration(n.GetLagNs()))
	}
	slices.Sort(out.Lags)
	return out
}

// traffic counts what is sent to nodes.
type traffic struct{ messages, bytes atomic.Uint64 }

func (t *traffic) count(size int) {
	t.messages.Add(1)
	t.bytes.Add(uint64(size))
}
