// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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

// backendIn returns a backend in a network namespace.
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

// After a random sequence of changes, the kernel holds the same as after a load of the last
// state.
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

// A faultyKernel returns the errors that a test injects.
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

// injectFaults replaces the transport of each table of b.
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

func TestRefusedServicesAreSkipped(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	k := injectFaults(b)
	var all serviceList
	for i := range 40 {
		all = append(all, clusterIPService(i))
	}
	refuse := func(addrs ...string) {
		k.fault = func(batch *nfnl.Batch, _ bool) error {
			for _, addr := range addrs {
				if batch.Contains(netip.MustParseAddr(addr).AsSlice()) {
					return &nfnl.Error{Errno: syscall.EINVAL, Detail: "for the test", Message: 9}
				}
			}
			return nil
		}
	}
	programmed := func() int { return len(listTable(t, ns, "ip", "kpng").sets[mapServiceIPs]) }

	refuse("10.96.0.7", "10.96.0.23")
	refused := func() (names []string) {
		for _, n := range b.Stats().Tables[0].Refused {
			names = append(names, n.Name)
		}
		return names
	}
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), all...)), "the others are programmed")
	require.Equal(t, []string{"svc-07", "svc-23"}, refused())
	require.Contains(t, b.Stats().Tables[0].LastError, "not programmed in table ip kpng: ")
	require.Contains(t, b.Stats().Tables[0].LastError, "for the test")
	require.Equal(t, 38, programmed())
	require.Len(t, b.NotProgrammed(), 2, "OP-14: refused Services are reported")
	require.ErrorIs(t, b.NotProgrammed()[all[7].Name], syscall.EINVAL)
	require.ErrorContains(t, b.NotProgrammed()[all[23].Name], "nftables: table ip kpng: kernel refuses the Service: ")

	// Retries cause no rebuild and do not prevent changes of other Services.
	rebuilds := b.Stats().Tables[0].Rebuilds
	changed := append(slices.Clone(all[:3]), clusterIPService(3))
	changed[3].Ports[0].Pools = []localsink.Pool{newLocalPool("10.244.0.200:80")}
	changed = append(changed, all[4:]...)
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), changed...)))
	require.Equal(t, rebuilds, b.Stats().Tables[0].Rebuilds)
	require.Contains(t, listTable(t, ns, "ip", "kpng").sets["endpoints-service-pool1-max8"], "[10.96.0.3 tcp 80] [10.244.0.200 80]")
	require.Len(t, b.Stats().Tables[0].Refused, 2)

	// The kernel accepts one of them again; the other is removed.
	refuse("10.96.0.23")
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), changed...)))
	require.Equal(t, []string{"svc-23"}, refused())
	require.Equal(t, 39, programmed())
	without := slices.Delete(slices.Clone(changed), 23, 24)
	require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), changed, without)))
	require.Equal(t, 39, programmed())
	require.Empty(t, b.Stats().Tables[0].Refused)
	require.Empty(t, b.NotProgrammed())
	require.Equal(t, rebuilds, b.Stats().Tables[0].Rebuilds)

	// A frontend of two Services is programmed for one of them.
	duplicate := clusterIPService(5)
	duplicate.Name.Name = "duplicate"
	duplicate.Ports[0].Frontends = append(duplicate.Ports[0].Frontends, newFrontend(localsink.KindClusterIP, "10.96.0.222:80"))
	require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), without, append(slices.Clone(without), duplicate))))
	require.Len(t, b.NotProgrammed(), 1)
	require.ErrorContains(t, b.NotProgrammed()[duplicate.Name], "belongs to Service test/svc-05")
	require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), append(slices.Clone(without), duplicate), without)))
	require.Empty(t, b.NotProgrammed())

	// If the kernel refuses everything, no Service is reported.
	k.fault = func(*nfnl.Batch, bool) error { return &nfnl.Error{Errno: syscall.EPERM} }
	require.ErrorIs(t, b.Sync(context.Background(), nextUpdate(testNode(), without, changed)), syscall.EPERM)
	require.Empty(t, b.Stats().Tables[0].Refused)
	k.clearFault()
	require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), without, changed)))
	require.Equal(t, 40, programmed())
}

// After an error, the next update lists the same Services again, because the table of one family
// may have changed.
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
		"add element ip kpng service-ips { 10.96.0.7 . tcp . 80 : goto drop-chain }",
		"flush map ip kpng service-ips",
		"flush set ip kpng cluster-ips",
		"insert rule ip kpng services drop",
		"flush chain ip kpng services",
		"flush table ip kpng",
		"flush chain ip kpng nat-prerouting; delete chain ip kpng nat-prerouting",
		"add chain ip6 kpng foreign",
		"add table inet other; add chain ip kpng foreign",
	} {
		_, err := ns.Command("nft", command)
		require.NoError(t, err)
		select {
		case <-b.ResyncRequested():
		case <-time.After(2 * time.Second):
			t.Fatalf("%q: no resync requested", command)
		}
		require.False(t, b.DriftedSince().IsZero(), command)
		require.NoError(t, b.Sync(context.Background(), &localsink.Update{Node: testNode(), All: all}))
		require.True(t, b.DriftedSince().IsZero(), command)
		require.Equal(t, want, listTable(t, ns, "ip", "kpng"), command)
		require.NotContains(t, listTable(t, ns, "ip6", "kpng").rules, "foreign")
		require.EqualValues(t, i+2, b.Stats().Tables[0].Rebuilds)
	}
	// Changes of other tables, and by the backend itself, are ignored.
	count := b.Stats().ExternalChanges
	_, err := ns.Command("nft", "add table ip other; add chain ip other kpng; add table inet kpng; add chain inet kpng c")
	require.NoError(t, err)
	more := append(slices.Clone(all), clusterIPService(3))
	require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), all, more)))
	// Notifications arrive in order, so this one is the last.
	_, err = ns.Command("nft", "add chain ip kpng foreign")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return b.Stats().ExternalChanges == count+1 }, 2*time.Second, time.Millisecond)
}

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

// The names of the Service and its port have the maximum length. Another Service stays as it is.
func TestServiceWith5000Endpoints(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	d := sinktest.Driver{Sink: b, Node: testNode()}
	large := func(endpoints int, affinity time.Duration) *localsink.Service {
		pool := localsink.Pool{}
		for i := range endpoints {
			addr := netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)})
			pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: netip.AddrPortFrom(addr, 80), Weight: 1})
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
			return errors.New("an invalid name was accepted")
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
