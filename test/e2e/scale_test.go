// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/controlplane"
	"sigs.k8s.io/kpng/test/netns"
)

// scaleLimit is the maximum time for a proxy to apply all objects.
const scaleLimit = 20 * time.Minute

// writers is the number of clients that write concurrently.
const writers = 32

// A scale is the size of the measurement.
type scale struct {
	services, endpoints int // Services, and endpoints of each
	replacements        int // replacements of the only endpoint of a Service
	paced               int // endpoint changes at ten per second
	sequential          int // endpoint changes by one client without pauses
	parallel            int // endpoint changes by many clients
}

// TestScale measures each proxy with many Services. It runs only if KPNG_SCALE is set, to
// "SERVICESxENDPOINTS", or "1" for 10000x10. KPNG_SCALE_CHANGES is the number of endpoint
// changes at ten per second, default 500. With KPNG_SCALE_MODE=iptables both proxies run in that
// mode, with iptables-legacy, and with iptables-nft that is used, which needs hours at 10000x10. With
// KPNG_SCALE_MODE=agent only a node agent is measured, without the server that it is a client of.
func TestScale(t *testing.T) {
	size := os.Getenv("KPNG_SCALE")
	if size == "" {
		t.Skip("measures for minutes: set KPNG_SCALE=10000x10")
	}
	s := scale{services: 10000, endpoints: 10, replacements: 50, paced: 500, sequential: 2000, parallel: 4000}
	if size != "1" {
		_, err := fmt.Sscanf(size, "%dx%d", &s.services, &s.endpoints)
		require.NoError(t, err, "KPNG_SCALE")
	}
	if changes := os.Getenv("KPNG_SCALE_CHANGES"); changes != "" {
		_, err := fmt.Sscan(changes, &s.paced)
		require.NoError(t, err, "KPNG_SCALE_CHANGES")
	}
	s.parallel = min(s.parallel, 2*s.services)
	require.LessOrEqual(t, s.services*s.endpoints, 1<<18, "too many endpoints for half of %s", cluster.ManyCIDR4)
	fx := newFixture(t)
	begin := time.Now()
	s.load(t, fx)
	t.Logf("%d Services with %d endpoints each written in %v", s.services, s.endpoints, time.Since(begin).Round(time.Millisecond))
	var measured []figures
	for _, p := range scaleProxies(t, fx) {
		t.Run(p.name, func(t *testing.T) {
			measured = append(measured, s.measure(t, fx, p))
			t.Logf("results of the proxies measured so far\n%s", show(measured))
		})
	}
	t.Logf("%d Services x %d endpoints, %d changes\n%s", s.services, s.endpoints, s.paced, show(measured))
}

// scaleProxies returns the proxies to measure, this project's first.
func scaleProxies(t *testing.T, fx *fixture) []*proxyUnderTest {
	t.Helper()
	all := proxies()
	switch mode := os.Getenv("KPNG_SCALE_MODE"); mode {
	case "", "nftables":
		return all[:2]
	case "iptables", "iptables-nft":
		ours, theirs := all[3], all[2]
		ours.legacyIPTables, theirs.legacyIPTables = mode == "iptables", mode == "iptables"
		return []*proxyUnderTest{ours, theirs}
	case "agent":
		return []*proxyUnderTest{newAgent(t, fx)}
	default:
		t.Fatalf("KPNG_SCALE_MODE: %q is not nftables, iptables, iptables-nft or agent", mode)
		return nil
	}
}

// clusterIP returns the address of Service i.
func clusterIP(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 100 + byte(i>>16), byte(i >> 8), byte(i)}), 80)
}

// endpointAddr returns one of the two addresses that endpoint i can have: from the first
// half of the network, or from the second.
func endpointAddr(i int, second bool) string {
	high := byte(200 + i>>16)
	if second {
		high += 4
	}
	return netip.AddrFrom4([4]byte{10, high, byte(i >> 8), byte(i)}).String()
}

// slice returns the EndpointSlice of Service i. With second, its first endpoint has the
// second of its two addresses.
func (s scale) slice(i, endpoints int, second bool) *discoveryv1.EndpointSlice {
	name, number, proto, node := "web", int32(cluster.ServerPort+2), corev1.ProtocolTCP, cluster.RemoteName
	o := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: fmt.Sprintf("s%d", i), Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("s%d", i)}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &number, Protocol: &proto}},
	}
	for j := range endpoints {
		yes := true
		o.Endpoints = append(o.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{endpointAddr(i*s.endpoints+j, second && j == 0)}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes},
		})
	}
	return o
}

// load creates all objects, and one more Service with a single endpoint. The API server creates the
// first Service, whose copies are stored without it.
func (s scale) load(t *testing.T, fx *fixture) {
	first, firstAddress := s.createFirst(t, fx)
	store := fx.control.OpenStore()
	defer store.Close()
	s.write(t, s.services+1, func(ctx context.Context, i int) error {
		if i > 0 {
			service, address := first.DeepCopy(), firstAddress.DeepCopy()
			address.Name = clusterIP(i).Addr().String()
			service.Name, service.Spec.ClusterIP, service.Spec.ClusterIPs = fmt.Sprintf("s%d", i), address.Name, []string{address.Name}
			address.Spec.ParentRef.Name = service.Name
			for _, o := range []metav1.Object{service, address} {
				o.SetUID(uuid.NewUUID())
				o.SetResourceVersion("")
				o.SetCreationTimestamp(metav1.Now())
			}
			if err := store.Put(ctx, address, service); err != nil {
				return err
			}
		}
		endpoints := s.endpoints
		if i == s.services {
			endpoints = 1
		}
		_, err := fx.client.DiscoveryV1().EndpointSlices(namespace).Create(ctx, s.slice(i, endpoints, false), metav1.CreateOptions{})
		return err
	})
}

// createFirst creates Service 0, and returns it and its address.
func (s scale) createFirst(t *testing.T, fx *fixture) (*corev1.Service, *networkingv1.IPAddress) {
	policy := corev1.IPFamilyPolicySingleStack
	service, err := fx.client.CoreV1().Services(namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "s0"},
		Spec: corev1.ServiceSpec{
			ClusterIP: clusterIP(0).Addr().String(), IPFamilyPolicy: &policy,
			Ports: []corev1.ServicePort{{Name: "web", Port: 80}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	address, err := fx.client.NetworkingV1().IPAddresses().Get(t.Context(), service.Spec.ClusterIP, metav1.GetOptions{})
	require.NoError(t, err)
	return service, address
}

// write calls one for the numbers below n, from many goroutines.
func (s scale) write(t *testing.T, n int, one func(ctx context.Context, i int) error) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	next := make(chan int)
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for i := range next {
				if err := one(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
	require.NoError(t, context.Cause(ctx))
}

// figures are the measurements of one proxy.
type figures struct {
	name                        string
	start, syncs                time.Duration
	startCPU                    time.Duration
	watchStart, watchStartCPU   time.Duration // of a client that only watches, until all lists are received
	memory, peak                int64         // bytes
	toPacket50, toPacket90      time.Duration // API write to packet at the new endpoint
	toPacketMax                 time.Duration
	toRules50, toRules99        time.Duration // packet from the API server to new rules
	internal50, internal99      time.Duration // the proxy's own metric
	paced, sequential, parallel cost
	settled                     time.Duration
}

// A cost is the CPU time per change, of the proxy and of a client that only watches.
type cost struct{ proxy, watch time.Duration }

func (s scale) measure(t *testing.T, fx *fixture, p *proxyUnderTest) figures {
	f := figures{name: p.name}
	s.measureStart(t, fx, p, &f)
	pause(2 * time.Second) // garbage is collected after the start
	f.startCPU = cpu(t, p.process)
	syncs := "kubeproxy_sync_proxy_rules_duration_seconds_sum"
	if p.pkg == controlplane.KPNGProxyPackage {
		syncs += `{ip_family="IPv4"}` // a sync is of both families, and each has its duration
	}
	if seconds, err := fx.metric(t.Context(), syncs); err == nil {
		f.syncs = time.Duration(seconds * float64(time.Second))
	}
	s.measureToPacket(t, fx, p, &f)
	if p.mode == "nftables" { // the kernel notifies of changes in nf_tables only
		s.measureToRules(t, fx, p, &f)
	}
	watchOnly := s.startWatchOnly(t, fx, &f)
	f.paced = s.cost(t, p.process, watchOnly, s.paced, func() { s.changePaced(t, fx, &f) })
	f.sequential = s.cost(t, p.process, watchOnly, s.sequential, func() { s.changeSequentially(t, fx) })
	f.parallel = s.cost(t, p.process, watchOnly, s.parallel, func() { s.changeInParallel(t, fx) })
	require.NoError(t, watchOnly.Kill())
	if p.pkg == controlplane.KPNGProxyPackage {
		f.internal50, f.internal99 = fx.quantiles(t, "kpng_reaction_duration_seconds")
	}
	var err error
	f.memory, f.peak, err = p.process.Memory()
	require.NoError(t, err)
	p.clean(t, fx)
	return f
}

// measureStart starts a proxy, and measures until random cluster IPs answer.
func (s scale) measureStart(t *testing.T, fx *fixture, p *proxyUnderTest, f *figures) {
	p.build(t, fx)
	begin := time.Now()
	p.start(t, fx)
	for range 50 {
		to := clusterIP(rand.IntN(s.services))
		for {
			a := fx.Places["pod3"].Probe(t.Context(), "tcp", to, 50*time.Millisecond)
			if strings.HasPrefix(a.Server, "10.20") {
				break
			}
			p.alive(t)
			require.Less(t, time.Since(begin), scaleLimit, a.Server)
			pause(5 * time.Millisecond)
		}
	}
	f.start = time.Since(begin)
	fx.barrier(t, scaleLimit)
}

// startWatchOnly starts a client that only watches. The end of the test kills it.
func (s scale) startWatchOnly(t *testing.T, fx *fixture, f *figures) *netns.Process {
	paths, err := fx.binaries.Build(t.Context(), controlplane.WatchOnlyPackage)
	require.NoError(t, err)
	begin := time.Now()
	process, err := fx.Node.Namespace.Run(netns.Program{Name: "watch-only-" + f.name, Path: paths[0], Args: []string{fx.kubeconfig}, Dir: fx.dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, process.Kill()) })
	for !strings.Contains(process.Tail(100), "all lists received") {
		require.NoError(t, process.Exited())
		require.Less(t, time.Since(begin), scaleLimit)
		pause(5 * time.Millisecond)
	}
	f.watchStart, f.watchStartCPU = time.Since(begin), cpu(t, process)
	return process
}

// cost measures the CPU time per change while fn makes n changes and waits for their effect.
func (s scale) cost(t *testing.T, proxy, watch *netns.Process, n int, fn func()) cost {
	t.Helper()
	before := cost{cpu(t, proxy), cpu(t, watch)}
	fn()
	require.NoError(t, watch.Exited())
	per := func(d time.Duration) time.Duration { return d / time.Duration(max(1, n)) }
	return cost{per(cpu(t, proxy) - before.proxy), per(cpu(t, watch) - before.watch)}
}

func cpu(t *testing.T, p *netns.Process) time.Duration {
	t.Helper()
	used, err := p.CPU()
	require.NoError(t, err)
	return used
}

// measureToPacket replaces the only endpoint of a Service, and measures from before the
// write to the API until a connection reaches the new endpoint.
func (s scale) measureToPacket(t *testing.T, fx *fixture, p *proxyUnderTest, f *figures) {
	var took []time.Duration
	for n := range s.replacements {
		pause(time.Duration(rand.IntN(500)) * time.Millisecond)
		o := s.slice(s.services, 1, n%2 == 0)
		want := o.Endpoints[0].Addresses[0] + ":"
		begin := time.Now()
		fx.writeSlice(t, o, true)
		for {
			a := fx.Places["pod3"].Probe(t.Context(), "tcp", clusterIP(s.services), 50*time.Millisecond)
			if strings.HasPrefix(a.Server, want) {
				break
			}
			require.Less(t, time.Since(begin), scaleLimit, a.Server)
			pause(time.Millisecond)
		}
		took = append(took, time.Since(begin))
	}
	p.alive(t)
	slices.Sort(took)
	f.toPacket50, f.toPacket90, f.toPacketMax = took[len(took)/2], took[len(took)*9/10], took[len(took)-1]
}

// measureToRules changes one endpoint of one Service after another, and measures from the
// packet with the change until the kernel has new rules. A proxy with a minimum interval
// between syncs is measured with fewer changes.
func (s scale) measureToRules(t *testing.T, fx *fixture, p *proxyUnderTest, f *figures) {
	watch := startStopwatch(t, fx)
	n := 300
	if p.pkg != controlplane.KPNGProxyPackage {
		n = 30
	}
	chosen := rand.Perm(s.services)
	var took []time.Duration
	for i := range n {
		pause(time.Duration(50+rand.IntN(100)) * time.Millisecond)
		took = append(took, watch.time(t, time.Minute, func() {
			fx.writeSlice(t, s.slice(chosen[i/2], s.endpoints, i%2 == 0), true)
		}))
	}
	p.alive(t)
	slices.Sort(took)
	f.toRules50, f.toRules99 = took[len(took)/2], took[(len(took)*99-1)/100]
}

// changePaced changes one endpoint of one Service after another, ten per second, and
// measures how long after the last write all changes are applied.
func (s scale) changePaced(t *testing.T, fx *fixture, f *figures) {
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	chosen := rand.Perm(s.services)
	for n := range s.paced {
		<-ticks.C
		fx.writeSlice(t, s.slice(chosen[n/2%s.services], s.endpoints, n%2 == 0), true)
	}
	begin := time.Now()
	fx.barrier(t, scaleLimit)
	f.settled = time.Since(begin)
}

// changeSequentially makes the same changes as fast as one client can write.
func (s scale) changeSequentially(t *testing.T, fx *fixture) {
	chosen := rand.Perm(s.services)
	for n := range s.sequential {
		fx.writeSlice(t, s.slice(chosen[n/2%s.services], s.endpoints, n%2 == 0), true)
	}
	fx.barrier(t, scaleLimit)
}

// changeInParallel changes an endpoint of many Services, and changes it back, as fast as
// many clients can write.
func (s scale) changeInParallel(t *testing.T, fx *fixture) {
	chosen := rand.Perm(s.services)
	for _, second := range []bool{true, false} {
		s.write(t, s.parallel/2, func(ctx context.Context, n int) error {
			_, err := fx.client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, s.slice(chosen[n], s.endpoints, second), metav1.UpdateOptions{})
			return err
		})
	}
	fx.barrier(t, scaleLimit)
}

// show returns the measurements as a table. The last column is the ratio of the second
// proxy to the first.
func show(all []figures) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(label string, value func(figures) float64, format string) {
		fmt.Fprintf(table, "%s\t", label)
		for _, f := range all {
			fmt.Fprintf(table, format+"\t", value(f))
		}
		if len(all) == 2 && value(all[0]) > 0 {
			fmt.Fprintf(table, "%.1f x\t", value(all[1])/value(all[0]))
		}
		fmt.Fprintln(table)
	}
	fmt.Fprint(table, "\t")
	for _, f := range all {
		fmt.Fprintf(table, "%s\t", f.name)
	}
	fmt.Fprintln(table, "ratio\t")
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	row("start until 50 random cluster IPs answer, ms", func(f figures) float64 { return ms(f.start) }, "%.0f")
	row("of this in syncs, by its own metric, ms", func(f figures) float64 { return ms(f.syncs) }, "%.0f")
	row("the same of a client that only watches, until all lists are received, ms", func(f figures) float64 { return ms(f.watchStart) }, "%.0f")
	row("CPU time of the start, ms", func(f figures) float64 { return ms(f.startCPU) }, "%.0f")
	row("the same of a client that only watches, ms", func(f figures) float64 { return ms(f.watchStartCPU) }, "%.0f")
	row("API write to packet, median, ms", func(f figures) float64 { return ms(f.toPacket50) }, "%.1f")
	row("API write to packet, 90 %, ms", func(f figures) float64 { return ms(f.toPacket90) }, "%.1f")
	row("API write to packet, maximum, ms", func(f figures) float64 { return ms(f.toPacketMax) }, "%.1f")
	row("packet from the API server to rules in the kernel, median, ms", func(f figures) float64 { return ms(f.toRules50) }, "%.2f")
	row("the same, 99 %, ms", func(f figures) float64 { return ms(f.toRules99) }, "%.2f")
	row("object stored to rules applied, by its own metric, median, ms", func(f figures) float64 { return ms(f.internal50) }, "%.2f")
	row("the same, 99 %, ms", func(f figures) float64 { return ms(f.internal99) }, "%.2f")
	costs := func(pattern string, value func(figures) cost) {
		row("CPU time per endpoint change, "+pattern+", ms", func(f figures) float64 { return ms(value(f).proxy) }, "%.2f")
		row("the same of a client that only watches, ms", func(f figures) float64 { return ms(value(f).watch) }, "%.2f")
	}
	costs("ten per second", func(f figures) cost { return f.paced })
	costs("one after another", func(f figures) cost { return f.sequential })
	costs(fmt.Sprint("from ", writers, " concurrent clients"), func(f figures) cost { return f.parallel })
	row("last change to all changes applied, ms", func(f figures) float64 { return ms(f.settled) }, "%.0f")
	row("resident memory, MB", func(f figures) float64 { return float64(f.memory) / 1e6 }, "%.0f")
	row("peak resident memory, MB", func(f figures) float64 { return float64(f.peak) / 1e6 }, "%.0f")
	table.Flush()
	return text.String()
}
