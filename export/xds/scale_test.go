// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sigs.k8s.io/kpng/export/xds"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

const scaleServices, scaleEndpoints = 10_000, 10

func scaleService(i int, ports ...watchers.EndpointPort) (*watchers.Service, *watchers.EndpointSlice) {
	ip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
	name := watchers.ServiceName{Namespace: "default", Name: fmt.Sprintf("s%d", i)}
	if len(ports) == 0 {
		ports = []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 8080}}
	}
	return &watchers.Service{
			Name: name, ClusterIP: ip, ClusterIPs: []netip.Addr{ip}, IPFamilies: []watchers.IPFamily{watchers.FamilyIPv4},
			Ports: []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80}},
		}, &watchers.EndpointSlice{
			Namespace: "default", Name: name.Name, Service: name, Family: watchers.FamilyIPv4, Ports: ports,
		}
}

// scaleStore returns a store with 10,000 Services with 10 endpoints each.
func scaleStore() *watchers.Store {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) {
		for i := range scaleServices {
			svc, slice := scaleService(i)
			for j := range scaleEndpoints {
				n := i*scaleEndpoints + j
				slice.Endpoints = append(slice.Endpoints, watchers.Endpoint{
					Addr: netip.AddrFrom4([4]byte{10, byte(128 + n>>16), byte(n >> 8), byte(n)}), Ready: true, Serving: true,
				})
			}
			tx.SetService(svc)
			tx.SetEndpointSlice(slice)
		}
		tx.SetSynced()
	})
	return store
}

// follow keeps a sink up to date with a store until the test ends.
func follow(t testing.TB, store *watchers.Store, sink localsink.Sink) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- nodelocal.Follow(ctx, store, sink, nodelocal.Config{NodeName: "node-1"}) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
}

// BenchmarkChangeReachesCall measures the time from a write of an EndpointSlice to the store until a call of
// a grpc-go client is served by the new endpoint, in a cluster with 10,000 Services of 10 endpoints.
func BenchmarkChangeReachesCall(b *testing.B) {
	store := scaleStore()
	f := newFixture(b, xds.Config{})
	host := hostAddress(b)
	first, _ := newBackendAt(b, host)
	second, _ := newBackendAt(b, host)
	backends := []*backend{first, second}
	write := func(x *backend) {
		svc, slice := scaleService(0, watchers.EndpointPort{Protocol: localsink.ProtocolTCP, Port: x.addr.Port()})
		slice.Endpoints = []watchers.Endpoint{{Addr: x.addr.Addr(), Ready: true, Serving: true}}
		store.Update(func(tx *watchers.Tx) {
			tx.SetService(svc)
			tx.SetEndpointSlice(slice)
		})
	}
	write(backends[0])
	follow(b, store, f.sink)
	c := f.dial(nameOf("s0"))
	require.Equal(b, backends[0].addr.String(), f.mustCall(c))
	var all []time.Duration
	for b.Loop() {
		next := backends[(len(all)+1)%2]
		start := time.Now()
		write(next)
		for got := ""; got != next.addr.String(); {
			got, _ = call(b.Context(), c) // a call may fail while its connection closes
		}
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	for name, share := range map[string]int{"p50-ms": 50, "p99-ms": 99} {
		b.ReportMetric(float64(all[(len(all)-1)*share/100].Microseconds())/1000, name)
	}
}

// hostAddress returns an address of this machine that an EndpointSlice may have.
func hostAddress(b *testing.B) string {
	addrs, err := net.InterfaceAddrs()
	require.NoError(b, err)
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	b.Skip("this machine has no address that is not a loopback address")
	return ""
}

// BenchmarkSync measures a change of one Service of 10,000 without streams, and the first state.
func BenchmarkSync(b *testing.B) {
	all := services(scaleServices)
	node := &localsink.Node{Name: "node-1"}
	for i, svc := range all {
		for j := 1; j < scaleEndpoints; j++ {
			svc.Ports[0].Pools[0].Endpoints = append(svc.Ports[0].Pools[0].Endpoints, ip(i+j))
		}
	}
	state := sinktest.NewState(all...)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			sink, err := xds.New(xds.Config{})
			require.NoError(b, err)
			require.NoError(b, sink.Sync(b.Context(), &localsink.Update{Node: node, NodeChanged: true, All: state, Changed: all}))
			b.ReportMetric(float64(sink.Stats().Bytes)/1e6, "MB-encoded")
		}
	})
	b.Run("one", func(b *testing.B) {
		sink, err := xds.New(xds.Config{})
		require.NoError(b, err)
		require.NoError(b, sink.Sync(b.Context(), &localsink.Update{Node: node, NodeChanged: true, All: state, Changed: all}))
		n := 0
		for b.Loop() {
			n++
			changed := service("s5", ip(5), ip(n%1000+10))
			require.NoError(b, sink.Sync(b.Context(), &localsink.Update{Node: node, All: state, Changed: []*localsink.Service{changed}}))
		}
	})
}

// asClients is the variable that makes the test binary the clients of a benchmark: the address, the
// number of streams, the type of resources, and their number.
const asClients = "KPNG_XDS_CLIENTS"

// BenchmarkStreams measures the memory of a server with 10,000 Services of 10 endpoints and 1,000 streams,
// each of a connection of its own, whose clients are in another process. It does so while they
// receive everything, when they are idle, and when they stop to read while all Services change.
func BenchmarkStreams(b *testing.B) {
	for _, c := range []struct {
		name, typeURL string
		resources     int
	}{{"named", endpointType, 20}, {"wildcard", clusterType, scaleServices}} {
		b.Run(c.name, func(b *testing.B) {
			const streams = 1000
			for b.Loop() {
				f := newFixture(b, xds.Config{})
				store := scaleStore()
				follow(b, store, f.sink)
				<-f.sink.Ready()
				before := memory()
				var peak uint64
				ready := startClients(b, fmt.Sprint(f.address, " ", streams, " ", c.typeURL, " ", c.resources))
				for waiting := true; waiting; {
					select {
					case err := <-ready:
						require.NoError(b, err)
						waiting = false
					case <-time.After(50 * time.Millisecond):
						var m runtime.MemStats
						runtime.ReadMemStats(&m)
						peak = max(peak, m.HeapInuse+m.StackInuse)
					}
				}
				require.Equal(b, streams, f.sink.Stats().Streams)
				idle := memory()
				store.Update(func(tx *watchers.Tx) { // the clients do not read any more
					for i := range scaleServices {
						svc, slice := scaleService(i, watchers.EndpointPort{Protocol: localsink.ProtocolTCP, Port: 8081})
						svc.Affinity = time.Hour
						tx.SetService(svc)
						tx.SetEndpointSlice(slice)
					}
				})
				sent := f.sink.Stats().Responses
				require.Eventually(b, func() bool { // each stream has one response that is not answered
					now := f.sink.Stats().Responses
					return now[0]+now[1]-sent[0]-sent[1] >= streams
				}, timeout, timeout/1000)
				b.ReportMetric(float64(before)/1e6, "MB-without-streams")
				b.ReportMetric(float64(peak)/1e6, "MB-peak")
				b.ReportMetric(float64(idle)/1e6, "MB-idle")
				b.ReportMetric(float64(memory())/1e6, "MB-stalled")
			}
		})
	}
}

// memory returns the bytes in use after a garbage collection.
func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// startClients starts clients in another process, until the test ends. The channel receives when they
// have received everything.
func startClients(t testing.TB, arguments string) <-chan error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asClients+"="+arguments)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	ready := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(stdout).ReadString('\n')
		if err == nil && line != "ready\n" {
			err = errors.New(line)
		}
		ready <- err
	}()
	return ready
}

// clients opens streams, reads until each has received its resources and answered, and then reads no
// more. It ends with its standard input.
func clients(arguments string) (exitCode int) {
	var address, typeURL string
	var streams, resources int
	if _, err := fmt.Sscan(arguments, &address, &streams, &typeURL, &resources); err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 1
	}
	received := make(chan error, streams)
	slots := make(chan struct{}, 64) // handshakes at the same time
	for i := range streams {
		go func() {
			slots <- struct{}{}
			err := receiveAll(address, i, typeURL, resources)
			<-slots
			received <- err
		}()
	}
	for range streams {
		if err := <-received; err != nil {
			fmt.Fprintln(os.Stdout, err)
			return 1
		}
	}
	fmt.Fprintln(os.Stdout, "ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// receiveAll opens the i-th stream and returns when it has received and answered its resources.
func receiveAll(address string, i int, typeURL string, resources int) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		return err
	}
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(context.Background())
	if err != nil {
		return err
	}
	request := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL}
	if resources < scaleServices {
		for j := range resources {
			request.ResourceNamesSubscribe = append(request.ResourceNamesSubscribe, nameOf(fmt.Sprintf("s%d", (i*resources+j)%scaleServices)))
		}
	}
	for n := 0; ; {
		if err := stream.Send(request); err != nil || n == resources {
			return err
		}
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		n += len(response.GetResources())
		request = &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResponseNonce: response.GetNonce()}
	}
}

// TestStalledClientCostsOneResponse checks that a client that does not read costs the server one
// response, however often the Services change meanwhile.
func TestStalledClientCostsOneResponse(t *testing.T) {
	f := newFixture(t, xds.Config{})
	f.set(services(200)...)
	conn, err := grpc.NewClient(f.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	for range 10 {
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(t.Context())
		require.NoError(t, err)
		require.NoError(t, stream.Send(&discoveryv3.DiscoveryRequest{TypeUrl: clusterType}))
		require.NoError(t, stream.Send(&discoveryv3.DiscoveryRequest{TypeUrl: endpointType, ResourceNames: []string{"*"}}))
	}
	require.Eventually(t, func() bool { r := f.sink.Stats().Responses; return r[0]+r[1] == 20 }, timeout, timeout/1000)
	before := memory()
	for i := range 200 {
		all := services(200)
		for _, svc := range all {
			svc.Ports[0].Pools[0].Endpoints = append(svc.Ports[0].Pools[0].Endpoints, ip(i+1000))
			svc.Ports[0].Selection = localsink.Selection(i % 2 * int(localsink.SelectionClient))
		}
		f.set(all...)
	}
	require.Less(t, memory(), before+2<<20) // 200 times 10 responses would be 200 MB
	r := f.sink.Stats().Responses
	require.Equal(t, 20, r[0]+r[1])
}
