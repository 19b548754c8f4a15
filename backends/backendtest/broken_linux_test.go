// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
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

// A toy is a backend with a mistake: it bends what it is told, and passes it on to a
// right backend.
type toy struct {
	right localsink.Sink
	// bend changes copies of what the toy is told.
	bend func(n *localsink.Node, svc *localsink.Service)
	// before and after are called around each Sync that passes something on. An error
	// of before ends it.
	before, after func(u *localsink.Update) error
	close         func() error
	lacks         localsink.Features
	loopback      bool // serves node ports on loopback addresses too
	hoards        bool // never forgets a Service
	forgets       bool // everything that is not in Changed
	all           map[localsink.ServiceName]*localsink.Service
	last          localsink.State // that was passed on
}

// errNothing of before passes nothing on, and accepts the update.
var errNothing = errors.New("nothing is passed on")

func (y *toy) Sinks() []localsink.Sink { return []localsink.Sink{y.right} }

func (y *toy) Unsupported() localsink.Features { return y.lacks }

func (y *toy) Close() error {
	var errs []error
	if y.close != nil {
		errs = append(errs, y.close())
	}
	for s := range localsink.Walk(y.right) {
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

func (y *toy) Sync(ctx context.Context, u *localsink.Update) error {
	if y.before != nil {
		if err := y.before(u); errors.Is(err, errNothing) {
			return nil
		} else if err != nil {
			return err
		}
	}
	node := *u.Node
	if y.all == nil || !y.hoards {
		y.all = map[localsink.ServiceName]*localsink.Service{}
	}
	told := u.All.All()
	if y.forgets {
		told = slices.Values(u.Changed)
	}
	for svc := range told {
		y.all[svc.Name] = deepCopy(svc)
	}
	for _, svc := range y.all {
		if y.bend != nil {
			y.bend(&node, svc)
		}
	}
	next := sinktest.NewState(slices.Collect(maps.Values(y.all))...)
	bent := sinktest.NewUpdate(&node, y.last, next)
	bent.NodeChanged = u.NodeChanged
	if err := y.right.Sync(ctx, bent); err != nil {
		y.last = nil
		return err
	}
	y.last = next
	if y.after != nil {
		return y.after(u)
	}
	return nil
}

// deepCopy copies as far as toys bend.
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

// rules makes nftables without conntrack; both adds that.
func rules() (localsink.Sink, error) { return nftables.New(nftables.Config{}) }

func both() (localsink.Sink, error) {
	r, err := rules()
	if err != nil {
		return nil, err
	}
	flows, err := conntrack.New(conntrack.Config{})
	return localsink.Chain(r, flows), err
}

// toyBackend makes a backend of a toy.
func toyBackend(name string, right func() (localsink.Sink, error), mistake toy) backendtest.Backend {
	return backendtest.Backend{
		Name: name,
		New: func(_ context.Context, node backendtest.Namespace) (localsink.Sink, error) {
			y := mistake
			var err error
			y.right, err = right()
			if err == nil && y.loopback {
				var loopback *localhost.Sink
				loopback, err = localhost.New(localhost.Config{Dial: dialIn(node)})
				y.right = localsink.Chain(y.right, loopback)
			}
			return &y, err
		},
		LoopbackNodePorts: mistake.loopback,
		Drift:             func() error { return exec.Command("nft", "flush", "ruleset").Run() },
	}
}

func nft(script string) error { return exec.Command("nft", script).Run() }

// eachPort, eachFrontend and eachRoute bend parts of a Service.
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

// without leaves out the frontends of a kind.
func without(kind localsink.FrontendKind) func(*localsink.Node, *localsink.Service) {
	return eachPort(func(_ *localsink.Service, p *localsink.Port) {
		p.Frontends = slices.DeleteFunc(slices.Clone(p.Frontends), func(fe localsink.Frontend) bool { return fe.Kind == kind })
	})
}

// mistakes are toys, each with the behaviours that must find it out.
func mistakes() []struct {
	name  string
	toy   toy
	right func() (localsink.Sink, error)
	found []string
} {
	type mistake = struct {
		name  string
		toy   toy
		right func() (localsink.Sink, error)
		found []string
	}
	bend := func(name string, f func(*localsink.Node, *localsink.Service), found ...string) mistake {
		return mistake{name, toy{bend: f}, both, found}
	}
	told, tables := 0, 0
	return []mistake{
		bend("confuses the protocols of one port", eachPort(func(svc *localsink.Service, p *localsink.Port) { p.Pools = svc.Ports[0].Pools }), "protocols-apart", "DP-01"),
		{"never removes a Service", toy{hoards: true}, both, []string{"service-removed", "service-recreated"}},
		bend("forgets to masquerade", eachRoute(func(r *localsink.Route) { r.Masquerade = false }), "DP-04", "DP-20"),
		bend("masquerades always", eachRoute(func(r *localsink.Route) { r.Masquerade = true }), "DP-01", "DP-20"),
		bend("ignores source ranges", eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) { fe.SourceRanges = nil }), "DP-30", "DP-31"),
		bend("takes empty source ranges for none", eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) {
			if len(fe.SourceRanges) == 0 {
				fe.SourceRanges = nil
			}
		}), "DP-31"),
		bend("answers before it looks at source ranges", eachFrontend(func(p *localsink.Port, fe *localsink.Frontend) {
			if len(p.Pools[fe.Routes[0].Pool].Endpoints) == 0 {
				fe.SourceRanges = nil
			}
		}), "SEL-22"),
		bend("picks the first endpoint", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			for i := range p.Pools {
				p.Pools[i].Endpoints = p.Pools[i].Endpoints[:min(1, len(p.Pools[i].Endpoints))]
			}
		}), "DP-15"),
		bend("prefers endpoints of its own node", eachPort(func(_ *localsink.Service, p *localsink.Port) {
			for i := range p.Pools {
				if slices.ContainsFunc(p.Pools[i].Endpoints, func(e localsink.Endpoint) bool { return e.Local }) {
					p.Pools[i].Endpoints = slices.DeleteFunc(slices.Clone(p.Pools[i].Endpoints), func(e localsink.Endpoint) bool { return !e.Local })
				}
			}
		}), "DP-15"),
		bend("rejects what must be dropped", eachRoute(func(r *localsink.Route) { r.EmptyVerdict = localsink.VerdictReject }), "SEL-20-drop", "SEL-20-both"),
		bend("drops what must be rejected", eachRoute(func(r *localsink.Route) { r.EmptyVerdict = localsink.VerdictDrop }), "SEL-20", "SEL-20-both"),
		bend("ignores whom a route is for", eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) { fe.Routes = fe.Routes[len(fe.Routes)-1:] }), "SEL-11", "SEL-11-pods"),
		bend("puts routes in its own order", eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) {
			slices.SortStableFunc(fe.Routes[:len(fe.Routes)-1], func(a, b localsink.Route) int { return int(a.From) - int(b.From) })
		}), "SEL-11-order"),
		bend("knows pods by network only", func(n *localsink.Node, _ *localsink.Service) {
			n.LocalPods.Interface, n.LocalPods.InterfacePrefix = "", ""
		}, "SEL-11-pods"),
		bend("forgets node ports on the second address", func(n *localsink.Node, _ *localsink.Service) {
			n.NodePortAddresses = slices.DeleteFunc(slices.Clone(n.NodePortAddresses), func(p netip.Prefix) bool { return p.Addr().String() == "192.0.2.78" })
		}, "DP-04"),
		bend("serves node ports on every address", func(n *localsink.Node, _ *localsink.Service) {
			n.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		}, "DP-05", "node-changed"),
		bend("forgets external IPs", without(localsink.KindExternalIP), "DP-06"),
		bend("forgets load balancers", without(localsink.KindLoadBalancer), "DP-07"),
		bend("lets other ports of a cluster IP pass", eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) {
			if fe.Kind == localsink.KindClusterIP {
				fe.Kind = localsink.KindExternalIP
			}
		}), "DP-02"),
		bend("remembers no client", eachPort(func(_ *localsink.Service, p *localsink.Port) { p.Affinity = 0 }), "DP-40", "DP-43"),
		bend("remembers clients for ever", eachPort(func(_ *localsink.Service, p *localsink.Port) { p.Affinity *= 100 }), "DP-41", "DP-44"),
		bend("remembers each client whether asked or not", eachPort(func(_ *localsink.Service, p *localsink.Port) { p.Affinity = time.Hour }), "DP-45"),
		{"does not masquerade hairpins", toy{after: func(*localsink.Update) error {
			return errors.Join(nft("flush set ip kpng hairpin"), nft("flush set ip6 kpng hairpin"))
		}}, both, []string{"DP-22"}},
		{"cuts connections at each Sync", toy{after: func(*localsink.Update) error {
			// What comes in the middle of a connection is then nobody's.
			return errors.Join(nft("add table inet cut; add chain inet cut c { type filter hook prerouting priority -150; }; add rule inet cut c ct state established tcp flags & (syn|ack) == ack reject with tcp reset"))
		}}, both, []string{"DP-14", "OP-05", "zero-resets"}},
		{"asks endpoints for echoes too", toy{after: func(*localsink.Update) error {
			return errors.Join(
				nft("add table ip echo; add chain ip echo c { type nat hook prerouting priority -101; }; flush chain ip echo c; add rule ip echo c ip daddr 10.96.0.0/16 icmp type echo-request dnat to 10.244.0.10"),
				nft("add table ip6 echo; add chain ip6 echo c { type nat hook output priority -101; }; flush chain ip6 echo c; add rule ip6 echo c ip6 daddr fd00:96::/64 icmpv6 type echo-request dnat to fd00:245::a"))
		}}, both, []string{"DP-10"}},
		{"looks at source ranges anew for each packet", toy{after: func(u *localsink.Update) error {
			for _, svc := range u.Changed {
				for _, p := range svc.Ports {
					if p.Frontends[0].SourceRanges != nil {
						return netlink.ConntrackTableFlush(netlink.ConntrackTable)
					}
				}
			}
			return nil
		}}, both, []string{"DP-34"}},
		{"answers on loopback addresses unasked", toy{loopback: true, bend: func(n *localsink.Node, _ *localsink.Service) {
			n.LoopbackNodePorts = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
		}}, both, []string{"DP-61", "DP-62"}},
		{"does not answer on loopback addresses", toy{loopback: true, bend: func(n *localsink.Node, _ *localsink.Service) {
			n.LoopbackNodePorts = nil
		}}, both, []string{"DP-62", "DP-62-changes", "DP-62-affinity"}},
		{"remembers nobody on loopback addresses", toy{loopback: true, bend: eachPort(func(_ *localsink.Service, p *localsink.Port) {
			p.Affinity = 0
		})}, both, []string{"DP-62-affinity"}},
		{"sends loopback clients where pods go", toy{loopback: true, bend: eachFrontend(func(_ *localsink.Port, fe *localsink.Frontend) {
			if fe.Routes[0].From == localsink.FromLocalPods {
				fe.Routes[0].From = localsink.FromAny
			}
		})}, both, []string{"DP-62"}},
		{"takes its rules along when it ends", toy{close: func() error { return nftables.Cleanup("") }}, both, []string{"OP-05"}},
		{"forgets flows when it ends", toy{close: func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }}, both, []string{"OP-05"}},
		{"leaves UDP flows as they are", toy{}, rules, []string{"CT-03", "CT-08"}},
		{"cuts UDP flows to retained endpoints", toy{bend: eachPort(func(_ *localsink.Service, p *localsink.Port) { p.Draining = nil })}, both, []string{"CT-02"}},
		{"heals nothing", toy{before: func(u *localsink.Update) error {
			if len(u.Changed)+len(u.Removed) > 0 || u.NodeChanged {
				return nil
			}
			return errNothing
		}}, both, []string{"OP-16"}},
		{"takes what changed for the whole", toy{forgets: true}, both, []string{"told-twice", "service-removed"}},
		{"does not know what it left behind", toy{}, func() (localsink.Sink, error) {
			tables++
			return nftables.New(nftables.Config{Table: fmt.Sprint("kpng", tables)})
		}, []string{"first-update"}},
		{"fails now and then", toy{before: func(*localsink.Update) error {
			if told++; told%3 == 0 {
				return errors.New("the toy fails")
			}
			return nil
		}}, both, []string{"endpoints-change"}},
	}
}

// TestMistakesAreFound: each wrong backend fails the behaviours that are about its
// mistake.
func TestMistakesAreFound(t *testing.T) {
	require.NotEmpty(t, backendtest.IDs())
	for _, m := range mistakes() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			report := backendtest.Try(t, toyBackend(m.name, m.right, m.toy), m.found...)
			for _, id := range m.found {
				require.Contains(t, backendtest.IDs(), id)
				require.NotNil(t, report.Result(id), id)
			}
			require.Equal(t, sortedCopy(m.found), sortedCopy(report.Failed()), report.Text())
		})
	}
}

// TestNoMistake: a toy that bends nothing fails nothing that the others fail.
func TestNoMistake(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mistakes() {
		for _, id := range m.found {
			seen[id] = true
		}
	}
	var ids []string
	for id := range seen {
		ids = append(ids, id)
	}
	report := backendtest.Try(t, toyBackend("no mistake", both, toy{loopback: true}), ids...)
	require.Empty(t, report.Failed(), report.Text())
}

func sortedCopy(list []string) []string { return slices.Sorted(slices.Values(list)) }
