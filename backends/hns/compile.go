// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/backends/internal/contract"
	"sigs.k8s.io/kpng/localsink"
)

// PreserveDestination is the extension of a Service, the annotation of the same name, that makes
// its node ports and load balancer addresses lead to local endpoints only, which see the address
// that clients dial. Its value is "true".
const PreserveDestination = "preserve-destination"

// A frontendKey is what identifies a load balancer: HNS has one for each.
type frontendKey struct {
	vip      netip.Addr // unspecified for a node port
	protocol localsink.Protocol
	port     uint16
}

// String returns "PROTOCOL ADDRESS:PORT".
func (k frontendKey) String() string {
	return fmt.Sprint(k.protocol, " ", netip.AddrPortFrom(k.vip, k.port))
}

func compareKeys(a, b frontendKey) int {
	return cmp.Or(a.vip.Compare(b.vip), cmp.Compare(a.port, b.port), cmp.Compare(a.protocol, b.protocol))
}

// settings are the properties of a load balancer beside its endpoints.
type settings struct {
	sourceVIP    netip.Addr // invalid if there is none
	internalPort uint16
	distribution Distribution
	flags        LoadBalancerFlags
	mapping      PortMappingFlags
}

// A target is an endpoint of a load balancer.
type target struct {
	addr  netip.Addr // invalid for the endpoint with the name Config.HealthCheckEndpoint
	local bool       // the CNI plugin creates it
}

// A balancer is a desired load balancer. It has at least one target.
type balancer struct {
	settings

	targets []target // ordered by address
}

func (b *balancer) equal(o *balancer) bool {
	return b == o || b != nil && o != nil && b.settings == o.settings && slices.Equal(b.targets, o.targets)
}

// A record is the desired state of one Service.
type record struct {
	balancers map[frontendKey]*balancer
	vips      []netip.Addr // that need an endpoint of their own, ordered
	err       error        // what cannot be programmed
}

// A compiler makes records.
type compiler struct {
	cfg      *Config
	features Features
	network  *podNetwork
	node     *localsink.Node
	preserve *localsink.Accessor[bool]
}

func newCompiler(cfg *Config, features Features, network *podNetwork, node *localsink.Node) *compiler {
	return &compiler{cfg, features, network, node, localsink.NewAccessor(PreserveDestination, func(value string) (bool, error) {
		return value == "true", nil
	})}
}

// compile returns the record of a Service.
func (c *compiler) compile(svc *localsink.Service) *record {
	r := &record{balancers: map[frontendKey]*balancer{}}
	var errs []error
	preserves := c.preserve.Or(svc.Extensions, false)
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if p.Affinity > 0 && c.features.SessionAffinity {
			errs = append(errs, fmt.Errorf("session affinity of port %q: HNS has no timeout: %v is not applied", p.Name, p.Affinity))
		}
		for j := range p.Frontends {
			fe := &p.Frontends[j]
			fc := frontendCompiler{c, svc, p, fe, preserves && (fe.Kind == localsink.KindNodePort || fe.Kind == localsink.KindLoadBalancer)}
			for _, err := range fc.add(r) {
				errs = append(errs, fmt.Errorf("%v %v/%v: %w", fe.Kind, fe.Addr, p.Protocol, err))
			}
		}
	}
	slices.SortFunc(r.vips, netip.Addr.Compare)
	r.vips = slices.Compact(r.vips)
	r.err = errors.Join(errs...)
	return r
}

// A frontendCompiler compiles one frontend.
type frontendCompiler struct {
	*compiler

	svc       *localsink.Service
	port      *localsink.Port
	frontend  *localsink.Frontend
	preserves bool // the destination
}

var (
	errNotRefused = errors.New("HNS has no load balancer without endpoints: connections are not refused")
	errRanges     = errors.New("source ranges are not supported; not programmed")
	errRangesOpen = errors.New("source ranges are not supported; all clients are served")
	errNodePorts  = errors.New("HNS has node ports on all addresses of the node, not only on the permitted ones")
	errNoDSR      = errors.New("this version of Windows has no direct server return: the addresses of clients are replaced")
	errSCTP       = errors.New("HNS balances no SCTP; not programmed")
	errNoIPv6     = errors.New("this version of Windows has no dual stack; not programmed")
)

// add adds the frontend to the record of its Service. It returns what is not programmed.
func (c *frontendCompiler) add(r *record) (errs []error) {
	fe := c.frontend
	if violation := contract.FrontendViolation(c.port, fe); violation != "" {
		return []error{errors.New(violation + "; ignored")}
	}
	vip := fe.Addr.Addr()
	networks := c.nodePortNetworks(vip)
	switch {
	case c.port.Protocol == localsink.ProtocolSCTP:
		return []error{errSCTP}
	case vip.Is6() && !c.features.IPv6DualStack:
		return []error{errNoIPv6}
	case fe.Kind == localsink.KindNodePort && len(networks) == 0:
		return nil
	case fe.SourceRanges != nil && !c.cfg.IgnoreSourceRanges:
		return []error{errRanges}
	case fe.SourceRanges != nil:
		errs = append(errs, errRangesOpen)
	}
	if fe.Kind == localsink.KindNodePort && !slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Bits() == 0 }) {
		errs = append(errs, errNodePorts)
	}
	route := c.route()
	errs = append(errs, c.otherClients(route)...)
	targets, port, err := c.targets(c.port.Pools[route.Pool].Endpoints)
	if err != nil {
		errs = append(errs, err)
	}
	if len(targets) == 0 {
		if route.EmptyVerdict == localsink.VerdictReject {
			errs = append(errs, errNotRefused)
		}
		return errs
	}
	b := &balancer{settings: settings{internalPort: port, sourceVIP: c.sourceVIP(targets)}, targets: targets}
	if err := c.setFlags(b, route); err != nil {
		errs = append(errs, err)
	}
	r.balancers[frontendKey{vip, c.port.Protocol, fe.Addr.Port()}] = b
	if fe.Kind == localsink.KindClusterIP && c.network.overlay {
		r.vips = append(r.vips, vip)
	}
	if fe.Kind == localsink.KindLoadBalancer {
		c.addHealthCheck(r, b)
	}
	return errs
}

// nodePortNetworks returns the networks of the family of addr that accept node ports.
func (c *frontendCompiler) nodePortNetworks(addr netip.Addr) (networks []netip.Prefix) {
	for _, n := range c.node.NodePortAddresses {
		if n.Addr().Is4() == addr.Is4() {
			networks = append(networks, n)
		}
	}
	return networks
}

// route returns the route of the clients that matter most: those in pods for a cluster IP, those
// outside of the node for other frontends.
func (c *frontendCompiler) route() localsink.Route {
	for _, r := range c.frontend.Routes {
		if r.From == localsink.FromAny || r.From == localsink.FromLocalPods && c.frontend.Kind == localsink.KindClusterIP {
			return r
		}
	}
	return c.frontend.Routes[len(c.frontend.Routes)-1]
}

// otherClients reports the clients whose route leads to other endpoints than that of the frontend.
func (c *frontendCompiler) otherClients(used localsink.Route) (errs []error) {
	pools := c.port.Pools
	for _, r := range c.frontend.Routes {
		if r.From != used.From && r.Pool != used.Pool && !slices.Equal(pools[r.Pool].Endpoints, pools[used.Pool].Endpoints) {
			errs = append(errs, fmt.Errorf("HNS does not distinguish clients: those of %v reach the endpoints for %v", r.From, used.From))
		}
	}
	return errs
}

// targets returns the endpoints that a load balancer can have: those with the port that most
// have, which is the lowest of several. Windows translates to one port only.
func (c *frontendCompiler) targets(endpoints []localsink.Endpoint) ([]target, uint16, error) {
	usable := func(e *localsink.Endpoint) bool {
		return e.Addr.Addr().Is4() == c.frontend.Addr.Addr().Is4() && (e.Local || !c.preserves)
	}
	port, total := mostFrequentPort(endpoints, usable)
	list := make([]target, 0, len(endpoints))
	for i := range endpoints {
		if e := &endpoints[i]; usable(e) && e.Addr.Port() == port {
			list = append(list, target{e.Addr.Addr(), e.Local})
		}
	}
	byAddress := func(a, b target) int { return a.addr.Compare(b.addr) }
	if !slices.IsSortedFunc(list, byAddress) {
		slices.SortFunc(list, byAddress)
	}
	if len(list) < total {
		return list, port, fmt.Errorf("HNS has one port for all endpoints: %d with another port than %d are not used", total-len(list), port)
	}
	return list, port, nil
}

// mostFrequentPort returns the port that most usable endpoints have, and the number of usable ones.
func mostFrequentPort(endpoints []localsink.Endpoint, usable func(*localsink.Endpoint) bool) (port uint16, total int) {
	same := true
	for i := range endpoints {
		if e := &endpoints[i]; usable(e) {
			same = same && (total == 0 || e.Addr.Port() == port)
			port = e.Addr.Port()
			total++
		}
	}
	if same {
		return port, total
	}
	counts := map[uint16]int{}
	for i := range endpoints {
		if usable(&endpoints[i]) {
			counts[endpoints[i].Addr.Port()]++
		}
	}
	port = 0
	for p, n := range counts {
		if port == 0 || n > counts[port] || n == counts[port] && p < port {
			port = p
		}
	}
	return port, total
}

// sourceVIP returns the address that replaces that of clients: in an overlay network, endpoints
// that are not pods must answer to the address of the node.
func (c *frontendCompiler) sourceVIP(targets []target) netip.Addr {
	isIPv6 := c.frontend.Addr.Addr().Is6()
	if c.network.overlay && slices.ContainsFunc(targets, func(t target) bool { return !t.local && !c.network.isPod(t.addr) }) {
		if node := nodeAddr(c.node, isIPv6); node.IsValid() {
			return node
		}
	}
	if c.cfg.SourceVIP.IsValid() && c.cfg.SourceVIP.Is6() == isIPv6 {
		return c.cfg.SourceVIP
	}
	return netip.Addr{}
}

// nodeAddr returns the first address of a node of a family, which is invalid if there is none.
func nodeAddr(node *localsink.Node, isIPv6 bool) netip.Addr {
	for _, a := range node.IPs {
		if a.Is6() == isIPv6 {
			return a
		}
	}
	return netip.Addr{}
}

// setFlags sets the options of a load balancer, which are those of kube-proxy. A route that keeps
// the addresses of clients from outside needs direct server return.
func (c *frontendCompiler) setFlags(b *balancer, route localsink.Route) error {
	direct := !route.Masquerade
	switch c.frontend.Kind {
	case localsink.KindClusterIP:
		direct = c.cfg.EnableDSR
	case localsink.KindNodePort:
		b.mapping = MappingVIPExternalIP | MappingLocalRoutedVIP
	case localsink.KindExternalIP:
		b.mapping = MappingVIPExternalIP
	case localsink.KindLoadBalancer:
		b.mapping = MappingVIPExternalIP
		if c.preserves {
			b.mapping |= MappingUseMux | MappingPreserveDIP
			direct = true
		}
	}
	if c.frontend.Addr.Addr().Is6() {
		b.flags |= LoadBalancerIPv6
	}
	if c.port.Affinity > 0 && c.features.SessionAffinity {
		b.distribution = DistributionSourceIP
	}
	if direct && !c.features.DSR {
		return errNoDSR
	}
	if direct {
		b.flags |= LoadBalancerDSR
	}
	return nil
}

// addHealthCheck adds the load balancer that forwards health checks at the address of a load
// balancer to the node.
func (c *frontendCompiler) addHealthCheck(r *record, served *balancer) {
	port := c.cfg.HealthCheckPort
	if c.svc.HealthCheck != nil {
		port = c.svc.HealthCheck.Port
	}
	key := frontendKey{c.frontend.Addr.Addr(), localsink.ProtocolTCP, port}
	if c.cfg.HealthCheckEndpoint == "" || port == 0 || r.balancers[key] != nil {
		return
	}
	r.balancers[key] = &balancer{
		settings: settings{
			sourceVIP: served.sourceVIP, internalPort: port, flags: served.flags &^ LoadBalancerDSR,
			mapping: served.mapping & (MappingUseMux | MappingPreserveDIP),
		},
		targets: []target{{}},
	}
}

// A podNetwork is what the backend needs of a [Network].
type podNetwork struct {
	id      string // as HNS returns it
	overlay bool
	subnets []subnet // ordered
}

type subnet struct {
	pods     netip.Prefix
	provider netip.Addr // the address of the node with these pods
}

func newPodNetwork(n *Network) *podNetwork {
	p := &podNetwork{id: n.ID, overlay: strings.EqualFold(n.Type, TypeOverlay)}
	for _, policy := range n.Policies {
		pods, err := netip.ParsePrefix(policy.Settings.DestinationPrefix)
		provider, err2 := netip.ParseAddr(policy.Settings.ProviderAddress)
		if policy.Type == PolicyRemoteSubnet && err == nil && err2 == nil {
			p.subnets = append(p.subnets, subnet{pods.Masked(), provider.Unmap()})
		}
	}
	slices.SortFunc(p.subnets, func(a, b subnet) int { return cmp.Or(a.pods.Compare(b.pods), a.provider.Compare(b.provider)) })
	return p
}

func (n *podNetwork) equal(o *podNetwork) bool {
	return n == o || n != nil && o != nil && canonicalID(n.id) == canonicalID(o.id) && n.overlay == o.overlay && slices.Equal(n.subnets, o.subnets)
}

// provider returns the address of the node of an address; invalid if it is not known.
func (n *podNetwork) provider(addr netip.Addr) (provider netip.Addr) {
	for _, s := range n.subnets {
		if s.pods.Contains(addr) || s.provider == addr {
			provider = s.provider
		}
	}
	return provider
}

// isPod reports whether addr is one of a pod of another node.
func (n *podNetwork) isPod(addr netip.Addr) bool {
	provider := n.provider(addr)
	return provider.IsValid() && provider != addr
}

// macPrefix begins the MAC addresses of remote endpoints of this backend and of kube-proxy.
const macPrefix = "02-11"

// endpointMAC returns the MAC address of a remote endpoint, which is that of kube-proxy.
func endpointMAC(addr netip.Addr) string {
	if addr.Is4() {
		b := addr.As4()
		return fmt.Sprintf("%s-%02x-%02x-%02x-%02x", macPrefix, b[0], b[1], b[2], b[3])
	}
	b := addr.As16()
	return fmt.Sprintf("%s-%02x-%02x-%02x-%02x", macPrefix, b[15], b[14], b[13], b[12])
}

// canonicalMAC returns a MAC address in the form 02-11-0a-00-00-01.
func canonicalMAC(mac string) string { return strings.ToLower(strings.ReplaceAll(mac, ":", "-")) }

// canonicalID returns an ID in the form in which IDs are compared: HNS changes the case of letters.
func canonicalID(id string) string {
	for i := range len(id) {
		if id[i] >= 'a' && id[i] <= 'z' {
			return strings.ToUpper(id)
		}
	}
	return id
}
