// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

const (
	reverse4 = "in-addr.arpa"
	reverse6 = "ip6.arpa"
)

// parseReverse parses the name of an address. ok is false for other names.
func parseReverse(name string) (addr netip.Addr, ok bool) {
	if rest, found := strings.CutSuffix(name, "."+reverse4); found {
		return parseReverse4(rest)
	}
	if rest, found := strings.CutSuffix(name, "."+reverse6); found {
		return parseReverse6(rest)
	}
	return netip.Addr{}, false
}

func parseReverse4(rest string) (netip.Addr, bool) {
	var b [4]byte
	for i := range b {
		var label string
		rest, label = cutFirst(rest)
		n, err := strconv.ParseUint(label, 10, 8)
		if err != nil || strconv.FormatUint(n, 10) != label {
			return netip.Addr{}, false
		}
		b[len(b)-1-i] = byte(n)
	}
	return netip.AddrFrom4(b), rest == ""
}

func parseReverse6(rest string) (netip.Addr, bool) {
	const nibbles = 32
	if len(rest) != 2*nibbles-1 {
		return netip.Addr{}, false
	}
	var digits [nibbles]byte
	for i := range digits {
		if i > 0 && rest[2*i-1] != '.' {
			return netip.Addr{}, false
		}
		digits[nibbles-1-i] = rest[2*i]
	}
	var b [nibbles / 2]byte
	_, err := hex.Decode(b[:], digits[:])
	return netip.AddrFrom16(b), err == nil
}

func cutFirst(name string) (rest, label string) {
	label, rest, _ = strings.Cut(name, ".")
	return rest, label
}

// reverse answers the name of an address. Addresses that are not of Services are not of this server,
// except those in the networks of cluster IPs.
func (a *answer) reverse(addr netip.Addr) {
	names := a.server.reverse.names(addr)
	if len(names) == 0 && !a.isServiceNetwork(addr) {
		a.code = dnsmessage.RCodeRefused
		return
	}
	a.authoritative = true
	if len(names) == 0 {
		a.nxdomain()
	}
	if a.has(dnsmessage.TypePTR) {
		for _, n := range names {
			a.writer.record(dnsmessage.TypePTR, func(b []byte) []byte {
				if n.endpoint {
					host := n.host
					if host == "" {
						host = dashed(addr)
					}
					b = appendName(b, host, nil)
				}
				return a.appendService(b, n.service)
			})
		}
	}
	zone := appendName(nil, reverse4, []byte{0})
	if addr.Is6() {
		zone = appendName(nil, reverse6, []byte{0})
	}
	a.negative(zone)
}

func (a *answer) isServiceNetwork(addr netip.Addr) bool {
	for cidr := range a.cluster.ServiceCIDRs() {
		if slices.ContainsFunc(cidr.Networks, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return true
		}
	}
	return false
}

// An ownerName is a name of an address: of a Service, or of an endpoint of a headless one. Its strings
// are those of the cluster state.
type ownerName struct {
	service  localsink.ServiceName
	host     string
	endpoint bool
}

// A reverseIndex has the names of addresses.
type reverseIndex struct {
	reader *diffstore.Reader[watchers.Key, watchers.Object]

	// Owned by update: what the index has of each Service.
	services map[localsink.ServiceName][]netip.Addr

	mu sync.RWMutex
	// one has the name of an address that has a single one, and more the names of others.
	one  map[netip.Addr]*owner
	more map[netip.Addr][]*owner
}

// An owner is the names that an address has from one Service.
type owner struct{ ownerName }

func newReverseIndex(store *watchers.Store) *reverseIndex {
	return &reverseIndex{
		reader: store.Reader(), services: map[localsink.ServiceName][]netip.Addr{},
		one: map[netip.Addr]*owner{}, more: map[netip.Addr][]*owner{},
	}
}

// names returns the names of an address.
func (r *reverseIndex) names(addr netip.Addr) (names []ownerName) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if o := r.one[addr]; o != nil {
		return []ownerName{o.ownerName}
	}
	for _, o := range r.more[addr] {
		names = append(names, o.ownerName)
	}
	return names
}

// update follows the changes of the store: those of a Service cost time in proportion to its size. It
// returns a channel that is closed when there are more.
func (r *reverseIndex) update() <-chan struct{} {
	snapshot, changes := r.reader.Pending()
	cluster := watchers.Snapshot{Snapshot: snapshot}
	changed := map[localsink.ServiceName]struct{}{}
	for c := range changes {
		if (c.Key.Kind == watchers.KindService || c.Key.Kind == watchers.KindEndpointSlice) && c.Key.Origin == "" {
			changed[c.Key.Service()] = struct{}{}
		}
	}
	for name := range changed {
		r.replace(cluster, name)
	}
	r.reader.Acknowledge(snapshot)
	return snapshot.Newer()
}

// replace replaces what the index has of a Service.
func (r *reverseIndex) replace(cluster watchers.Snapshot, name localsink.ServiceName) {
	desired := ownersOf(cluster, name)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, addr := range r.services[name] {
		r.remove(addr, name)
	}
	delete(r.services, name)
	if len(desired) == 0 {
		return
	}
	addrs := make([]netip.Addr, 0, len(desired))
	for addr, o := range desired {
		addrs = append(addrs, addr)
		r.add(addr, o)
	}
	r.services[name] = addrs
}

// ownersOf returns the addresses of a Service with their names.
func ownersOf(cluster watchers.Snapshot, name localsink.ServiceName) map[netip.Addr]*owner {
	s := cluster.Service(name)
	if s == nil || isExternalName(s) {
		return nil
	}
	out := map[netip.Addr]*owner{}
	if s.Details == nil || !s.Details.Headless {
		o := &owner{ownerName{service: s.Name}}
		for _, ip := range clusterIPs(s) {
			if ip.IsValid() {
				out[ip] = o
			}
		}
		return out
	}
	for slice := range cluster.EndpointSlices(name) {
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; e.Ready {
				o := &owner{ownerName{service: s.Name, endpoint: true}}
				if i < len(slice.Details) {
					o.host = slice.Details[i].Hostname
				}
				out[e.Addr] = o
			}
		}
	}
	return out
}

func (r *reverseIndex) add(addr netip.Addr, o *owner) {
	switch first, list := r.one[addr], r.more[addr]; {
	case first != nil:
		delete(r.one, addr)
		r.more[addr] = []*owner{first, o}
	case list != nil:
		r.more[addr] = append(list, o)
	default:
		r.one[addr] = o
	}
}

func (r *reverseIndex) remove(addr netip.Addr, name localsink.ServiceName) {
	if _, single := r.one[addr]; single {
		delete(r.one, addr)
		return
	}
	list := slices.DeleteFunc(r.more[addr], func(o *owner) bool { return o.service == name })
	if len(list) > 1 {
		r.more[addr] = list
		return
	}
	delete(r.more, addr)
	if len(list) == 1 {
		r.one[addr] = list[0]
	}
}
