// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A family is what differs between IPv4 and IPv6.
type family struct {
	number      uint8
	name        string
	addrLen     int
	saddrOffset int
	daddrOffset int
	addrType       uint32 // nft's number for the type of an address
	unreachable uint8  // the ICMP code for an unreachable port
	loopback    netip.Prefix
}

func ipv4() *family {
	return &family{number: nfnl.FamilyIPv4, name: "ip", addrLen: 4, saddrOffset: 12, daddrOffset: 16, addrType: 7,
		unreachable: nfnl.PortUnreachable4, loopback: netip.MustParsePrefix("127.0.0.0/8")}
}

func ipv6() *family {
	return &family{number: nfnl.FamilyIPv6, name: "ip6", addrLen: 16, saddrOffset: 8, daddrOffset: 24, addrType: 8,
		unreachable: nfnl.PortUnreachable6, loopback: netip.MustParsePrefix("::1/128")}
}

// has tells whether an address is of this family, and plain.
func (f *family) has(a netip.Addr) bool {
	return a.BitLen() == f.addrLen*8 && !a.Is4In6() && a.Zone() == ""
}

// prefixes returns those of the family, without host bits, sorted, each once.
func (f *family) prefixes(all []netip.Prefix) []netip.Prefix {
	var own []netip.Prefix
	for _, p := range all {
		if p.IsValid() && f.has(p.Addr()) {
			own = append(own, p.Masked())
		}
	}
	slices.SortFunc(own, comparePrefixes)
	return slices.Compact(own)
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// A matchKind tells the two kinds of keys apart by which frontends are found.
type matchKind uint8

const (
	matchAddress  matchKind = iota // destination address, protocol, port
	matchNodePort             // protocol, port: any permitted address of the node
)

// noun begins the names of what serves the role.
func (r matchKind) noun() string {
	if r == matchNodePort {
		return "nodeport"
	}
	return "service"
}

// Names of what exists once in a table. None may be a word of nft's language.
const (
	mapServiceIPs        = "services"
	mapServiceNodePorts       = "nodeports"
	mapFirewallIPs         = "sources"
	mapFirewallNodePorts = "nodeport-sources"
	setClusterIPs      = "cluster-ips"
	setHairpinConnections         = "hairpin"

	chainServices  = "find-service"
	chainNodePorts = "find-nodeport"
	chainMasquerading      = "hide-source"
	chainReject    = "reject-new"
	chainDrop      = "drop-new"
)

// A setKind says what the elements of a set look like.
type setKind uint8

const (
	verdictsByAddress  setKind = iota // addr . proto . port : verdict
	verdictsByNodePort                // proto . port : verdict
	endpointsByAddress                    // addr . proto . port . slot : addr . port
	endpointsByNodePort                   // proto . port . slot : addr . port
	addresses                         // addr
	addressPairs                      // addr . addr, twice the same
	endpointsBySlot                        // slot : addr . port
	slotsByIndex                             // number : slot
	affinityEntries                              // addr : slot, added by packets
)

// nft's numbers for types of data.
const (
	typeProtocol = 12
	typePort     = 13
	typeMark     = 19 // the type that nft prints as a plain number
	typeBits     = 6
)

// keyLayout returns the length of the kind's keys in bytes, and their type.
func (k setKind) keyLayout(f *family) (size int, label uint32) {
	var parts []uint32
	switch k {
	case verdictsByAddress:
		parts = []uint32{f.addrType, typeProtocol, typePort}
	case verdictsByNodePort:
		parts = []uint32{typeProtocol, typePort}
	case endpointsByAddress:
		parts = []uint32{f.addrType, typeProtocol, typePort, typeMark}
	case endpointsByNodePort:
		parts = []uint32{typeProtocol, typePort, typeMark}
	case addresses, affinityEntries:
		parts = []uint32{f.addrType}
	case endpointsBySlot, slotsByIndex:
		parts = []uint32{typeMark}
	case addressPairs:
		parts = []uint32{f.addrType, f.addrType}
	}
	for _, p := range parts {
		label = label<<typeBits | p
		if p == f.addrType {
			size += f.addrLen
		} else {
			size += 4
		}
	}
	return size, label
}

// A endpointMap is one of the maps that hold endpoints. Adding an element costs the
// kernel time for every rule that uses the map, so pools of like size share one:
// of at most limit endpoints, and more than half of that.
type endpointMap struct {
	match     matchKind
	pool uint8
	limit    int
}

// Limits of the shards that exist from the beginning, and of the pools whose
// balancers do.
const (
	minEndpointMapLimit = 8
	preallocatedSize    = 32
)

func endpointMapLimit(n int) int {
	return max(minEndpointMapLimit, 1<<bits.Len(uint(n-1)))
}

func (s endpointMap) name() string {
	return s.match.noun() + "-endpoints-" + strconv.Itoa(int(s.pool)) + "-" + strconv.Itoa(s.limit)
}

func (s endpointMap) kind() setKind {
	if s.match == matchNodePort {
		return endpointsByNodePort
	}
	return endpointsByAddress
}

// A lbChain sends a connection to one of size endpoints, those that the shard
// of its pool position lists for the packet's destination.
type lbChain struct {
	match     matchKind
	pool uint8
	size     int
}

func (b lbChain) endpointMap() endpointMap { return endpointMap{b.match, b.pool, endpointMapLimit(b.size)} }

func (b lbChain) name() string { return b.match.noun() + "-" + b.ref() }

func (b lbChain) ref() string {
	return strconv.Itoa(int(b.pool)) + "-of-" + strconv.Itoa(b.size)
}

func (b lbChain) rules(f *family) []rule {
	r, next := loadKey(f, b.match)
	addrWords := f.addrLen / 4
	return []rule{r.then(randomBelow(b.size, word(next)), mapTo(b.endpointMap().name()), dnat(f, word(0), word(addrWords)))}
}

// loadKey loads the key of the role, and tells which word is free after it.
func loadKey(f *family, r matchKind) (rule, int) {
	at := 0
	var loads rule
	if r == matchAddress {
		loads, at = rule{loadDaddr(f, word(0))}, f.addrLen/4
	}
	return loads.then(loadMeta(nfnl.MetaL4proto, word(at)), loadDport(word(at+1))), at + 2
}

// maxPools is how many pools the routes of one frontend can tell apart: one
// for each From.
const maxPools = 3

// A branch is one route as rules see it.
type branch struct {
	from       localsink.From
	masquerade bool
	pool   int // of the pool; zero when there is no endpoint
	size       int // of the pool; zero with affinity
	empty      localsink.Verdict
}

// target is the chain that a branch leads to.
func (p *dispatch) target(b branch) string {
	switch {
	case b.pool > 0 && p.affinityID != "":
		return affinityChainName(p.affinityID, b.pool)
	case b.pool > 0:
		return p.lbChain(b).name()
	case b.empty == localsink.VerdictDrop:
		return chainDrop
	}
	return chainReject
}

// A dispatch is what happens with the connections to a frontend. Frontends with the
// same plan share its chain: nothing in it is about one Service, unless that has
// session affinity.
type dispatch struct {
	match     matchKind
	affinityID   string // the port with affinity; its branches count its pools
	count    uint8
	branches [maxPools]branch
}

// newDispatch reduces routes to a plan, and tells which pool has which position.
// Routes that can never be reached are left out.
func newDispatch(r matchKind, routes []localsink.Route, pools []localsink.Pool) (p dispatch, used [maxPools]int) {
	p.match = r
	positions := 0
	for _, route := range routes {
		if p.covers(route.From) {
			continue
		}
		b := branch{from: route.From}
		if n := len(pools[route.Pool].Endpoints); n > 0 {
			at := slices.Index(used[:positions], route.Pool)
			if at < 0 {
				at, used[positions] = positions, route.Pool
				positions++
			}
			b.masquerade, b.pool, b.size = route.Masquerade, at+1, n
		} else {
			b.empty = route.EmptyVerdict
		}
		p.branches[p.count] = b
		p.count++
	}
	for i := positions; i < maxPools; i++ {
		used[i] = -1
	}
	return p, used
}

// withAffinity returns the plan as it is for a port with affinity: its branches lead to
// what is kept for the pools of that port.
func (p dispatch) withAffinity(id string, used [maxPools]int) dispatch {
	for i := range p.branches[:p.count] {
		if b := &p.branches[i]; b.pool > 0 {
			b.pool, b.size, p.affinityID = used[b.pool-1]+1, 0, id
		}
	}
	return p
}

// covers tells whether a client of that kind is taken by an earlier branch.
func (p *dispatch) covers(from localsink.From) bool {
	for _, b := range p.branches[:p.count] {
		if b.from == from || b.from == localsink.FromAny {
			return true
		}
	}
	return false
}

// directTarget returns the chain to go to when the plan needs none of its own.
func (p *dispatch) directTarget() (string, bool) {
	b := p.branches[0]
	if p.count == 1 && b.from == localsink.FromAny && !b.masquerade && p.affinityID == "" {
		return p.target(b), true
	}
	return "", false
}

// name returns the name of the plan's chain: its role, then for each branch who
// it is for, whether it masquerades, and what it leads to.
func (p *dispatch) name() string {
	if direct, ok := p.directTarget(); ok {
		return direct
	}
	var s strings.Builder
	s.WriteString(p.match.noun())
	if p.affinityID != "" {
		s.WriteString("." + p.affinityID)
	}
	for _, b := range p.branches[:p.count] {
		s.WriteString("." + [...]string{"any", "pods", "node"}[b.from] + "-")
		if b.masquerade {
			s.WriteString("masq-")
		}
		switch {
		case b.pool > 0 && p.affinityID != "":
			s.WriteString(strconv.Itoa(b.pool))
		case b.pool > 0:
			s.WriteString(p.lbChain(b).ref())
		case b.empty == localsink.VerdictDrop:
			s.WriteString("drop")
		default:
			s.WriteString("reject")
		}
	}
	return s.String()
}

// rules returns the rules of the plan's chain.
func (p *dispatch) rules(f *family, n *nodeMatches, mark uint32) []rule {
	var rules []rule
	for _, b := range p.branches[:p.count] {
		var steps rule
		if b.masquerade {
			steps = rule{loadMeta(nfnl.MetaMark, word(0)), bitwise(word(0), native(^mark), native(mark)), setMark(word(0))}
		}
		steps = steps.then(goTo(p.target(b)))
		for _, match := range n.clientMatches(f, b.from) {
			rules = append(rules, match.then(steps...))
		}
	}
	return rules
}

func (p *dispatch) lbChain(b branch) lbChain { return lbChain{p.match, uint8(b.pool), b.size} }

// lbChains yields the balancers that the plan leads to.
func (p *dispatch) lbChains(yield func(lbChain) bool) {
	for _, b := range p.branches[:p.count] {
		if b.pool > 0 && p.affinityID == "" && !yield(p.lbChain(b)) {
			return
		}
	}
}

// A nodeMatches is what one family's rules contain about the node.
type nodeMatches struct {
	podNetworks   []netip.Prefix
	podInterface  string
	podInterfacePrefix     string
	nodePortAddrs []netip.Prefix
	// serviceNetworks are where only Services have addresses.
	serviceNetworks []netip.Prefix
}

// maxInterfaceName is the longest name that Linux gives to an interface.
const maxInterfaceName = 15

// newNodeMatches extracts what matters to the family. Names that no interface can have
// match nothing.
func newNodeMatches(f *family, n *localsink.Node) *nodeMatches {
	v := &nodeMatches{}
	if n == nil {
		return v
	}
	v.podNetworks = f.prefixes(n.LocalPods.Networks)
	v.nodePortAddrs = f.prefixes(n.NodePortAddresses)
	v.serviceNetworks = f.prefixes(n.ServiceNetworks)
	if len(n.LocalPods.Interface) <= maxInterfaceName {
		v.podInterface = n.LocalPods.Interface
	}
	if len(n.LocalPods.InterfacePrefix) <= maxInterfaceName {
		v.podInterfacePrefix = n.LocalPods.InterfacePrefix
	}
	return v
}

func (v *nodeMatches) equal(o *nodeMatches) bool {
	return v != nil && o != nil && v.podInterface == o.podInterface && v.podInterfacePrefix == o.podInterfacePrefix &&
		slices.Equal(v.podNetworks, o.podNetworks) && slices.Equal(v.nodePortAddrs, o.nodePortAddrs) &&
		slices.Equal(v.serviceNetworks, o.serviceNetworks)
}

// clientMatches returns the ways in which a packet can be from such a client; a rule
// without steps matches always.
func (v *nodeMatches) clientMatches(f *family, from localsink.From) []rule {
	switch from {
	case localsink.FromThisNode:
		return []rule{isLocal(nfnl.FibSaddr)}
	case localsink.FromLocalPods:
		var ways []rule
		for _, p := range v.podNetworks {
			ways = append(ways, within(f, f.saddrOffset, p, nfnl.CmpEq))
		}
		if v.podInterface != "" {
			name := make([]byte, maxInterfaceName+1)
			copy(name, v.podInterface)
			ways = append(ways, rule{loadMeta(nfnl.MetaIifname, word(0)), equal(word(0), name)})
		}
		if v.podInterfacePrefix != "" {
			ways = append(ways, rule{loadMeta(nfnl.MetaIifname, word(0)), equal(word(0), []byte(v.podInterfacePrefix))})
		}
		return ways
	}
	return []rule{nil}
}

// sourceRanges is the content of a chain that lets some clients pass.
type sourceRanges struct {
	prefixes []netip.Prefix
	name     string
}

// newSourceRanges names the list for its content, so that equal lists share a chain.
func newSourceRanges(f *family, sources []netip.Prefix) sourceRanges {
	l := sourceRanges{prefixes: f.prefixes(sources)}
	h := sha256.New()
	for _, p := range l.prefixes {
		fmt.Fprintln(h, p)
	}
	l.name = "from-" + hex.EncodeToString(h.Sum(nil)[:12])
	return l
}

func (l sourceRanges) rules(f *family) []rule {
	var rules []rule
	for _, p := range l.prefixes {
		rules = append(rules, within(f, f.saddrOffset, p, nfnl.CmpEq).then(verdict(nfnl.VerdictReturn, "")))
	}
	return append(rules, rule{verdict(nfnl.VerdictDrop, "")})
}

// A hook is where packets enter a table.
type hook struct {
	number   uint32
	priority int32
}

// A chainSpec is a chain with its rules.
type chainSpec struct {
	name  string
	hook  *hook
	rules []rule
}

// staticChains returns the chains that every table has, those first that others
// refer to. Their rules refer to sets by the names above.
func staticChains(f *family, n *nodeMatches, mark uint32) []chainSpec {
	// A packet that was sent to a balancer may not have found the slot that it drew: see
	// [mirror.cleanUp]. It is found a Service once more before it is refused.
	refuse := []rule{{jump(chainServices)}, {loadDaddr(f, word(0)), inSet(setClusterIPs), goTo(chainReject)}}
	for _, p := range n.serviceNetworks {
		r := within(f, f.daddrOffset, p, nfnl.CmpEq)
		refuse = append(refuse, r.then(addrType(nfnl.FibDaddr, nfnl.CmpNeq)...).then(goTo(chainDrop)))
	}
	return append([]chainSpec{
		{name: chainReject, rules: []rule{
			{loadMeta(nfnl.MetaL4proto, word(0)), equal(word(0), []byte{byte(localsink.ProtocolTCP)}), reject(nfnl.RejectTCPReset, 0)},
			{reject(nfnl.RejectICMP, f.unreachable)},
		}},
		{name: chainDrop, rules: []rule{{verdict(nfnl.VerdictDrop, "")}}},
		{name: chainNodePorts, rules: []rule{
			verdictLookup(f, matchNodePort, mapFirewallNodePorts),
			verdictLookup(f, matchNodePort, mapServiceNodePorts),
		}},
		{name: chainServices, rules: servicesRules(f, n)},
		{name: chainMasquerading, rules: masqueradingRules(f, mark)},
		{name: "prerouting-rest", hook: &hook{nfnl.HookPrerouting, priorityClusterIPsCheck}, rules: refuse},
		{name: "output-rest", hook: &hook{nfnl.HookOutput, priorityClusterIPsCheck}, rules: refuse},
	}, natHooks("", 0)...)
}

// Priorities of the hooks. What no Service wants is refused by chains of its own,
// after those that find Services: see [replacementHooks] for why.
const (
	priorityDNAT = -100
	priorityClusterIPsCheck  = -90
	prioritySNAT      = 100
)

// natHooks returns the chains by which packets enter, with something added to their
// names and their priorities.
func natHooks(suffix string, before int32) []chainSpec {
	return []chainSpec{
		{name: "prerouting" + suffix, hook: &hook{nfnl.HookPrerouting, priorityDNAT - before}, rules: []rule{{jump(chainServices)}}},
		{name: "output" + suffix, hook: &hook{nfnl.HookOutput, priorityDNAT - before}, rules: []rule{{jump(chainServices)}}},
		{name: "postrouting" + suffix, hook: &hook{nfnl.HookPostrouting, prioritySNAT - before}, rules: []rule{{jump(chainMasquerading)}}},
	}
}

// replacementHooks returns chains that prepare a table for its replacement. Each chain of
// a hook asks for itself which generation of the rules is valid. Of two that run
// at the same priority, the new one runs first: were the new table to become valid
// between the two, a packet would find neither. So the old table gets chains that
// run before the new ones: a packet that comes too late for these is in time for
// the new. Lookups are subject to the same: elements of maps, though not of sets,
// end with their table at once, even for a chain that began before. So a chain that
// does not find a Service must not conclude that there is none and refuse; only
// chains that run after both tables had their say may do that.
func replacementHooks() []chainSpec { return natHooks("-handover", 1) }

func verdictLookup(f *family, r matchKind, set string) rule {
	loads, _ := loadKey(f, r)
	return loads.then(verdictOf(set))
}

func servicesRules(f *family, n *nodeMatches) []rule {
	rules := []rule{verdictLookup(f, matchAddress, mapFirewallIPs), verdictLookup(f, matchAddress, mapServiceIPs)}
	for _, p := range n.nodePortAddrs {
		if f.loopback.Bits() <= p.Bits() && f.loopback.Contains(p.Addr()) {
			continue
		}
		r := within(f, f.daddrOffset, p, nfnl.CmpEq)
		if p.Overlaps(f.loopback) {
			r = r.then(within(f, f.daddrOffset, f.loopback, nfnl.CmpNeq)...)
		}
		rules = append(rules, r.then(isLocal(nfnl.FibDaddr)...).then(jump(chainNodePorts)))
	}
	return rules
}

// masqueradingRules masquerades what must not be seen with its own address.
func masqueradingRules(f *family, mark uint32) []rule {
	none := native(0)
	return []rule{
		{
			loadStatus(word(0)), bitwise(word(0), native(nfnl.CtStatusDstNAT), none), notEqual(word(0), none),
			loadSaddr(f, word(0)), loadDaddr(f, word(f.addrLen/4)), inSet(setHairpinConnections), masquerade,
		},
		{
			loadMeta(nfnl.MetaMark, word(0)), bitwise(word(0), native(mark), none), notEqual(word(0), none),
			loadMeta(nfnl.MetaMark, word(0)), bitwise(word(0), native(^uint32(0)), native(mark)), setMark(word(0)), masquerade,
		},
	}
}
