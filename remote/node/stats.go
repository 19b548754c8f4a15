// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"slices"
	"sync/atomic"
	"time"
)

// Stats are how a server and its nodes stand.
type Stats struct {
	// Revision is the newest state's; 0 before the first.
	Revision uint64
	// Connected nodes have a stream. Of them, those that are Current have applied the
	// newest state, and those that are Failing could not apply what they tried last.
	Connected, Current, Failing int
	// Disconnected nodes exist and have no stream to this server. Unknown ones have, and there is
	// no Node of that name: most are misspelt.
	Disconnected, Unknown int
	// Lags say, for each connected node, how long it has not applied what is newest; 0
	// when it has. The least comes first.
	Lags []time.Duration
	// Messages and Bytes are what nodes were sent since the server began.
	Messages, Bytes uint64
}

// Stats returns how the server and its nodes stand now. What it costs grows with the
// number of nodes.
func (s *Server) Stats() Stats {
	st := s.hub.State()
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

// traffic counts what nodes are sent.
type traffic struct{ messages, bytes atomic.Uint64 }

func (t *traffic) count(size int) {
	t.messages.Add(1)
	t.bytes.Add(uint64(size))
}
