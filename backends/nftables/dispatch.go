// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// maxPools is the maximum number of pools that the routes of one frontend can distinguish:
// one for each [localsink.From].
const maxPools = 3

// A dispatch is what happens to the connections to a frontend, without what is particular
// to its Service. Frontends with equal dispatches share a dispatch chain, unless their port
// has session affinity. Dispatches are comparable and immutable.
type dispatch struct {
	affinityID string // of the port; empty without affinity
	branches   [maxPools]branch
	count      uint8
	match      matchKind
	selection  localsink.Selection // of the tables of branches; zero if no branch has a table
	proto      localsink.Protocol  // likewise
	refused    uint16              // share of connections to a pool that are rejected, in 1/1000
}

// A branch is one reachable route.
type branch struct {
	table      *selectionTable // of consistent selection; nil otherwise
	from       localsink.From
	masquerade bool
	empty      localsink.Verdict // when there is no endpoint
	// pool is the number of the pool, from one; zero when there is no endpoint. Without
	// affinity it counts the pools of the frontend, with affinity those of the port.
	pool int32
	size int32 // slots of the pool; zero with affinity or a table
}

// newDispatch reduces routes to a dispatch. used holds the index in pools of each of its
// pools, and -1 beyond the last. Routes that are never reached are left out.
func newDispatch(k matchKind, routes []localsink.Route, pools []localsink.Pool) (d dispatch, used [maxPools]int) {
	d.match = k
	n := 0
	for _, route := range routes {
		if d.covers(route.From) {
			continue
		}
		b := branch{from: route.From}
		if size := len(pools[route.Pool].Endpoints); size > 0 {
			at := slices.Index(used[:n], route.Pool)
			if at < 0 {
				at, used[n] = n, route.Pool
				n++
			}
			b.masquerade, b.pool, b.size = route.Masquerade, int32(at+1), int32(size)
		} else {
			b.empty = route.EmptyVerdict
		}
		d.branches[d.count] = b
		d.count++
	}
	for i := n; i < maxPools; i++ {
		used[i] = -1
	}
	return d, used
}

// withAffinity returns the dispatch for a port with affinity: its branches lead to the
// affinity chains of that port.
func (d *dispatch) withAffinity(id string, used [maxPools]int) dispatch {
	out := *d
	for i := range out.branches[:out.count] {
		if b := &out.branches[i]; b.pool > 0 {
			b.pool, b.size, out.affinityID = int32(used[b.pool-1]+1), 0, id
		}
	}
	return out
}

// covers reports whether a branch matches all clients of the kind already.
func (d *dispatch) covers(from localsink.From) bool {
	for _, b := range d.branches[:d.count] {
		if b.from == from || b.from == localsink.FromAny {
			return true
		}
	}
	return false
}

// target returns the chain that a branch leads to.
func (d *dispatch) target(b branch) string {
	switch {
	case b.pool > 0 && d.affinityID != "":
		return affinityChainName(d.affinityID, int(b.pool))
	case b.table != nil:
		return b.table.chainOf(d.selection, d.proto)
	case b.pool > 0:
		return d.lbChain(b).name()
	case b.empty == localsink.VerdictDrop:
		return chainDrop
	case b.empty == localsink.VerdictPass:
		return chainPass
	}
	return chainReject
}

// directTarget returns the chain that verdicts go to when no dispatch chain is needed:
// all clients are treated alike and none is masqueraded.
func (d *dispatch) directTarget() (chain string, ok bool) {
	b := d.branches[0]
	if d.count == 1 && b.from == localsink.FromAny && !b.masquerade && d.affinityID == "" && (d.refused == 0 || b.pool == 0) {
		return d.target(b), true
	}
	return "", false
}

// name returns the name of the chain that verdicts go to. The name of a dispatch chain lists
// its branches: kind of client, whether it masquerades, and target.
func (d *dispatch) name() string {
	if direct, ok := d.directTarget(); ok {
		return direct
	}
	var s strings.Builder
	s.WriteString(prefixDispatch)
	s.WriteString(d.match.noun())
	if d.affinityID != "" {
		s.WriteString("." + d.affinityID)
	}
	if d.refused > 0 {
		s.WriteString(".refuse" + strconv.Itoa(int(d.refused)))
	}
	if d.selection != localsink.SelectionRandom {
		s.WriteString("." + selectionWord(d.selection, d.proto))
	}
	for _, b := range d.branches[:d.count] {
		s.WriteString("." + [...]string{"any", "pods", "node"}[b.from] + "-")
		if b.masquerade {
			s.WriteString("masq-")
		}
		switch {
		case b.pool > 0 && d.affinityID != "":
			s.WriteString(poolWord + strconv.Itoa(int(b.pool)))
		case b.table != nil:
			s.WriteString(b.table.name)
		case b.pool > 0:
			s.WriteString(d.lbChain(b).ref())
		case b.empty == localsink.VerdictDrop:
			s.WriteString("drop")
		case b.empty == localsink.VerdictPass:
			s.WriteString("pass")
		default:
			s.WriteString("reject")
		}
	}
	return s.String()
}

func (d *dispatch) comment() string {
	if d.affinityID != "" {
		return commentAffinityDispatch
	}
	return commentDispatch
}

// rules returns the rules of the dispatch chain; mark is the masquerade mark.
func (d *dispatch) rules(f *family, n *nodeMatches, mark uint32) []rule {
	var rules []rule
	for _, b := range d.branches[:d.count] {
		var steps rule
		if b.masquerade {
			steps = rule{loadMeta(nfnl.MetaMark, word(0)), bitwise(word(0), native(^mark), native(mark)), setMeta(nfnl.MetaMark, word(0))}
		}
		steps = steps.then(goTo(d.target(b)))
		for _, match := range n.clientMatches(f, b.from) {
			if b.pool > 0 && d.refused > 0 {
				rules = append(rules, match.then(randomlyBelow(int(d.refused), 1000)...).then(goTo(chainReject)))
			}
			rules = append(rules, match.then(steps...))
		}
	}
	return rules
}

// passes reports whether a branch leaves packets alone.
func (d *dispatch) passes() bool {
	return slices.ContainsFunc(d.branches[:d.count], func(b branch) bool { return b.pool == 0 && b.empty == localsink.VerdictPass })
}

func (d *dispatch) lbChain(b branch) lbChain { return lbChain{d.match, uint8(b.pool), int(b.size)} }

// lbChains yields the load-balancing chains that the dispatch leads to.
func (d *dispatch) lbChains(yield func(lbChain) bool) {
	for _, b := range d.branches[:d.count] {
		if b.pool > 0 && b.table == nil && d.affinityID == "" && !yield(d.lbChain(b)) {
			return
		}
	}
}
