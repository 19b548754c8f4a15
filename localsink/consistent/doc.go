// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package consistent is the algorithm of consistent selection: every backend on every node
// that uses it sends a client to the same endpoint. A change of the endpoints moves few other
// clients.
//
// [HashClient] and [HashFlow] are the hash of a client, and [NewTable] distributes the values of
// the hash to endpoints:
//
//	slot     = hash * len(table) / 2^32
//	endpoint = endpoints[table[slot]]
//
// The hash is jhash of the Linux kernel, and the division into slots is that of the expression
// "jhash ... mod" of nftables, so a backend can compute both in the kernel.
//
// # Promises
//
//   - The endpoint of a client depends on the client and on the set of endpoints with their
//     weights. The order of the list, earlier sets and the node do not matter. For IPv6, all
//     nodes must have the same byte order, because the kernel's hash depends on it.
//   - To remove an endpoint with the share w/W of all weights moves at most w/W + 1 % of the
//     slots, whatever the number of endpoints. To add one moves as many.
//   - An endpoint gets at most its share, a quarter of that or 1/160 of all slots in addition,
//     whichever is less, and four more slots for rounding.
//
// The first and the third hold always. The second holds with the probability that pseudo-random
// numbers give it: in 45,000 removals from random sets of 3 to 10 endpoints, where it is least,
// 0.86 % of the slots moved beyond the share of the removed endpoint at most, 0.006 % on average.
//
// # The table
//
// The table is a variant of Maglev's. Each endpoint has a pseudo-random permutation of the
// slots, and endpoints take slots in the order of their permutations, in turns. Two rules
// differ from Maglev:
//
//   - An endpoint whose next slot is taken loses its turn. In Maglev it takes its next free
//     slot, so the removal of one endpoint shifts the later turns of all others. Here, the owner
//     of a slot is the endpoint that has it earliest in its permutation (rendezvous hashing),
//     so only slots of the removed endpoint move.
//   - An endpoint that has its share and a margin gets no more slots. This bounds the
//     differences between endpoints. Only slots that an endpoint could not take for that reason
//     may move although their owner remains.
//
// The turns of an endpoint are spaced like the events of an exponential distribution, and follow
// each other the faster the larger its weight. So the shares are proportional to the weights,
// and only ratios of weights matter.
//
// # The size of the table
//
// A table has 8,191 slots for up to 128 endpoints, four times as many for up to 512, and
// sixteen times as many above that; 1 slot if there is only one endpoint. Beyond 2,048
// endpoints shares become uneven, and an endpoint may get no slot; the same holds for an endpoint
// with a share below 0.1 %. With fewer slots, the second promise would not hold for few
// endpoints.
//
// The promises hold across a change of the size too: the slot s of the smaller table becomes
// the slots 4s to 4s+3, which have the same endpoint at first. The more endpoints there are, the
// more of these slots are distributed one by one.
package consistent
