// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"sigs.k8s.io/kpng/backends/backendtest"
	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A brokenBackend is a deliberately broken backend: it alters each update and passes it on
// to a correct backend.
type brokenBackend struct {
	correct localsink.Sink
	// alter changes copies of the node and of a Service.
	alter func(n *localsink.Node, svc *localsink.Service)
	// before and after are called around Sync of the correct backend. Sync returns an error
	// of before without calling the correct backend.
	before, after func(u *localsink.Update) error
	close         func() error
	loopback      bool // serves node ports on loopback addresses too
	neverRemoves  bool // keeps removed Services
	onlyChanged   bool // takes Update.Changed for the whole state
	// keepsNoMasquerade uses Node.NoMasquerade of the first update for all.
	keepsNoMasquerade bool
	first             *localsink.Node
	services          map[localsink.ServiceName]*localsink.Service
	lastState         localsink.State // that was passed on
}

// errSkip, returned by before, ends Sync with success.
var errSkip = errors.New("skip the update")

func (b *brokenBackend) Sinks() []localsink.Sink { return []localsink.Sink{b.correct} }

func (b *brokenBackend) Close() error {
	var errs []error
	if b.close != nil {
		errs = append(errs, b.close())
	}
	for s := range localsink.Walk(b.correct) {
		switch s := s.(type) {
		case *nftables.Backend:
			errs = append(errs, s.Close())
		case *conntrack.Backend:
			errs = append(errs, s.Close())
		case *localhost.Sink:
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

func (b *brokenBackend) Sync(ctx context.Context, u *localsink.Update) error {
	if b.before != nil {
		if err := b.before(u); errors.Is(err, errSkip) {
			return nil
		} else if err != nil {
			return err
		}
	}
	node := *u.Node
	if b.first == nil {
		b.first = u.Node
	}
	if b.keepsNoMasquerade {
		node.NoMasquerade = b.first.NoMasquerade
	}
	if b.services == nil || !b.neverRemoves {
		b.services = map[localsink.ServiceName]*localsink.Service{}
	}
	desired := u.All.All()
	if b.onlyChanged {
		desired = slices.Values(u.Changed)
	}
	for svc := range desired {
		b.services[svc.Name] = deepCopy(svc)
	}
	for _, svc := range b.services {
		if b.alter != nil {
			b.alter(&node, svc)
		}
	}
	next := sinktest.NewState(slices.Collect(maps.Values(b.services))...)
	altered := sinktest.NewUpdate(&node, b.lastState, next)
	altered.NodeChanged = u.NodeChanged
	if err := b.correct.Sync(ctx, altered); err != nil {
		b.lastState = nil
		return err
	}
	b.lastState = next
	if b.after != nil {
		return b.after(u)
	}
	return nil
}

// deepCopy copies all that broken backends alter.
func deepCopy(svc *localsink.Service) *localsink.Service {
	c := *svc
	c.Ports = slices.Clone(svc.Ports)
	for i := range c.Ports {
		p := &c.Ports[i]
		p.Pools = slices.Clone(p.Pools)
		p.Frontends = slices.Clone(p.Frontends)
		for j := range p.Frontends {
			p.Frontends[j].Routes = slices.Clone(p.Frontends[j].Routes)
		}
	}
	return &c
}

// newRules returns an nftables sink.
func newRules() (localsink.Sink, error) { return nftables.New(nftables.Config{}) }

// newRulesAndFlows returns nftables and conntrack sinks.
func newRulesAndFlows() (localsink.Sink, error) {
	rules, err := newRules()
	if err != nil {
		return nil, err
	}
	flows, err := conntrack.New(conntrack.Config{})
	return localsink.Chain(rules, flows), err
}

// asBackend describes a broken backend to the kit. mistake is copied for each sink.
func asBackend(name string, newCorrect func() (localsink.Sink, error), mistake brokenBackend) backendtest.Backend {
	return backendtest.Backend{
		Name: name,
		New: func(_ context.Context, node backendtest.Namespace) (localsink.Sink, error) {
			b := mistake
			var err error
			b.correct, err = newCorrect()
			if err == nil && b.loopback {
				var loopback *localhost.Sink
				loopback, err = localhost.New(localhost.Config{Dial: backendtest.DialIn(node)})
				b.correct = localsink.Chain(b.correct, loopback)
			}
			return &b, err
		},
		LoopbackNodePorts: mistake.loopback,
		Drift:             func() error { return exec.Command("nft", "flush", "ruleset").Run() },
	}
}

// nft runs an nft script.
func nft(script string) error { return exec.Command("nft", script).Run() }

// eachPort, eachFrontend and eachRoute return functions that alter parts of a Service.
func eachPort(f func(svc *localsink.Service, p *localsink.Port)) func(*localsink.Node, *localsink.Service) {
	return func(_ *localsink.Node, svc *localsink.Service) {
		for i := range svc.Ports {
			f(svc, &svc.Ports[i])
		}
	}
}

func eachFrontend(f func(p *localsink.Port, fe *localsink.Frontend)) func(*localsink.Node, *localsink.Service) {
	return eachPort(func(_ *localsink.Service, p *localsink.Port) {
		for i := range p.Frontends {
			f(p, &p.Frontends[i])
		}
	})
}

func eachRoute(f func(r *localsink.Route)) func(*localsink.Node, *localsink.Service) {
	return eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) {
		for i := range fe.Routes {
			f(&fe.Routes[i])
		}
	})
}

// without removes the frontends of a kind.
func without(kind localsink.FrontendKind) func(*localsink.Node, *localsink.Service) {
	return eachPort(func(_ *localsink.Service, p *localsink.Port) {
		p.Frontends = slices.DeleteFunc(slices.Clone(p.Frontends), func(fe localsink.Frontend) bool { return fe.Kind == kind })
	})
}

// A mistake is a broken backend with the behaviours that must fail.
type mistake struct {
	name       string
	backend    brokenBackend
	newCorrect func() (localsink.Sink, error)
	fails      []string
}

// alter returns a mistake that changes the desired state.
func alter(name string, f func(*localsink.Node, *localsink.Service), fails ...string) mistake {
	return mistake{name, brokenBackend{alter: f}, newRulesAndFlows, fails}
}

func mistakes() []mistake {
	return slices.Concat(endpointMistakes(), clientMistakes(), frontendMistakes(), affinityMistakes(),
		loopbackMistakes(), connectionMistakes(), syncMistakes(), conceptMistakes())
}

// endpointMistakes choose other endpoints, or another verdict for an empty pool.
func endpointMistakes() []mistake {
	return []mistake{
		alter("confuses the protocols of one port", eachPort(func(svc *localsink.Service, p *localsink.Port) { p.Pools = svc.Ports[0].Pools }), "protocols-apart", "DP-01"),
		alter("uses the first endpoint only", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			for i := range p.Pools {
				p.Pools[i].Endpoints = p.Pools[i].Endpoints[:min(1, len(p.Pools[i].Endpoints))]
			}
		}), "DP-15"),
		alter("prefers local endpoints", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			for i := range p.Pools {
				if slices.ContainsFunc(p.Pools[i].Endpoints, func(e localsink.Endpoint) bool { return e.Local }) {
					p.Pools[i].Endpoints = slices.DeleteFunc(slices.Clone(p.Pools[i].Endpoints), func(e localsink.Endpoint) bool { return !e.Local })
				}
			}
		}), "DP-15"),
		alter("rejects instead of dropping", eachRoute(func(r *localsink.Route) { r.EmptyVerdict = localsink.VerdictReject }), "SEL-20-drop", "SEL-20-both"),
		alter("drops instead of rejecting", eachRoute(func(r *localsink.Route) { r.EmptyVerdict = localsink.VerdictDrop }), "SEL-20", "SEL-20-both"),
	}
}

// clientMistakes have wrong masquerading, source ranges or routes.
func clientMistakes() []mistake {
	return []mistake{
		alter("never masquerades", eachRoute(func(r *localsink.Route) { r.Masquerade = false }), "DP-04", "DP-20"),
		alter("always masquerades", eachRoute(func(r *localsink.Route) { r.Masquerade = true }), "DP-01", "DP-20"),
		{"does not masquerade hairpin connections", brokenBackend{after: func(*localsink.Update) error {
			return errors.Join(nft("flush set ip kpng hairpin"), nft("flush set ip6 kpng hairpin"))
		}}, newRulesAndFlows, []string{"DP-22", "DP-26-hairpin"}},
		alter("treats empty source ranges as no source ranges", eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) {
			if len(fe.SourceRanges) == 0 {
				fe.SourceRanges = nil
			}
		}), "DP-31"),
		alter("ignores source ranges of empty pools", eachFrontend(func(p *localsink.Port, fe *localsink.Frontend) {
			if len(p.Pools[fe.Routes[0].Pool].Endpoints) == 0 {
				fe.SourceRanges = nil
			}
		}), "SEL-22"),
		alter("ignores source ranges", eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) { fe.SourceRanges = nil }), "DP-30", "DP-31"),
		alter("ignores Route.From", eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) { fe.Routes = fe.Routes[len(fe.Routes)-1:] }), "SEL-11", "SEL-11-pods"),
		alter("sorts routes by kind of client", eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) {
			slices.SortStableFunc(fe.Routes[:len(fe.Routes)-1], func(a, b localsink.Route) int { return int(a.From) - int(b.From) })
		}), "SEL-11-order"),
		alter("recognises pods by network only", func(n *localsink.Node, _ *localsink.Service) {
			n.LocalPods.Interface, n.LocalPods.InterfacePrefix = "", ""
		}, "SEL-11-pods"),
	}
}

func frontendMistakes() []mistake {
	return []mistake{
		alter("serves node ports on the first address only", func(n *localsink.Node, _ *localsink.Service) {
			n.NodePortAddresses = slices.DeleteFunc(slices.Clone(n.NodePortAddresses), func(p netip.Prefix) bool { return p.Addr().String() == "192.0.2.78" })
		}, "DP-04"),
		alter("serves node ports on every address", func(n *localsink.Node, _ *localsink.Service) {
			n.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		}, "DP-05", "node-changed"),
		alter("ignores external IPs", without(localsink.KindExternalIP), "DP-06"),
		alter("ignores load balancer IPs", without(localsink.KindLoadBalancer), "DP-07"),
		alter("does not refuse undefined ports of a cluster IP", eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) {
			if fe.Kind == localsink.KindClusterIP {
				fe.Kind = localsink.KindExternalIP
			}
		}), "DP-02"),
		{"sends echo requests to endpoints", brokenBackend{after: func(*localsink.Update) error {
			return errors.Join(
				nft("add table ip echo; add chain ip echo c { type nat hook prerouting priority -101; }; flush chain ip echo c; add rule ip echo c ip daddr 10.96.0.0/16 icmp type echo-request dnat to 10.244.0.10"),
				nft("add table ip6 echo; add chain ip6 echo c { type nat hook output priority -101; }; flush chain ip6 echo c; add rule ip6 echo c ip6 daddr fd00:96::/64 icmpv6 type echo-request dnat to fd00:245::a"))
		}}, newRulesAndFlows, []string{"DP-10"}},
	}
}

func affinityMistakes() []mistake {
	return []mistake{
		{"ignores affinity on loopback addresses", brokenBackend{loopback: true, alter: eachPort(func(_ *localsink.Service, p *localsink.Port) {
			p.Affinity = 0
		})}, newRulesAndFlows, []string{"DP-62-affinity"}},
		alter("ignores affinity", eachPort(func(_ *localsink.Service, p *localsink.Port) { p.Affinity = 0 }), "DP-40", "DP-43"),
		alter("never expires affinity", eachPort(func(_ *localsink.Service, p *localsink.Port) { p.Affinity *= 100 }), "DP-41", "DP-44"),
		alter("always uses affinity", eachPort(func(_ *localsink.Service, p *localsink.Port) { p.Affinity = time.Hour }), "DP-45"),
	}
}

func loopbackMistakes() []mistake {
	return []mistake{
		{"always answers on loopback addresses", brokenBackend{loopback: true, alter: func(n *localsink.Node, _ *localsink.Service) {
			n.LoopbackNodePorts = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
		}}, newRulesAndFlows, []string{"DP-61", "DP-62"}},
		{"never answers on loopback addresses", brokenBackend{loopback: true, alter: func(n *localsink.Node, _ *localsink.Service) {
			n.LoopbackNodePorts = nil
		}}, newRulesAndFlows, []string{"DP-62", "DP-62-changes", "DP-62-affinity"}},
		{"uses the route of pods for loopback clients", brokenBackend{loopback: true, alter: eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) {
			if fe.Routes[0].From == localsink.FromLocalPods {
				fe.Routes[0].From = localsink.FromAny
			}
		})}, newRulesAndFlows, []string{"DP-62"}},
	}
}

func connectionMistakes() []mistake {
	return []mistake{
		{"resets established connections after each Sync", brokenBackend{after: func(*localsink.Update) error {
			// Reset packets of established connections.
			return errors.Join(nft("add table inet cut; add chain inet cut c { type filter hook prerouting priority -150; }; add rule inet cut c ct state established tcp flags & (syn|ack) == ack reject with tcp reset"))
		}}, newRulesAndFlows, []string{"DP-14", "OP-05", "zero-resets"}},
		{"applies source ranges to established connections", brokenBackend{after: func(u *localsink.Update) error {
			for _, svc := range u.Changed {
				for _, p := range svc.Ports {
					if p.Frontends[0].SourceRanges != nil {
						return netlink.ConntrackTableFlush(netlink.ConntrackTable)
					}
				}
			}
			return nil
		}}, newRulesAndFlows, []string{"DP-34"}},
		{"removes all flows when it is closed", brokenBackend{close: func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }}, newRulesAndFlows, []string{"OP-05"}},
		{"removes no stale UDP flows", brokenBackend{}, newRules, []string{"CT-03", "CT-08"}},
		{"removes UDP flows to draining endpoints", brokenBackend{alter: eachPort(func(_ *localsink.Service, p *localsink.Port) { p.Draining = nil })}, newRulesAndFlows, []string{"CT-02"}},
	}
}

func syncMistakes() []mistake {
	syncs, tables := 0, 0
	return []mistake{
		{"never removes a Service", brokenBackend{neverRemoves: true}, newRulesAndFlows, []string{"service-removed", "service-recreated"}},
		{"takes Changed for the whole state", brokenBackend{onlyChanged: true}, newRulesAndFlows, []string{"repeated-update", "service-removed"}},
		{"removes its rules when it is closed", brokenBackend{close: func() error { return nftables.Cleanup("") }}, newRulesAndFlows, []string{"OP-05"}},
		{"does not repair drift", brokenBackend{before: func(u *localsink.Update) error {
			if len(u.Changed)+len(u.Removed) > 0 || u.NodeChanged {
				return nil
			}
			return errSkip
		}}, newRulesAndFlows, []string{"OP-16"}},
		{"uses another table after each restart", brokenBackend{}, func() (localsink.Sink, error) {
			tables++
			return nftables.New(nftables.Config{Table: fmt.Sprint("kpng", tables)})
		}, []string{"first-update"}},
		{"fails every third Sync", brokenBackend{before: func(*localsink.Update) error {
			if syncs++; syncs%3 == 0 {
				return errors.New("injected")
			}
			return nil
		}}, newRulesAndFlows, []string{"endpoints-change"}},
	}
}

// TestBrokenBackendsFail: each broken backend fails exactly the listed behaviours.
func TestBrokenBackendsFail(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, backendtest.IDs())
	for _, m := range mistakes() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			report := backendtest.Try(t, asBackend(m.name, m.newCorrect, m.backend), m.fails...)
			for _, id := range m.fails {
				require.Contains(t, backendtest.IDs(), id)
				require.NotNil(t, report.Result(id), id)
			}
			fails := supportedIDs(report, m.fails)
			if len(fails) == 0 {
				t.Skip("the correct backend does not support the features of these behaviours")
			}
			require.Equal(t, sortedCopy(fails), sortedCopy(report.Failed()), report.Text())
		})
	}
}

// TestUnalteredBackendPasses: without a mistake, the same behaviours pass. TestConformance checks
// most of them with the same sinks.
func TestUnalteredBackendPasses(t *testing.T) {
	if os.Getenv("KPNG_CONFORMANCE") != "all" {
		t.Skip("takes minutes: KPNG_CONFORMANCE=all runs it")
	}
	seen := map[string]bool{}
	for _, m := range mistakes() {
		for _, id := range m.fails {
			seen[id] = true
		}
	}
	var ids []string
	for id := range seen {
		ids = append(ids, id)
	}
	report := backendtest.Try(t, asBackend("no mistake", newRulesAndFlows, brokenBackend{loopback: true}), ids...)
	require.Empty(t, report.Failed(), report.Text())
}

func sortedCopy(list []string) []string { return slices.Sorted(slices.Values(list)) }
