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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/controlplane"
	"sigs.k8s.io/kpng/test/netns"
)

// scaleLimit is how long a proxy may take for all objects.
const scaleLimit = 20 * time.Minute

// writers is how many clients write at the same time where one is not enough.
const writers = 32

// A scale is the size of the measurement.
type scale struct{ services, endpoints, changes, flips, burst, rush int }

// TestScale measures each proxy with many Services. It runs when KPNG_SCALE says
// how many: "SERVICESxENDPOINTS", or "1" for 10000x10. KPNG_SCALE_CHANGES is the
// number of endpoint changes, 500 unless said.
func TestScale(t *testing.T) {
	size := os.Getenv("KPNG_SCALE")
	if size == "" {
		t.Skip("measures for minutes: set KPNG_SCALE=10000x10")
	}
	s := scale{services: 10000, endpoints: 10, changes: 500, flips: 50, burst: 2000, rush: 4000}
	if size != "1" {
		_, err := fmt.Sscanf(size, "%dx%d", &s.services, &s.endpoints)
		require.NoError(t, err, "KPNG_SCALE")
	}
	if changes := os.Getenv("KPNG_SCALE_CHANGES"); changes != "" {
		_, err := fmt.Sscan(changes, &s.changes)
		require.NoError(t, err, "KPNG_SCALE_CHANGES")
	}
	s.rush = min(s.rush, 2*s.services)
	require.LessOrEqual(t, s.services*s.endpoints, 1<<17, "the endpoints have addresses in half of %s", cluster.ManyCIDR4)
	w := newWorld(t)
	begin := time.Now()
	s.load(t, w)
	t.Logf("%d Services with %d endpoints each written in %v", s.services, s.endpoints, time.Since(begin).Round(time.Millisecond))
	var measured []figures
	for _, p := range proxies()[:2] { // the iptables mode would take an hour
		t.Run(p.name, func(t *testing.T) {
			measured = append(measured, s.measure(t, w, p))
			t.Logf("so far\n%s", show(measured))
		})
	}
	t.Logf("%d Services x %d endpoints, %d changes\n%s", s.services, s.endpoints, s.changes, show(measured))
}

// vip is the address of Service i.
func vip(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 100 + byte(i>>16), byte(i >> 8), byte(i)}), 80)
}

// endpointAddr is the address of an endpoint; those in the second half of the
// network are what endpoints change to.
func endpointAddr(i int, second bool) string {
	high := byte(200 + i>>16)
	if second {
		high += 2
	}
	return netip.AddrFrom4([4]byte{10, high, byte(i >> 8), byte(i)}).String()
}

// slice describes the slice of Service i. The address of its first endpoint may
// be the second of the two it can have.
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

// load writes all objects, and one more Service with a single endpoint.
func (s scale) load(t *testing.T, w *world) {
	s.write(t, w, s.services+1, func(ctx context.Context, i int) error {
		policy := corev1.IPFamilyPolicySingleStack
		_, err := w.client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s%d", i)},
			Spec: corev1.ServiceSpec{
				ClusterIP: vip(i).Addr().String(), IPFamilyPolicy: &policy,
				Ports: []corev1.ServicePort{{Name: "web", Port: 80}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		endpoints := s.endpoints
		if i == s.services {
			endpoints = 1
		}
		_, err = w.client.DiscoveryV1().EndpointSlices(namespace).Create(ctx, s.slice(i, endpoints, false), metav1.CreateOptions{})
		return err
	})
}

// write has many clients write the objects from 0 to n.
func (s scale) write(t *testing.T, w *world, n int, one func(ctx context.Context, i int) error) {
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

// figures are what was measured of one proxy.
type figures struct {
	name                 string
	start, syncs         time.Duration
	startCPU             time.Duration
	memory, peak         int64
	flip50, flip90, most time.Duration
	react50, react99     time.Duration
	inside50, inside99   time.Duration
	churn, hurry, rush   cost
	settled              time.Duration
}

// A cost is the processor time of a change: the proxy's, and that of a client which only
// watches, beside it.
type cost struct{ proxy, watch time.Duration }

func (s scale) measure(t *testing.T, w *world, p *proxyUnderTest) figures {
	f := figures{name: p.name}
	p.build(t, w)
	begin := time.Now()
	p.start(t, w)
	for range 50 {
		to := vip(rand.IntN(s.services))
		for {
			a := w.Places["pod3"].Probe(t.Context(), "tcp", to, 50*time.Millisecond)
			if strings.HasPrefix(a.Server, "10.20") {
				break
			}
			p.alive(t)
			require.Less(t, time.Since(begin), scaleLimit, a.Server)
			pause(5 * time.Millisecond)
		}
	}
	f.start = time.Since(begin)
	w.barrier(t, scaleLimit)
	f.startCPU = cpu(t, p.process)
	if seconds, err := w.metric(t.Context(), "kubeproxy_sync_proxy_rules_duration_seconds_sum"); err == nil {
		f.syncs = time.Duration(seconds * float64(time.Second))
	}
	s.flip(t, w, p, &f)
	s.react(t, w, p, &f)
	bystander := s.watchOnly(t, w)
	f.churn = s.cost(t, p.process, bystander, s.changes, func() { s.churn(t, w, &f) })
	f.hurry = s.cost(t, p.process, bystander, s.burst, func() { s.hurry(t, w) })
	f.rush = s.cost(t, p.process, bystander, s.rush, func() { s.rushed(t, w) })
	require.NoError(t, bystander.Kill())
	if p.pkg == controlplane.OurProxyPackage {
		f.inside50, f.inside99 = w.quantiles(t, "kpng_reaction_duration_seconds")
	}
	var err error
	f.memory, f.peak, err = p.process.Memory()
	require.NoError(t, err)
	p.clean(t, w)
	return f
}

// watchOnly starts a client that does nothing but watch. It ends with the test.
func (s scale) watchOnly(t *testing.T, w *world) *netns.Process {
	paths, err := w.binaries.Build(t.Context(), controlplane.WatchOnlyPackage)
	require.NoError(t, err)
	process, err := w.Node.Namespace.Run(netns.Program{Name: "watch-only", Path: paths[0], Args: []string{w.kubeconfig}, Dir: w.dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, process.Kill()) })
	begin := time.Now()
	for !strings.Contains(process.Tail(100), "received everything") {
		require.NoError(t, process.Exited())
		require.Less(t, time.Since(begin), scaleLimit)
		pause(100 * time.Millisecond)
	}
	return process
}

// cost measures what each of n changes costs that fn makes and waits for.
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

// flip replaces the only endpoint of a Service, and measures from before the
// write until a connection reaches the new one.
func (s scale) flip(t *testing.T, w *world, p *proxyUnderTest, f *figures) {
	var took []time.Duration
	for n := range s.flips {
		pause(time.Duration(rand.IntN(500)) * time.Millisecond)
		o := s.slice(s.services, 1, n%2 == 0)
		want := o.Endpoints[0].Addresses[0] + ":"
		begin := time.Now()
		w.writeSlice(t, o, true)
		for {
			a := w.Places["pod3"].Probe(t.Context(), "tcp", vip(s.services), 50*time.Millisecond)
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
	f.flip50, f.flip90, f.most = took[len(took)/2], took[len(took)*9/10], took[len(took)-1]
}

// react changes one endpoint of one Service after another, and measures from the packet
// that tells the node of it until the kernel has the rules. A proxy that waits between
// two syncs is spared most of it.
func (s scale) react(t *testing.T, w *world, p *proxyUnderTest, f *figures) {
	watch := startStopwatch(t, w)
	n := 300
	if p.pkg != controlplane.OurProxyPackage {
		n = 30
	}
	chosen := rand.Perm(s.services)
	var took []time.Duration
	for i := range n {
		pause(time.Duration(50+rand.IntN(100)) * time.Millisecond)
		took = append(took, watch.time(t, time.Minute, func() {
			w.writeSlice(t, s.slice(chosen[i/2], s.endpoints, i%2 == 0), true)
		}))
	}
	p.alive(t)
	slices.Sort(took)
	f.react50, f.react99 = took[len(took)/2], took[(len(took)*99-1)/100]
}

// churn changes one endpoint of one Service after another, ten a second, and measures
// when the last one is in force.
func (s scale) churn(t *testing.T, w *world, f *figures) {
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	chosen := rand.Perm(s.services)
	for n := range s.changes {
		<-ticks.C
		w.writeSlice(t, s.slice(chosen[n/2%s.services], s.endpoints, n%2 == 0), true)
	}
	begin := time.Now()
	w.barrier(t, scaleLimit)
	f.settled = time.Since(begin)
}

// hurry is churn as fast as one client can write.
func (s scale) hurry(t *testing.T, w *world) {
	chosen := rand.Perm(s.services)
	for n := range s.burst {
		w.writeSlice(t, s.slice(chosen[n/2%s.services], s.endpoints, n%2 == 0), true)
	}
	w.barrier(t, scaleLimit)
}

// rushed changes an endpoint of many Services, and changes it back, as fast as many
// clients can write.
func (s scale) rushed(t *testing.T, w *world) {
	chosen := rand.Perm(s.services)
	for _, second := range []bool{true, false} {
		s.write(t, w, s.rush/2, func(ctx context.Context, n int) error {
			_, err := w.client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, s.slice(chosen[n], s.endpoints, second), metav1.UpdateOptions{})
			return err
		})
	}
	w.barrier(t, scaleLimit)
}

// show compares the proxies: the last column is how many times more the second
// one takes.
func show(all []figures) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(what string, value func(figures) float64, format string) {
		fmt.Fprintf(table, "%s\t", what)
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
	row("start until 50 random VIPs answer, ms", func(f figures) float64 { return ms(f.start) }, "%.0f")
	row("of it in syncs, by its own metric, ms", func(f figures) float64 { return ms(f.syncs) }, "%.0f")
	row("processor time of the start, ms", func(f figures) float64 { return ms(f.startCPU) }, "%.0f")
	row("API write to packet, median, ms", func(f figures) float64 { return ms(f.flip50) }, "%.1f")
	row("API write to packet, 90 %, ms", func(f figures) float64 { return ms(f.flip90) }, "%.1f")
	row("API write to packet, most, ms", func(f figures) float64 { return ms(f.most) }, "%.1f")
	row("packet from the API server to rules in the kernel, median, ms", func(f figures) float64 { return ms(f.react50) }, "%.2f")
	row("the same, 99 %, ms", func(f figures) float64 { return ms(f.react99) }, "%.2f")
	row("fact stored to rules accepted, by its own metric, median, ms", func(f figures) float64 { return ms(f.inside50) }, "%.2f")
	row("the same, 99 %, ms", func(f figures) float64 { return ms(f.inside99) }, "%.2f")
	costs := func(how string, value func(figures) cost) {
		row("processor time per endpoint change, "+how+", ms", func(f figures) float64 { return ms(value(f).proxy) }, "%.2f")
		row("the same of a client that only watches, ms", func(f figures) float64 { return ms(value(f).watch) }, "%.2f")
	}
	costs("ten a second", func(f figures) cost { return f.churn })
	costs("one after another", func(f figures) cost { return f.hurry })
	costs(fmt.Sprint("from ", writers, " clients at once"), func(f figures) cost { return f.rush })
	row("last of the changes in force after, ms", func(f figures) float64 { return ms(f.settled) }, "%.0f")
	row("resident memory, MB", func(f figures) float64 { return float64(f.memory) / 1e6 }, "%.0f")
	row("highest resident memory, MB", func(f figures) float64 { return float64(f.peak) / 1e6 }, "%.0f")
	table.Flush()
	return text.String()
}
