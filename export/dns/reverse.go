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
	names := a.namesOf(addr)
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
				if n.host != "" {
					b = appendName(b, n.host, nil)
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

// A reverseName is a name of an address: of a Service, or of an endpoint of a headless one.
type reverseName struct {
	service localsink.ServiceName
	host    string // "" for a Service
}

// namesOf returns the names of an address.
func (a *answer) namesOf(addr netip.Addr) (names []reverseName) {
	for _, name := range a.server.reverse.services(addr) {
		s := a.cluster.Service(name)
		switch {
		case s == nil || isExternalName(s): // newer than the index
		case !isHeadless(s):
			names = append(names, reverseName{service: name})
		default:
			if host := a.hostOf(name, addr); host != "" {
				names = append(names, reverseName{name, host})
			}
		}
	}
	return names
}

// hostOf returns the host of a ready endpoint of a headless Service, or "".
func (a *answer) hostOf(name localsink.ServiceName, addr netip.Addr) (host string) {
	for slice := range a.cluster.EndpointSlices(name) {
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; !e.Ready || e.Addr != addr {
				continue
			}
			if host = dashed(addr); i < len(slice.Details) && slice.Details[i].Hostname != "" {
				host = slice.Details[i].Hostname
			}
		}
	}
	return host
}

// A reverseIndex has the Services of addresses: those of cluster IPs, and the headless ones of
// endpoints. The hosts of endpoints are in the cluster state alone.
type reverseIndex struct {
	reader *diffstore.Reader[watchers.Key, watchers.Object]

	// Owned by update: what the index has of each Service.
	addrs map[localsink.ServiceName][]netip.Addr

	mu sync.RWMutex
	// one has the Service of an address that has a single one, and more those of others. The
	// addresses of a Service share a pointer.
	one  map[netip.Addr]*localsink.ServiceName
	more map[netip.Addr][]*localsink.ServiceName
}

func newReverseIndex(store *watchers.Store) *reverseIndex {
	return &reverseIndex{
		reader: store.Reader(), addrs: map[localsink.ServiceName][]netip.Addr{},
		one: map[netip.Addr]*localsink.ServiceName{}, more: map[netip.Addr][]*localsink.ServiceName{},
	}
}

// services returns the Services of an address.
func (r *reverseIndex) services(addr netip.Addr) (names []localsink.ServiceName) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if name := r.one[addr]; name != nil {
		return []localsink.ServiceName{*name}
	}
	for _, name := range r.more[addr] {
		names = append(names, *name)
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
	desired := addrsOf(cluster, name)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, addr := range r.addrs[name] {
		r.remove(addr, name)
	}
	delete(r.addrs, name)
	if len(desired) == 0 {
		return
	}
	for _, addr := range desired {
		r.add(addr, &name)
	}
	r.addrs[name] = desired
}

// addrsOf returns the addresses of a Service, each once.
func addrsOf(cluster watchers.Snapshot, name localsink.ServiceName) (addrs []netip.Addr) {
	s := cluster.Service(name)
	switch {
	case s == nil || isExternalName(s):
		return nil
	case !isHeadless(s):
		for _, ip := range clusterIPs(s) {
			if ip.IsValid() {
				addrs = append(addrs, ip)
			}
		}
	default:
		for slice := range cluster.EndpointSlices(name) {
			for i := range slice.Endpoints {
				if e := &slice.Endpoints[i]; e.Ready {
					addrs = append(addrs, e.Addr)
				}
			}
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Clip(slices.Compact(addrs))
}

func (r *reverseIndex) add(addr netip.Addr, name *localsink.ServiceName) {
	switch first, list := r.one[addr], r.more[addr]; {
	case first != nil:
		delete(r.one, addr)
		r.more[addr] = []*localsink.ServiceName{first, name}
	case list != nil:
		r.more[addr] = append(list, name)
	default:
		r.one[addr] = name
	}
}

func (r *reverseIndex) remove(addr netip.Addr, name localsink.ServiceName) {
	if _, single := r.one[addr]; single {
		delete(r.one, addr)
		return
	}
	list := slices.DeleteFunc(r.more[addr], func(n *localsink.ServiceName) bool { return *n == name })
	if len(list) > 1 {
		r.more[addr] = list
		return
	}
	delete(r.more, addr)
	if len(list) == 1 {
		r.one[addr] = list[0]
	}
}
