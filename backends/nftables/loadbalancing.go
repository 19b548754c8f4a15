// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"math/bits"
	"strconv"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// An endpointMap identifies one of the maps that hold endpoints. To add an element costs the
// kernel time for each rule that uses the map, so pools of similar size share one: pools of
// at most limit endpoints, and of more than half of that unless limit is the smallest.
type endpointMap struct {
	match matchKind
	pool  uint8 // which pool of a frontend, from one
	limit int
}

const (
	// minEndpointMapLimit is the limit of the endpoint map for the smallest pools.
	minEndpointMapLimit = 8
	// preallocatedSize is the size up to which load-balancing chains exist in each table.
	preallocatedSize = 32
)

// endpointMapLimit returns the limit of the endpoint map for a pool of n endpoints.
func endpointMapLimit(n int) int {
	return max(minEndpointMapLimit, 1<<bits.Len(uint(n-1)))
}

func (e endpointMap) name() string {
	return prefixEndpoints + e.match.noun() + "-" + poolWord + strconv.Itoa(int(e.pool)) + "-max" + strconv.Itoa(e.limit)
}

func (e endpointMap) kind() setKind {
	if e.match == matchNodePort {
		return endpointsByNodePort
	}
	return endpointsByAddress
}

// An lbChain identifies a load-balancing chain. The chain sends a connection to a random one
// of size endpoints, which its endpoint map holds for the destination of the packet.
type lbChain struct {
	match matchKind
	pool  uint8 // which pool of a frontend, from one
	size  int
}

func (c lbChain) endpointMap() endpointMap {
	return endpointMap{c.match, c.pool, endpointMapLimit(c.size)}
}

func (c lbChain) name() string { return prefixLoadBalance + c.match.noun() + "-" + c.ref() }

// ref returns the part of the name that dispatch chains refer to.
func (c lbChain) ref() string {
	return poolWord + strconv.Itoa(int(c.pool)) + "-" + strconv.Itoa(c.size)
}

func (c lbChain) rules(f *family) []rule {
	r, next := loadKey(f, c.match)
	addrWords := f.addrLen / 4
	return []rule{r.then(randomBelow(c.size, word(next)), mapTo(c.endpointMap().name()), dnat(f, word(0), word(addrWords)))}
}

// loadKey loads the key by which frontends of the kind are found into registers from the
// first. It returns the index of the next free register.
func loadKey(f *family, k matchKind) (loads rule, next int) {
	if k == matchAddress {
		loads, next = rule{loadDaddr(f, word(0))}, f.addrLen/4
	}
	return loads.then(loadMeta(nfnl.MetaL4proto, word(next)), loadDport(word(next+1))), next + 2
}
