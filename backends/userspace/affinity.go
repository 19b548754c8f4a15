// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"net/netip"
	"time"
)

// maxAffinityEntries limits the clients of one port whose endpoints are remembered. Beyond it,
// an arbitrary client loses its entry.
const maxAffinityEntries = 1 << 16

// An affinityTable holds the endpoint of each client of a port with session affinity. nil is an
// empty table.
type affinityTable map[netip.Addr]affinityEntry

type affinityEntry struct {
	endpoint netip.AddrPort
	lastUsed time.Time // the start of the last connection
}

// get returns the endpoint of a client, if its last connection was less than timeout ago.
func (t *affinityTable) get(client netip.Addr, now time.Time, timeout time.Duration) (netip.AddrPort, bool) {
	e, ok := (*t)[client]
	return e.endpoint, ok && now.Sub(e.lastUsed) < timeout
}

// put sets the entry of a client. Expired entries are removed each time that the table has
// doubled.
func (t *affinityTable) put(client netip.Addr, e affinityEntry, timeout time.Duration) {
	if *t == nil {
		*t = affinityTable{}
	}
	if _, present := (*t)[client]; !present {
		if n := len(*t); powerOfTwo(n) && n < maxAffinityEntries {
			t.deleteFunc(func(old affinityEntry) bool { return e.lastUsed.Sub(old.lastUsed) >= timeout })
		}
		for other := range *t {
			if len(*t) < maxAffinityEntries {
				break
			}
			delete(*t, other)
		}
	}
	(*t)[client] = e
}

// powerOfTwo reports whether n is 64, 128, 256 and so on.
func powerOfTwo(n int) bool { return n >= 64 && n&(n-1) == 0 }

// deleteFunc deletes the entries for which del returns true.
func (t *affinityTable) deleteFunc(del func(affinityEntry) bool) {
	for client, e := range *t {
		if del(e) {
			delete(*t, client)
		}
	}
}
