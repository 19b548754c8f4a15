// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/backends/internal/contract"
	"sigs.k8s.io/kpng/localsink"
)

// A frontendKey is an address that clients dial. A node port has one for each address of the node.
type frontendKey struct {
	addr     netip.AddrPort
	protocol localsink.Protocol
}

func (k frontendKey) server() serverKey { return serverKey{addr: k.addr, protocol: k.protocol} }

// A client is a kind of client that frontends may treat differently.
type client uint8

const (
	clientOther client = iota
	clientPod          // a pod of this node
	clientNode         // its source address is one of this node
	clientPodAndNode
	clientCount
)

// set returns the set of the marks of such clients.
func (c client) set() setName {
	return [clientCount]setName{setServices, setPods, setNode, setPodsAndNode}[c]
}

// matches reports whether a route is for such clients.
func (c client) matches(from localsink.From) bool {
	switch from {
	case localsink.FromLocalPods:
		return c == clientPod || c == clientPodAndNode
	case localsink.FromThisNode:
		return c == clientNode || c == clientPodAndNode
	case localsink.FromAny:
	}
	return true
}

// A frontend is the desired state of one address that clients dial.
type frontend struct {
	server     *server
	marks      [clientCount]mark
	restricted bool           // to sources
	sources    []netip.Prefix // networks that IP sets accept
	onDevice   bool           // the address belongs to the dummy interface
}

func (f *frontend) equal(o *frontend) bool {
	return f == o || f != nil && o != nil && f.server.equal(o.server) && f.marks == o.marks && f.restricted == o.restricted &&
		slices.Equal(f.sources, o.sources) && f.onDevice == o.onDevice
}

// elements returns the elements of sets for the frontend, with their marks.
func (f *frontend) elements(key frontendKey) map[element]mark {
	all := map[element]mark{}
	at := func(set setName) element {
		return element{set: set, addr: key.addr.Addr(), port: key.addr.Port(), protocol: key.protocol}
	}
	for c := range clientCount {
		if c == clientOther || f.marks[c] != (mark{}) {
			all[at(c.set())] = f.marks[c]
		}
	}
	if f.restricted {
		all[at(setRestricted)] = mark{}
	}
	for _, network := range f.sources {
		e := at(setSources)
		e.network = network
		all[e] = mark{}
	}
	return all
}

// A record is the desired state of one Service.
type record struct {
	frontends map[frontendKey]*frontend
	nodePorts map[frontendKey]bool // those that are node ports
	pools     map[serverKey]*server
	err       error // what cannot be programmed
}

// A compiler makes records.
type compiler struct {
	cfg   *Config
	marks *marks
	// nodePortAddrs are the addresses at which node ports answer.
	nodePortAddrs []netip.Addr
	// nodeAddrs are the addresses of the node.
	nodeAddrs map[netip.Addr]bool
}

func newCompiler(cfg *Config, m *marks, node *localsink.Node, addrs []netip.Addr) *compiler {
	c := &compiler{cfg: cfg, marks: m, nodeAddrs: map[netip.Addr]bool{}}
	for _, a := range addrs {
		c.nodeAddrs[a] = true
	}
	c.nodePortAddrs = slices.DeleteFunc(localsink.AddressesIn(node.NodePortAddresses, addrs), func(a netip.Addr) bool {
		return a.IsLoopback() || a.IsLinkLocalUnicast() && a.Is6()
	})
	return c
}

// compile returns the record of a Service.
func (c *compiler) compile(svc *localsink.Service) *record {
	r := &record{frontends: map[frontendKey]*frontend{}, nodePorts: map[frontendKey]bool{}, pools: map[serverKey]*server{}}
	var errs []error
	for i := range svc.Ports {
		p := &svc.Ports[i]
		for _, isIPv6 := range []bool{false, true} {
			if isIPv6 && c.cfg.withoutIPv6 {
				continue
			}
			port := newPortCompiler(c, svc.Name, p, isIPv6)
			for j := range p.Frontends {
				if fe := &p.Frontends[j]; fe.Addr.Addr().Is6() == isIPv6 {
					if err := port.add(r, fe); err != nil {
						errs = append(errs, fmt.Errorf("%v %v/%v: %w", fe.Kind, fe.Addr, p.Protocol, err))
					}
				}
			}
		}
	}
	r.err = errors.Join(errs...)
	return r
}

// A portCompiler compiles the frontends of one port and address family.
type portCompiler struct {
	*compiler
	name   localsink.ServiceName
	port   *localsink.Port
	isIPv6 bool
	pools  [][]destination
}

func newPortCompiler(c *compiler, name localsink.ServiceName, p *localsink.Port, isIPv6 bool) *portCompiler {
	pc := &portCompiler{compiler: c, name: name, port: p, isIPv6: isIPv6}
	for i := range p.Pools {
		pc.pools = append(pc.pools, destinations(p.Pools[i].Endpoints, isIPv6))
	}
	return pc
}

// add adds a frontend to the record of its Service.
func (c *portCompiler) add(r *record, fe *localsink.Frontend) error {
	if violation := c.violation(fe); violation != "" {
		return errors.New(violation + "; ignored")
	}
	f := &frontend{restricted: fe.SourceRanges != nil, sources: setNetworks(fe.SourceRanges, c.isIPv6)}
	primary := c.route(fe, clientOther)
	f.server = c.server(c.pool(primary.Pool), true)
	for kind := range clientCount {
		var err error
		if f.marks[kind], err = c.mark(r, c.route(fe, kind), c.pool(primary.Pool)); err != nil {
			return err
		}
	}
	addrs := []netip.Addr{fe.Addr.Addr()}
	if fe.Kind == localsink.KindNodePort {
		addrs = c.nodePortAddrs
	}
	for _, addr := range addrs {
		if addr.Is6() != c.isIPv6 || c.cfg.excludes(addr) && fe.Kind == localsink.KindNodePort {
			continue
		}
		if c.cfg.excludes(addr) {
			return errors.New("the address is in Config.ExcludeCIDRs; ignored")
		}
		key := frontendKey{netip.AddrPortFrom(addr, fe.Addr.Port()), c.port.Protocol}
		if _, exact := r.frontends[key]; exact && fe.Kind == localsink.KindNodePort {
			continue
		}
		at := *f
		at.onDevice = !c.nodeAddrs[addr]
		r.frontends[key] = &at
		r.nodePorts[key] = fe.Kind == localsink.KindNodePort
	}
	return nil
}

// violation returns what violates the contract of package localsink, or an empty string.
func (c *portCompiler) violation(fe *localsink.Frontend) string {
	if violation := contract.FrontendViolation(c.port, fe); violation != "" {
		return violation
	}
	if fe.Routes[len(fe.Routes)-1].From != localsink.FromAny {
		return "the last route must be for any client"
	}
	return ""
}

// route returns the first route of a frontend that matches a kind of client.
func (c *portCompiler) route(fe *localsink.Frontend, kind client) localsink.Route {
	for _, r := range fe.Routes {
		if kind.matches(r.From) {
			return r
		}
	}
	return fe.Routes[len(fe.Routes)-1]
}

// pool returns the first pool with the same destinations.
func (c *portCompiler) pool(i int) int {
	return slices.IndexFunc(c.pools[:i+1], func(p []destination) bool { return slices.Equal(p, c.pools[i]) })
}

// mark returns the mark of the packets that follow a route of a frontend whose virtual server has
// the primary pool. It adds the virtual server of any other pool to the record.
func (c *portCompiler) mark(r *record, route localsink.Route, primary int) (mark, error) {
	pool := c.pool(route.Pool)
	isEmpty := len(c.pools[pool]) == 0
	if isEmpty && route.EmptyVerdict == localsink.VerdictDrop {
		return mark{c.marks.drop(), ^uint32(0)}, nil
	}
	var m mark
	if route.Masquerade && !isEmpty {
		m = mark{c.cfg.MasqueradeMark, c.cfg.MasqueradeMark}
	}
	if pool == primary {
		return m, nil
	}
	value, err := c.marks.assign(markedPool{c.name, c.port.Name, c.port.Protocol, c.isIPv6, pool, m.value != 0})
	if err != nil {
		return m, err
	}
	m = mark{value | m.value, ^uint32(0)}
	r.pools[serverKey{mark: m.value, isIPv6: c.isIPv6}] = c.server(pool, false)
	return m, nil
}

// server returns the virtual server of a pool, which has an address or a mark. With a mark, IPVS
// does not translate the port of connections with persistence, so their destination is selected by
// the address of the client.
func (c *portCompiler) server(pool int, hasAddress bool) *server {
	s := &server{protocol: c.port.Protocol, destinations: c.pools[pool]}
	if c.port.Protocol == localsink.ProtocolUDP {
		s.draining = c.port.Draining
	}
	selection := c.port.Selection
	if c.port.Affinity > 0 && !hasAddress {
		selection = localsink.SelectionClient
	}
	s.scheduler, s.flags = schedulerOf(selection, c.cfg, isWeighted(s.destinations))
	if c.port.Affinity > 0 && hasAddress {
		s.affinity = uint32((c.port.Affinity + time.Second - 1) / time.Second)
	}
	return s
}

// schedulerOf returns the scheduler of a selection, with its options.
func schedulerOf(s localsink.Selection, cfg *Config, weighted bool) (string, schedulerFlags) {
	weightedForm := func(plain string) string {
		if weighted {
			return "w" + plain
		}
		return plain
	}
	consistent := "mh"
	if cfg.withoutMaglev {
		consistent = "sh"
	}
	switch s {
	case localsink.SelectionClient:
		return consistent, flagFallback
	case localsink.SelectionFlow:
		return consistent, flagFallback | flagPort
	case localsink.SelectionLeastConnections:
		return weightedForm("lc"), 0
	case localsink.SelectionRandom:
	}
	switch cfg.Scheduler {
	case "rr", "lc":
		return weightedForm(cfg.Scheduler), 0
	case "sh", "mh":
		return cfg.Scheduler, flagFallback
	}
	return cfg.Scheduler, 0
}

func isWeighted(list []destination) bool {
	return slices.ContainsFunc(list, func(d destination) bool { return d.weight != list[0].weight })
}

// maxWeight is the largest weight that moby/ipvs reads back.
const maxWeight = 65535

// destinations returns the valid endpoints of one family with weights in their lowest terms,
// ordered by address and port.
func destinations(endpoints []localsink.Endpoint, isIPv6 bool) []destination {
	weights := map[netip.AddrPort]uint32{}
	var divisor, largest uint32
	for _, e := range endpoints {
		if e.Addr.Addr().Is6() != isIPv6 || !e.Addr.IsValid() || e.Addr.Port() == 0 {
			continue
		}
		weight := max(e.Weight, 1)
		weights[e.Addr] = weight
		divisor, largest = greatestCommonDivisor(divisor, weight), max(largest, weight)
	}
	list := make([]destination, 0, len(weights))
	for addr, weight := range weights {
		weight /= divisor
		if top := largest / divisor; top > maxWeight {
			weight = max(uint32(uint64(weight)*maxWeight/uint64(top)), 1)
		}
		list = append(list, destination{addr, weight})
	}
	slices.SortFunc(list, func(a, b destination) int { return a.addr.Compare(b.addr) })
	return list
}

func greatestCommonDivisor(a, b uint32) uint32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// setNetworks returns the networks of one family in a form that IP sets accept: not as a whole
// family.
func setNetworks(networks []netip.Prefix, isIPv6 bool) []netip.Prefix {
	all := map[netip.Prefix]bool{}
	for _, n := range networks {
		switch {
		case !n.IsValid() || n.Addr().Is6() != isIPv6:
		case n.Bits() > 0:
			all[n.Masked()] = true
		case isIPv6:
			all[netip.MustParsePrefix("::/1")], all[netip.MustParsePrefix("8000::/1")] = true, true
		default:
			all[netip.MustParsePrefix("0.0.0.0/1")], all[netip.MustParsePrefix("128.0.0.0/1")] = true, true
		}
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b netip.Prefix) int { return a.Compare(b) })
}
