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
	label       uint32 // nft's number for the type of an address
	unreachable uint8  // the ICMP code for an unreachable port
	loopback    netip.Prefix
}

func ipv4() *family {
	return &family{number: nfnl.FamilyIPv4, name: "ip", addrLen: 4, saddrOffset: 12, daddrOffset: 16, label: 7,
		unreachable: nfnl.PortUnreachable4, loopback: netip.MustParsePrefix("127.0.0.0/8")}
}

func ipv6() *family {
	return &family{number: nfnl.FamilyIPv6, name: "ip6", addrLen: 16, saddrOffset: 8, daddrOffset: 24, label: 8,
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

// A role tells the two kinds of keys apart by which frontends are found.
type role uint8

const (
	byAddress  role = iota // destination address, protocol, port
	byNodePort             // protocol, port: any permitted address of the node
)

// prefix begins the names of what serves the role.
func (r role) prefix() string {
	if r == byNodePort {
		return "nodeport"
	}
	return "service"
}

// Names of what exists once in a table. None may be a word of nft's language.
const (
	mapServices        = "services"
	mapNodePorts       = "nodeports"
	mapSources         = "sources"
	mapNodePortSources = "nodeport-sources"
	setClusterIPs      = "cluster-ips"
	setHairpin         = "hairpin"

	chainServices  = "find-service"
	chainNodePorts = "find-nodeport"
	chainHide      = "hide-source"
	chainReject    = "reject-new"
	chainDrop      = "drop-new"
)

// A setKind says what the elements of a set look like.
type setKind uint8

const (
	verdictsByAddress  setKind = iota // addr . proto . port : verdict
	verdictsByNodePort                // proto . port : verdict
	slotsByAddress                    // addr . proto . port . slot : addr . port
	slotsByNodePort                   // proto . port . slot : addr . port
	addresses                         // addr
	addressPairs                      // addr . addr, twice the same
	slotsAlone                        // slot : addr . port
	draws                             // number : slot
	pins                              // addr : slot, added by packets
)

// nft's numbers for types of data.
const (
	labelProtocol = 12
	labelPort     = 13
	labelMark     = 19 // the type that nft prints as a plain number
	labelBits     = 6
)

// key returns the length of the kind's keys in bytes, and their type.
func (k setKind) key(f *family) (size int, label uint32) {
	var parts []uint32
	switch k {
	case verdictsByAddress:
		parts = []uint32{f.label, labelProtocol, labelPort}
	case verdictsByNodePort:
		parts = []uint32{labelProtocol, labelPort}
	case slotsByAddress:
		parts = []uint32{f.label, labelProtocol, labelPort, labelMark}
	case slotsByNodePort:
		parts = []uint32{labelProtocol, labelPort, labelMark}
	case addresses, pins:
		parts = []uint32{f.label}
	case slotsAlone, draws:
		parts = []uint32{labelMark}
	case addressPairs:
		parts = []uint32{f.label, f.label}
	}
	for _, p := range parts {
		label = label<<labelBits | p
		if p == f.label {
			size += f.addrLen
		} else {
			size += 4
		}
	}
	return size, label
}

// A shard is one of the maps that hold endpoints. Adding an element costs the
// kernel time for every rule that uses the map, so pools of like size share one:
// of at most limit endpoints, and more than half of that.
type shard struct {
	role     role
	position uint8
	limit    int
}

// Limits of the shards that exist from the beginning, and of the pools whose
// balancers do.
const (
	smallestShard = 8
	readyLimit    = 32
)

func shardLimit(n int) int {
	return max(smallestShard, 1<<bits.Len(uint(n-1)))
}

func (s shard) name() string {
	return s.role.prefix() + "-endpoints-" + strconv.Itoa(int(s.position)) + "-" + strconv.Itoa(s.limit)
}

func (s shard) kind() setKind {
	if s.role == byNodePort {
		return slotsByNodePort
	}
	return slotsByAddress
}

// A balancer sends a connection to one of size endpoints, those that the shard
// of its pool position lists for the packet's destination.
type balancer struct {
	role     role
	position uint8
	size     int
}

func (b balancer) shard() shard { return shard{b.role, b.position, shardLimit(b.size)} }

func (b balancer) name() string { return b.role.prefix() + "-" + b.ref() }

func (b balancer) ref() string {
	return strconv.Itoa(int(b.position)) + "-of-" + strconv.Itoa(b.size)
}

func (b balancer) rules(f *family) []rule {
	r, next := keyLoads(f, b.role)
	addrWords := f.addrLen / 4
	return []rule{r.then(randomBelow(b.size, word(next)), mapTo(b.shard().name()), dnat(f, word(0), word(addrWords)))}
}

// keyLoads loads the key of the role, and tells which word is free after it.
func keyLoads(f *family, r role) (rule, int) {
	at := 0
	var loads rule
	if r == byAddress {
		loads, at = rule{loadDaddr(f, word(0))}, f.addrLen/4
	}
	return loads.then(loadMeta(nfnl.MetaL4proto, word(at)), loadDport(word(at+1))), at + 2
}

// maxPositions is how many pools the routes of one frontend can tell apart: one
// for each From.
const maxPositions = 3

// A branch is one route as rules see it.
type branch struct {
	from       localsink.From
	masquerade bool
	position   int // of the pool; zero when there is no endpoint
	size       int // of the pool; zero with affinity
	empty      localsink.Verdict
}

// target is the chain that a branch leads to.
func (p *plan) target(b branch) string {
	switch {
	case b.position > 0 && p.sticky != "":
		return stickyChain(p.sticky, b.position)
	case b.position > 0:
		return p.balancer(b).name()
	case b.empty == localsink.VerdictDrop:
		return chainDrop
	}
	return chainReject
}

// A plan is what happens with the connections to a frontend. Frontends with the
// same plan share its chain: nothing in it is about one Service, unless that has
// session affinity.
type plan struct {
	role     role
	sticky   string // the port with affinity; its branches count its pools
	count    uint8
	branches [maxPositions]branch
}

// planOf reduces routes to a plan, and tells which pool has which position.
// Routes that can never be reached are left out.
func planOf(r role, routes []localsink.Route, pools []localsink.Pool) (p plan, used [maxPositions]int) {
	p.role = r
	positions := 0
	for _, route := range routes {
		if p.decides(route.From) {
			continue
		}
		b := branch{from: route.From}
		if n := len(pools[route.Pool].Endpoints); n > 0 {
			at := slices.Index(used[:positions], route.Pool)
			if at < 0 {
				at, used[positions] = positions, route.Pool
				positions++
			}
			b.masquerade, b.position, b.size = route.Masquerade, at+1, n
		} else {
			b.empty = route.EmptyVerdict
		}
		p.branches[p.count] = b
		p.count++
	}
	for i := positions; i < maxPositions; i++ {
		used[i] = -1
	}
	return p, used
}

// stuck returns the plan as it is for a port with affinity: its branches lead to
// what is kept for the pools of that port.
func (p plan) stuck(id string, used [maxPositions]int) plan {
	for i := range p.branches[:p.count] {
		if b := &p.branches[i]; b.position > 0 {
			b.position, b.size, p.sticky = used[b.position-1]+1, 0, id
		}
	}
	return p
}

// decides tells whether a client of that kind is taken by an earlier branch.
func (p *plan) decides(from localsink.From) bool {
	for _, b := range p.branches[:p.count] {
		if b.from == from || b.from == localsink.FromAny {
			return true
		}
	}
	return false
}

// direct returns the chain to go to when the plan needs none of its own.
func (p *plan) direct() (string, bool) {
	b := p.branches[0]
	if p.count == 1 && b.from == localsink.FromAny && !b.masquerade && p.sticky == "" {
		return p.target(b), true
	}
	return "", false
}

// name returns the name of the plan's chain: its role, then for each branch who
// it is for, whether it masquerades, and what it leads to.
func (p *plan) name() string {
	if direct, ok := p.direct(); ok {
		return direct
	}
	var s strings.Builder
	s.WriteString(p.role.prefix())
	if p.sticky != "" {
		s.WriteString("." + p.sticky)
	}
	for _, b := range p.branches[:p.count] {
		s.WriteString("." + [...]string{"any", "pods", "node"}[b.from] + "-")
		if b.masquerade {
			s.WriteString("masq-")
		}
		switch {
		case b.position > 0 && p.sticky != "":
			s.WriteString(strconv.Itoa(b.position))
		case b.position > 0:
			s.WriteString(p.balancer(b).ref())
		case b.empty == localsink.VerdictDrop:
			s.WriteString("drop")
		default:
			s.WriteString("reject")
		}
	}
	return s.String()
}

// rules returns the rules of the plan's chain.
func (p *plan) rules(f *family, n *nodeView, mark uint32) []rule {
	var rules []rule
	for _, b := range p.branches[:p.count] {
		var steps rule
		if b.masquerade {
			steps = rule{loadMeta(nfnl.MetaMark, word(0)), bitwise(word(0), native(^mark), native(mark)), setMark(word(0))}
		}
		steps = steps.then(goTo(p.target(b)))
		for _, match := range n.matches(f, b.from) {
			rules = append(rules, match.then(steps...))
		}
	}
	return rules
}

func (p *plan) balancer(b branch) balancer { return balancer{p.role, uint8(b.position), b.size} }

// balancers yields the balancers that the plan leads to.
func (p *plan) balancers(yield func(balancer) bool) {
	for _, b := range p.branches[:p.count] {
		if b.position > 0 && p.sticky == "" && !yield(p.balancer(b)) {
			return
		}
	}
}

// A nodeView is what one family's rules contain about the node.
type nodeView struct {
	podNetworks   []netip.Prefix
	podInterface  string
	podPrefix     string
	nodePortAddrs []netip.Prefix
	// serviceNetworks are where only Services have addresses.
	serviceNetworks []netip.Prefix
}

// maxInterfaceName is the longest name that Linux gives to an interface.
const maxInterfaceName = 15

// viewOf extracts what matters to the family. Names that no interface can have
// match nothing.
func viewOf(f *family, n *localsink.Node) *nodeView {
	v := &nodeView{}
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
		v.podPrefix = n.LocalPods.InterfacePrefix
	}
	return v
}

func (v *nodeView) equal(o *nodeView) bool {
	return v != nil && o != nil && v.podInterface == o.podInterface && v.podPrefix == o.podPrefix &&
		slices.Equal(v.podNetworks, o.podNetworks) && slices.Equal(v.nodePortAddrs, o.nodePortAddrs) &&
		slices.Equal(v.serviceNetworks, o.serviceNetworks)
}

// matches returns the ways in which a packet can be from such a client; a rule
// without steps matches always.
func (v *nodeView) matches(f *family, from localsink.From) []rule {
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
		if v.podPrefix != "" {
			ways = append(ways, rule{loadMeta(nfnl.MetaIifname, word(0)), equal(word(0), []byte(v.podPrefix))})
		}
		return ways
	}
	return []rule{nil}
}

// sourceList is the content of a chain that lets some clients pass.
type sourceList struct {
	prefixes []netip.Prefix
	name     string
}

// sourcesOf names the list for its content, so that equal lists share a chain.
func sourcesOf(f *family, sources []netip.Prefix) sourceList {
	l := sourceList{prefixes: f.prefixes(sources)}
	h := sha256.New()
	for _, p := range l.prefixes {
		fmt.Fprintln(h, p)
	}
	l.name = "from-" + hex.EncodeToString(h.Sum(nil)[:12])
	return l
}

func (l sourceList) rules(f *family) []rule {
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

// skeleton returns the chains that every table has, those first that others
// refer to. Their rules refer to sets by the names above.
func skeleton(f *family, n *nodeView, mark uint32) []chainSpec {
	// A packet that was sent to a balancer may not have found the slot that it drew: see
	// [mirror.trim]. It is found a Service once more before it is refused.
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
			lookUp(f, byNodePort, mapNodePortSources),
			lookUp(f, byNodePort, mapNodePorts),
		}},
		{name: chainServices, rules: findService(f, n)},
		{name: chainHide, rules: hideSource(f, mark)},
		{name: "prerouting-rest", hook: &hook{nfnl.HookPrerouting, afterServices}, rules: refuse},
		{name: "output-rest", hook: &hook{nfnl.HookOutput, afterServices}, rules: refuse},
	}, hooks("", 0)...)
}

// Priorities of the hooks. What no Service wants is refused by chains of its own,
// after those that find Services: see [handover] for why.
const (
	destinationNAT = -100
	afterServices  = -90
	sourceNAT      = 100
)

// hooks returns the chains by which packets enter, with something added to their
// names and their priorities.
func hooks(suffix string, before int32) []chainSpec {
	return []chainSpec{
		{name: "prerouting" + suffix, hook: &hook{nfnl.HookPrerouting, destinationNAT - before}, rules: []rule{{jump(chainServices)}}},
		{name: "output" + suffix, hook: &hook{nfnl.HookOutput, destinationNAT - before}, rules: []rule{{jump(chainServices)}}},
		{name: "postrouting" + suffix, hook: &hook{nfnl.HookPostrouting, sourceNAT - before}, rules: []rule{{jump(chainHide)}}},
	}
}

// handover returns chains that prepare a table for its replacement. Each chain of
// a hook asks for itself which generation of the rules is valid. Of two that run
// at the same priority, the new one runs first: were the new table to become valid
// between the two, a packet would find neither. So the old table gets chains that
// run before the new ones: a packet that comes too late for these is in time for
// the new. Lookups are subject to the same: elements of maps, though not of sets,
// end with their table at once, even for a chain that began before. So a chain that
// does not find a Service must not conclude that there is none and refuse; only
// chains that run after both tables had their say may do that.
func handover() []chainSpec { return hooks("-handover", 1) }

func lookUp(f *family, r role, set string) rule {
	loads, _ := keyLoads(f, r)
	return loads.then(verdictOf(set))
}

func findService(f *family, n *nodeView) []rule {
	rules := []rule{lookUp(f, byAddress, mapSources), lookUp(f, byAddress, mapServices)}
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

// hideSource masquerades what must not be seen with its own address.
func hideSource(f *family, mark uint32) []rule {
	none := native(0)
	return []rule{
		{
			loadStatus(word(0)), bitwise(word(0), native(nfnl.CtStatusDstNAT), none), notEqual(word(0), none),
			loadSaddr(f, word(0)), loadDaddr(f, word(f.addrLen/4)), inSet(setHairpin), masquerade,
		},
		{
			loadMeta(nfnl.MetaMark, word(0)), bitwise(word(0), native(mark), none), notEqual(word(0), none),
			loadMeta(nfnl.MetaMark, word(0)), bitwise(word(0), native(^uint32(0)), native(mark)), setMark(word(0)), masquerade,
		},
	}
}
