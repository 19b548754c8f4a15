// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// backendIn returns a backend in a namespace.
func backendIn(t testing.TB, ns *netnstest.Namespace, c Config) *Backend {
	t.Helper()
	var b *Backend
	ns.Do(func() (err error) {
		b, err = New(c)
		return err
	})
	t.Cleanup(func() { b.Close() })
	return b
}

// tableContent is what the nft command says of a table: rules by chain and elements by
// set, without what depends on the order of events, and without pins and draws.
type tableContent struct {
	rules map[string][]string
	sets  map[string][]string
}

func listTable(t testing.TB, ns *netnstest.Namespace, family, table string) tableContent {
	t.Helper()
	text, err := ns.Command("nft", "list", "table", family, table)
	require.NoError(t, err)
	require.NotContains(t, text, "invalid type")
	out, err := ns.Command("nft", "-j", "list", "table", family, table)
	require.NoError(t, err)
	var list struct {
		Nftables []struct {
			Map, Set *struct {
				Name string
				Elem []json.RawMessage
			}
			Chain *struct{ Name string }
			Rule  *struct {
				Chain string
				Expr  json.RawMessage
			}
		}
	}
	out = out[strings.Index(out, "{"):] // after warnings
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	c := tableContent{rules: map[string][]string{}, sets: map[string][]string{}}
	for _, o := range list.Nftables {
		set := o.Map
		if set == nil {
			set = o.Set
		}
		switch {
		case set != nil:
			name := withoutSuffix.ReplaceAllString(set.Name, "$1")
			require.NotContains(t, c.sets, name)
			c.sets[name] = []string{}
			for _, e := range set.Elem {
				if !strings.HasPrefix(name, prefixAffinity) || strings.HasPrefix(name, prefixAffinityEndpoints) {
					c.sets[name] = append(c.sets[name], withoutSlot(t, name, e))
				}
			}
			slices.Sort(c.sets[name])
		case o.Chain != nil:
			c.rules[o.Chain.Name] = []string{}
		case o.Rule != nil:
			c.rules[o.Rule.Chain] = append(c.rules[o.Rule.Chain], withoutSuffix.ReplaceAllString(string(o.Rule.Expr), "$1"))
		}
	}
	return c
}

// withoutSuffix matches the names of maps of a port with affinity, which have two alternatives.
var withoutSuffix = regexp.MustCompile(`\b(affinity-[\w.-]+)-[ab]\b`)

// withoutSlot returns the text of an element, for endpoints without their slot.
func withoutSlot(t testing.TB, set string, e json.RawMessage) string {
	if strings.HasPrefix(set, prefixAffinityEndpoints) {
		var pair []json.RawMessage
		require.NoError(t, json.Unmarshal(e, &pair))
		return string(pair[1])
	}
	if !strings.HasPrefix(set, prefixEndpoints) {
		return string(e)
	}
	var pair []struct{ Concat []any }
	require.NoError(t, json.Unmarshal(e, &pair))
	key := pair[0].Concat
	return fmt.Sprint(key[:len(key)-1], pair[1].Concat)
}

// nonEmpty leaves out what may be left over from the past: sets without elements.
func (c tableContent) nonEmpty() map[string][]string {
	used := map[string][]string{}
	for name, elements := range c.sets {
		if len(elements) > 0 {
			used[name] = elements
		}
	}
	return used
}

// The kernel follows a random walk without ever refusing a step, and holds in the
// end what it would hold had the last state been the first.
func TestKernelTableIsIndependentOfHistory(t *testing.T) {
	ns := netnstest.New(t)
	walked := backendIn(t, ns, Config{Table: "walked"})
	g := newGenerator(t)
	all := map[localsink.ServiceName]*localsink.Service{}
	var last serviceList
	for i := range 150 {
		g.step(all)
		next := serviceList(slices.Collect(values(all)))
		u := nextUpdate(testNode(), last, next)
		require.NoError(t, walked.Sync(context.Background(), u), "step %d", i)
		if i%3 == 0 {
			require.NoError(t, walked.Sync(context.Background(), u), "retry of step %d", i)
		}
		last = next
	}
	for _, s := range walked.Stats().Tables {
		require.EqualValues(t, 1, s.Rebuilds)
		require.Empty(t, s.LastError)
		require.Empty(t, s.Problems)
	}
	fresh := backendIn(t, ns, Config{Table: "fresh"})
	require.NoError(t, fresh.Sync(context.Background(), firstUpdate(testNode(), last...)))
	for _, family := range []string{"ip", "ip6"} {
		got, want := listTable(t, ns, family, "walked"), listTable(t, ns, family, "fresh")
		require.Equal(t, want.nonEmpty(), got.nonEmpty())
		for chain, rules := range want.rules {
			if !strings.HasPrefix(chain, prefixAffinity) { // their slots depend on history
				require.Equal(t, rules, got.rules[chain], chain)
			}
		}
		require.LessOrEqual(t, len(got.rules), len(want.rules)+maxUnusedChains+3*2*40)
	}
	_, err := ns.Command("nft", "list", "ruleset")
	require.NoError(t, err)
	_, err = ns.Command("nft", "-j", "list", "ruleset")
	require.NoError(t, err)
}

// listing returns the listing of nft in one line, without comments and without the counts
// that some versions add. It checks that each chain, map and set has a comment.
func listing(t *testing.T, ns *netnstest.Namespace, family string) string {
	text, err := ns.Command("nft", "list", "table", family, "kpng")
	require.NoError(t, err)
	objects := regexp.MustCompile(`(?m)^\t(chain|map|set) `).FindAllString(text, -1)
	comments := regexp.MustCompile(`(?m)^\t\tcomment "[^"]+"$`).FindAllString(text, -1)
	require.Len(t, comments, len(objects), "comments of chains, maps and sets")
	require.Contains(t, text, `comment "`+commentTable+`"`)
	text = strings.Join(strings.Fields(text), " ")
	return regexp.MustCompile(`# count \d+ |comment "[^"]+" `).ReplaceAllString(text, "")
}

// The nft command can read the tables: that is how operators look at them.
func TestNftListsTable(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	s := newService("web", localsink.Port{Pools: []localsink.Pool{newLocalPool("10.244.0.9:8080", "10.244.0.10:8080"), newLocalPool("10.244.0.9:8080"), {}},
		Frontends: []localsink.Frontend{
			newFrontend(localsink.KindClusterIP, "10.96.0.1:80", localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Masquerade: true}),
			newFrontend(localsink.KindNodePort, "0.0.0.0:30080", localsink.Route{From: localsink.FromLocalPods},
				localsink.Route{From: localsink.FromThisNode, Masquerade: true}, localsink.Route{Pool: 1}),
			newFrontend(localsink.KindExternalIP, "198.51.100.1:80", localsink.Route{Pool: 2, EmptyVerdict: localsink.VerdictDrop}),
			newFrontend(localsink.KindLoadBalancer, "198.51.100.2:80", localsink.Route{Pool: 2}),
		}})
	s.Ports[0].Frontends[3].SourceRanges = []netip.Prefix{netip.MustParsePrefix("203.0.113.9/24"), netip.MustParsePrefix("203.0.113.77/32")}
	n := testNode()
	n.LocalPods = localsink.PodSources{Networks: n.LocalPods.Networks, Interface: "br0", InterfacePrefix: "veth"}
	n.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("127.0.0.0/8")}
	require.NoError(t, b.Sync(context.Background(), firstUpdate(n, s)))
	_, err := ns.Command("nft", "list", "ruleset")
	require.NoError(t, err)
	text := listing(t, ns, "ip")
	for _, part := range []string{
		"198.51.100.1 . tcp . 80 : goto drop-chain",
		"198.51.100.2 . tcp . 80 : goto reject-chain",
		"10.96.0.1 . tcp . 80 : goto dispatch-service.pods-pool1-2.any-masq-pool1-2",
		"tcp . 30080 : goto dispatch-nodeport.pods-pool1-2.node-masq-pool1-2.any-pool2-1",
		"10.96.0.1 . tcp . 80 . 0x00000001 : 10.244.0.10 . 8080",
		"tcp . 30080 . 0x00000000 : 10.244.0.9 . 8080",
		"elements = { 10.96.0.1 }",
		"10.244.0.9 . 10.244.0.9",
		"chain loadbalance-service-pool1-3 { dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints-service-pool1-max8 }",
		"chain dispatch-service.pods-pool1-2.any-masq-pool1-2 { ip saddr 10.244.0.0/16 goto loadbalance-service-pool1-2 iifname \"br0\" goto loadbalance-service-pool1-2 " +
			"iifname \"veth*\" goto loadbalance-service-pool1-2 meta mark set meta mark | 0x00004000 goto loadbalance-service-pool1-2 }",
		"fib saddr type local meta mark set meta mark | 0x00004000 goto loadbalance-nodeport-pool1-2",
		"{ ip saddr 203.0.113.0/24 return ip saddr 203.0.113.77 return drop }",
		"ip daddr . meta l4proto . th dport vmap @firewall-ips ip daddr . meta l4proto . th dport vmap @service-ips " +
			"ip daddr != 127.0.0.0/8 fib daddr type local jump nodeports " +
			"ip daddr 192.0.2.1 fib daddr type local jump nodeports }",
		"chain cluster-ips-check-prerouting { type nat hook prerouting priority dstnat + 10; policy accept; jump services ip daddr @cluster-ips goto reject-chain }",
		"ct status dnat ip saddr . ip daddr @hairpin-connections masquerade fully-random",
		"meta mark & 0x00004000 != 0x00000000 meta mark set meta mark ^ 0x00004000 masquerade fully-random",
	} {
		require.True(t, strings.Contains(text, part), "%s\nis not in\n%s", part, text)
	}
}

// A faultyKernel refuses or loses what a test wants it to.
type faultyKernel struct {
	transport
	fault func(b *nfnl.Batch, commit bool) error
}

func (k *faultyKernel) Commit(b *nfnl.Batch) error {
	if err := k.fault(b, true); err != nil {
		return err
	}
	return k.transport.Commit(b)
}

func (k *faultyKernel) Check(b *nfnl.Batch) error {
	if err := k.fault(b, false); err != nil {
		return err
	}
	return k.transport.Check(b)
}

// injectFaults puts a faulty kernel below every table of b.
func injectFaults(b *Backend) *faultyKernel {
	k := &faultyKernel{transport: b.tables[0].kernel}
	k.clearFault()
	for _, t := range b.tables {
		t.kernel = k
	}
	return k
}

func (k *faultyKernel) clearFault() { k.fault = func(*nfnl.Batch, bool) error { return nil } }

func clusterIPService(i int) *localsink.Service {
	return newService(fmt.Sprintf("svc-%02d", i), localsink.Port{Pools: []localsink.Pool{newLocalPool(fmt.Sprintf("10.244.0.%d:80", i))},
		Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, fmt.Sprintf("10.96.0.%d:80", i))}})
}

// Services that the kernel refuses do not keep others from being served.
func TestRefusedServicesAreSkipped(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	k := injectFaults(b)
	var all serviceList
	for i := range 40 {
		all = append(all, clusterIPService(i))
	}
	refuse := func(poison ...string) {
		k.fault = func(batch *nfnl.Batch, _ bool) error {
			for _, addr := range poison {
				if batch.Contains(netip.MustParseAddr(addr).AsSlice()) {
					return &nfnl.Error{Errno: syscall.EINVAL, Detail: "for the test", Message: 9}
				}
			}
			return nil
		}
	}
	served := func() int { return len(listTable(t, ns, "ip", "kpng").sets[mapServiceIPs]) }

	refuse("10.96.0.7", "10.96.0.23")
	refused := func() (names []string) {
		for _, n := range b.Stats().Tables[0].Refused {
			names = append(names, n.Name)
		}
		return names
	}
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), all...)), "the others are accepted")
	require.Equal(t, []string{"svc-07", "svc-23"}, refused())
	require.Contains(t, b.Stats().Tables[0].LastError, "not programmed in table ip kpng: ")
	require.Contains(t, b.Stats().Tables[0].LastError, "for the test")
	require.Equal(t, 38, served())
	require.Len(t, b.NotProgrammed(), 2, "OP-14: they are named")
	require.ErrorIs(t, b.NotProgrammed()[all[7].Name], syscall.EINVAL)
	require.ErrorContains(t, b.NotProgrammed()[all[23].Name], "nftables: table ip kpng: kernel refuses the Service: ")

	// Retries cost no rebuild, and changes of others go through.
	rebuilds := b.Stats().Tables[0].Rebuilds
	changed := append(slices.Clone(all[:3]), clusterIPService(3))
	changed[3].Ports[0].Pools = []localsink.Pool{newLocalPool("10.244.0.200:80")}
	changed = append(changed, all[4:]...)
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), changed...)))
	require.Equal(t, rebuilds, b.Stats().Tables[0].Rebuilds)
	require.Contains(t, listTable(t, ns, "ip", "kpng").sets["endpoints-service-pool1-max8"], "[10.96.0.3 tcp 80] [10.244.0.200 80]")
	require.Len(t, b.Stats().Tables[0].Refused, 2)

	// One gets well, the other leaves.
	refuse("10.96.0.23")
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), changed...)))
	require.Equal(t, []string{"svc-23"}, refused())
	require.Equal(t, 39, served())
	without := slices.Delete(slices.Clone(changed), 23, 24)
	require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), changed, without)))
	require.Equal(t, 39, served())
	require.Empty(t, b.Stats().Tables[0].Refused)
	require.Empty(t, b.NotProgrammed())
	require.Equal(t, rebuilds, b.Stats().Tables[0].Rebuilds)

	// What two Services claim is served for one of them.
	twin := clusterIPService(5)
	twin.Name.Name = "twin"
	twin.Ports[0].Frontends = append(twin.Ports[0].Frontends, newFrontend(localsink.KindClusterIP, "10.96.0.222:80"))
	require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), without, append(slices.Clone(without), twin))))
	require.Len(t, b.NotProgrammed(), 1)
	require.ErrorContains(t, b.NotProgrammed()[twin.Name], "belongs to Service test/svc-05")
	require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), append(slices.Clone(without), twin), without)))
	require.Empty(t, b.NotProgrammed())

	// A kernel that refuses everything is not the fault of Services.
	k.fault = func(*nfnl.Batch, bool) error { return &nfnl.Error{Errno: syscall.EPERM} }
	require.ErrorIs(t, b.Sync(context.Background(), nextUpdate(testNode(), without, changed)), syscall.EPERM)
	require.Empty(t, b.Stats().Tables[0].Refused)
	k.clearFault()
	require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), without, changed)))
	require.Equal(t, 40, served())
}

// After an error, what the update listed is listed again: one family may have taken it,
// and is told that it is taken back.
func TestFailedUpdateCanBeReverted(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	k := injectFaults(b)
	before, after := clusterIPService(1), clusterIPService(1)
	after.Ports[0].Frontends[0].Addr = netip.MustParseAddrPort("10.96.0.99:80")
	after.Ports[0].Frontends = append(after.Ports[0].Frontends, newFrontend(localsink.KindClusterIP, "[fd00:96::1]:80"))
	d := sinktest.Driver{Sink: b, Node: testNode()}
	require.NoError(t, d.Sync(context.Background(), sinktest.NewState(before)))
	commits := 0
	k.fault = func(_ *nfnl.Batch, commit bool) error {
		if commits++; commits > 1 { // the second is IPv6
			return nfnl.ErrOverrun
		}
		return nil
	}
	require.ErrorIs(t, d.Sync(context.Background(), sinktest.NewState(after)), nfnl.ErrOverrun)
	k.clearFault()
	require.NoError(t, d.Sync(context.Background(), sinktest.NewState(before)))
	require.Equal(t, []string{`"10.96.0.1"`}, listTable(t, ns, "ip", "kpng").sets[setClusterIPs])
}

// Whatever others do to the tables is noticed, and the next Sync heals it.
func TestExternalChangesAreRepaired(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	all := serviceList{clusterIPService(1), clusterIPService(2)}
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), all...)))
	want := listTable(t, ns, "ip", "kpng")
	for i, command := range []string{
		"flush ruleset",
		"delete table ip kpng",
		"delete table ip6 kpng",
		"delete element ip kpng cluster-ips { 10.96.0.1 }",
		"delete element ip kpng service-ips { 10.96.0.1 . tcp . 80 }",
		"insert rule ip kpng services drop",
		"add chain ip6 kpng foreign",
	} {
		b.monitor.mu.Lock()
		b.monitor.lastRequest = time.Time{} // no pause
		b.monitor.mu.Unlock()
		_, err := ns.Command("nft", command)
		require.NoError(t, err)
		select {
		case <-b.ResyncRequested():
		case <-time.After(2 * time.Second):
			t.Fatalf("%q was not noticed", command)
		}
		require.NoError(t, b.Sync(context.Background(), &localsink.Update{Node: testNode(), All: all}))
		require.Equal(t, want, listTable(t, ns, "ip", "kpng"), command)
		require.NotContains(t, listTable(t, ns, "ip6", "kpng").rules, "foreign")
		require.EqualValues(t, i+2, b.Stats().Tables[0].Rebuilds)
	}
	// Other tables, and our own changes, are no damage.
	count := b.Stats().ExternalChanges
	_, err := ns.Command("nft", "add table ip other; add chain ip other kpng")
	require.NoError(t, err)
	more := append(slices.Clone(all), clusterIPService(3))
	require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), all, more)))
	// The listener hears in order: after this there is nothing else to come.
	_, err = ns.Command("nft", "add chain ip kpng foreign")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return b.Stats().ExternalChanges == count+1 }, 2*time.Second, time.Millisecond)
}

// Changes of the node reach the rules; what no rule contains rebuilds nothing.
func TestNodeChangeRebuildsOnlyWhenRulesDiffer(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	all := serviceList{clusterIPService(1)}
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), all...)))
	n := testNode()
	n.Name, n.IPs = "other", nil
	require.NoError(t, b.Sync(context.Background(), &localsink.Update{Node: n, NodeChanged: true, All: all}))
	require.EqualValues(t, 1, b.Stats().Tables[0].Rebuilds)
	n = testNode()
	n.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.77/32")}
	require.NoError(t, b.Sync(context.Background(), &localsink.Update{Node: n, NodeChanged: true, All: all}))
	require.EqualValues(t, 2, b.Stats().Tables[0].Rebuilds)
	require.Contains(t, strings.Join(listTable(t, ns, "ip", "kpng").rules[chainServices], " "), "192.0.2.77")
	require.NotContains(t, strings.Join(listTable(t, ns, "ip6", "kpng").rules[chainServices], " "), "fib")
}

// A set that is full is replaced by a larger one.
func TestFullSetGrowsByRebuild(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	small, large := manyServices(10, 3), manyServices(1500, 3)
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), small.serviceList...)))
	require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), small.serviceList, large.serviceList)))
	require.EqualValues(t, 2, b.Stats().Tables[0].Rebuilds)
	require.Equal(t, 1500, b.Stats().Tables[0].Services)
	require.Len(t, listTable(t, ns, "ip", "kpng").sets[mapServiceIPs], 1500)
}

// A Service of 5,000 endpoints, whose name is as long as names may be, with and without
// affinity: it loads, grows and shrinks, and its neighbour stays as it is.
func TestServiceWith5000Endpoints(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	d := sinktest.Driver{Sink: b, Node: testNode()}
	large := func(endpoints int, affinity time.Duration) *localsink.Service {
		pool := localsink.Pool{}
		for i := range endpoints {
			addr := netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)})
			pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: netip.AddrPortFrom(addr, 80)})
		}
		s := newService(strings.Repeat("n", 63), localsink.Port{Name: strings.Repeat("p", 63), Affinity: affinity, Pools: []localsink.Pool{pool},
			Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, "10.96.1.1:80")}})
		s.Name.Namespace = strings.Repeat("s", 63)
		return s
	}
	for _, affinity := range []time.Duration{0, time.Hour} {
		for _, n := range []int{5000, 5001, 4999} {
			require.NoError(t, d.Sync(t.Context(), sinktest.NewState(large(n, affinity), clusterIPService(2))))
			held := 0
			for name, elements := range listTable(t, ns, "ip", "kpng").sets {
				if strings.Contains(name, "endpoints-") {
					held += len(elements)
				}
			}
			require.Equal(t, n+1, held, "affinity %v", affinity)
			require.Empty(t, b.Stats().Tables[0].Problems)
		}
	}
}

func TestCleanupRemovesTables(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{Table: "mine"})
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), clusterIPService(1))))
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Sync(context.Background(), firstUpdate(testNode())), errClosed)
	_, err := ns.Command("nft", "list", "table", "ip", "mine")
	require.NoError(t, err, "the rules stay")
	for range 2 {
		ns.Do(func() error { return Cleanup("mine") })
		out, err := ns.Command("nft", "list", "ruleset")
		require.NoError(t, err)
		require.Empty(t, out)
	}
	ns.Do(func() error {
		if err := Cleanup("no good"); err == nil {
			return errors.New("a bad name was accepted")
		}
		return nil
	})
}

func TestCloseLeaksNoGoroutines(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	ns := netnstest.New(t)
	var b *Backend
	ns.Do(func() (err error) {
		b, err = New(Config{})
		return err
	})
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), clusterIPService(1))))
	require.NoError(t, b.Close())
	goleak.VerifyNone(t, ignore)
}

func TestCancelledSyncCanBeRetried(t *testing.T) {
	b := backendIn(t, netnstest.New(t), Config{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, b.Sync(ctx, firstUpdate(testNode(), clusterIPService(1))), context.Canceled)
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), clusterIPService(1))))
	require.Equal(t, 1, b.Stats().Tables[0].Services)
}
