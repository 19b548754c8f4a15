// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/localsink"
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func newServerOn(t *testing.T, cfg Config, networks ...string) *Server {
	s, err := NewServer(prefixes(networks...), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { goleak.VerifyNone(t) })
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func serviceName(name string) localsink.ServiceName {
	return localsink.ServiceName{Namespace: "ns", Name: name}
}

// TestServerFollowsItsCalls makes random calls. After each, every port that Services request
// is answered for one of them with its current number of endpoints, all other ports are
// closed, and the Services that wait for a port are the failures.
func TestServerFollowsItsCalls(t *testing.T) {
	var healthy atomic.Bool
	s := newServerOn(t, Config{Healthy: healthy.Load}, "127.0.0.1/32")
	random := rand.New(rand.NewPCG(3, 4))
	ports := []uint16{freePort(t), freePort(t), freePort(t)}
	type request struct {
		port  uint16
		count int
	}
	requests := map[localsink.ServiceName]request{}
	closed, waited := false, 0
	for range 300 {
		healthy.Store(random.IntN(4) > 0)
		name := serviceName(string(rune('a' + random.IntN(4))))
		switch n := random.IntN(20); {
		case n < 14:
			r := request{ports[random.IntN(len(ports))], random.IntN(3)}
			err := s.Set(t.Context(), name, r.port, r.count)
			requests[name] = r
			require.Equal(t, err, s.Failures()[name])
		case n < 18:
			s.Remove(t.Context(), name)
			delete(requests, name)
		default:
			closed = !closed
			require.NoError(t, s.SetNetworks(t.Context(), map[bool][]netip.Prefix{true: nil, false: prefixes("127.0.0.1/32")}[closed]))
		}
		failures := s.Failures()
		for _, port := range ports {
			code, weight, body := getCheck(t, port)
			answers := localsink.ServiceName{Namespace: body.Service.Namespace, Name: body.Service.Name}
			for name, r := range requests {
				if r.port != port || closed {
					continue
				}
				require.NotZero(t, code, "the port is open")
				require.Equal(t, port, requests[answers].port)
				require.Equal(t, name != answers, failures[name] != nil, "%s, answers %s: %v", name, answers, failures)
				delete(failures, name)
				if name != answers {
					waited++
					continue
				}
				require.Equal(t, r.count > 0 && healthy.Load(), code == http.StatusOK)
				require.EqualValues(t, r.count, body.LocalEndpoints)
				require.Equal(t, fmt.Sprint(r.count), weight)
			}
			if code != 0 {
				require.Equal(t, port, requests[answers].port, "the port is closed unless it is requested")
				require.False(t, closed)
			}
		}
		require.Empty(t, failures)
	}
	require.NotZero(t, waited)
}

// TestServerIsSafeForConcurrentUse calls all methods from several goroutines.
func TestServerIsSafeForConcurrentUse(t *testing.T) {
	s := newServerOn(t, Config{}, "127.0.0.0/30")
	ctx, cancel := context.WithCancel(t.Context())
	port := []uint16{freePort(t), freePort(t)}
	var wg, running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	for worker := range 4 {
		wg.Go(func() {
			for i := range 50 {
				name := serviceName(fmt.Sprint(worker % 3))
				_ = s.Set(ctx, name, port[(worker+i)%2], i)
				s.Failures()
				s.requestRetry()
				getCheck(t, port[i%2])
				if i%5 == 0 {
					s.Remove(ctx, name)
					_ = s.SetNetworks(ctx, prefixes("127.0.0.0/30", "127.0.0.1/32")[:1+i%2])
				}
			}
		})
	}
	wg.Wait()
	for i := range 3 {
		s.Remove(ctx, serviceName(fmt.Sprint(i)))
	}
	require.Empty(t, s.Failures())
	require.NoError(t, s.Set(ctx, serviceName("last"), port[0], 1))
	code, _, body := getCheck(t, port[0])
	require.Equal(t, 200, code)
	require.Equal(t, "last", body.Service.Name)
	cancel()
	running.Wait()
}

// TestServersAreIndependent: two proxies in one process, with the same ports on their
// addresses and their own health.
func TestServersAreIndependent(t *testing.T) {
	one := newServerOn(t, Config{}, "127.0.0.1/32")
	two := newServerOn(t, Config{Healthy: func() bool { return false }}, "127.0.0.2/32")
	port := freePort(t)
	require.NoError(t, one.Set(t.Context(), serviceName("a"), port, 1))
	require.NoError(t, two.Set(t.Context(), serviceName("a"), port, 1))
	code, _, _ := getCheck(t, port)
	require.Equal(t, 200, code)
	response, err := http.Get(fmt.Sprintf("http://127.0.0.2:%d/", port))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 503, response.StatusCode)
	http.DefaultClient.CloseIdleConnections()

	require.ErrorIs(t, two.Set(t.Context(), serviceName("b"), port, 1), syscall.EADDRINUSE)
	require.NoError(t, one.Close())
	require.NoError(t, one.Close(), "a second Close has no effect")
	code, _, _ = getCheck(t, port)
	require.Zero(t, code)
	err = one.Set(t.Context(), serviceName("a"), port, 1)
	require.ErrorIs(t, err, net.ErrClosed)
	require.EqualError(t, err, "healthcheck: Service ns/a: use of closed network connection")
	one.Remove(t.Context(), serviceName("a"))
	require.NoError(t, one.SetNetworks(t.Context(), nil))
	require.NoError(t, one.Run(t.Context()), "Run ends after Close")
}

func TestServerRejectsInvalidArguments(t *testing.T) {
	s := newServerOn(t, Config{}, "127.0.0.1/32")
	port := freePort(t)
	require.NoError(t, s.Set(t.Context(), serviceName("a"), port, 2))
	require.EqualError(t, s.Set(t.Context(), serviceName("a"), 0, 1), "healthcheck: Service ns/a: port: 0 is out of range 1-65535")
	require.EqualError(t, s.Set(t.Context(), serviceName("a"), port, -1), "healthcheck: Service ns/a: localEndpoints: -1 is negative")
	require.EqualError(t, s.SetNetworks(t.Context(), []netip.Prefix{netip.MustParsePrefix("::/0"), {}}), "healthcheck: networks[1]: invalid")
	_, weight, _ := getCheck(t, port)
	require.Equal(t, "2", weight, "an error changes nothing")
	_, err := NewServer([]netip.Prefix{{}}, Config{})
	require.EqualError(t, err, "healthcheck: networks[0]: invalid")
}

// A blockingListener accepts nothing until it is closed.
type blockingListener struct {
	once   sync.Once
	closed chan struct{}
}

func (l *blockingListener) Accept() (net.Conn, error) { <-l.closed; return nil, net.ErrClosed }
func (l *blockingListener) Close() error              { l.once.Do(func() { close(l.closed) }); return nil }
func (l *blockingListener) Addr() net.Addr            { return &net.TCPAddr{} }

// A fakeNet is the network of a node. It opens listeners on all addresses but those that are
// broken.
type fakeNet struct {
	mu       sync.Mutex
	broken   map[string]error
	addrs    []net.Addr
	listErr  error
	attempts map[string]int
	lists    int
}

func newFakeNet() *fakeNet { return &fakeNet{broken: map[string]error{}, attempts: map[string]int{}} }

func (n *fakeNet) config() Config { return Config{Listen: n.listen, InterfaceAddrs: n.interfaceAddrs} }

func (n *fakeNet) listen(_ context.Context, network, address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attempts[address]++
	if err := n.broken[address]; err != nil {
		return nil, fmt.Errorf("listen %s %s: %w", network, address, err)
	}
	return &blockingListener{closed: make(chan struct{})}, nil
}

func (n *fakeNet) interfaceAddrs() ([]net.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lists++
	return n.addrs, n.listErr
}

func (n *fakeNet) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// calls returns how often listeners were opened, by address, and addresses listed, once all
// goroutines are idle.
func (n *fakeNet) calls() (attempts map[string]int, lists int) {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.attempts), n.lists
}

// runServer calls f with a running Server in a bubble with its own time.
func runServer(t *testing.T, fake *fakeNet, networks []netip.Prefix, f func(ctx context.Context, s *Server)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewServer(networks, fake.config())
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		defer func() {
			cancel()
			require.NoError(t, <-done)
			require.NoError(t, s.Close())
		}()
		f(ctx, s)
	})
}

// TestHC15RunRetries: a failed port is opened when that is possible, however often other
// Services change; nothing happens without a failure.
func TestHC15RunRetries(t *testing.T) {
	fake := newFakeNet()
	fake.broken["192.0.2.1:1"], fake.broken["192.0.2.1:3"] = errors.New("injected"), errors.New("injected")
	attempts := func(address string) int {
		all, _ := fake.calls()
		return all[address]
	}
	runServer(t, fake, prefixes("192.0.2.1/32"), func(ctx context.Context, s *Server) {
		require.NoError(t, s.Set(ctx, serviceName("b"), 2, 1))
		time.Sleep(time.Hour)
		require.Equal(t, 1, attempts("192.0.2.1:2"))

		err := s.Set(ctx, serviceName("a"), 1, 1)
		require.EqualError(t, err, "healthcheck: Service ns/a: spec.healthCheckNodePort 1: listen tcp4 192.0.2.1:1: injected")
		for i := range 12 {
			time.Sleep(time.Second)
			require.NoError(t, s.Set(ctx, serviceName("b"), 2, i))
			require.Error(t, s.Set(ctx, serviceName("c"), 3, i))
		}
		require.Equal(t, 3, attempts("192.0.2.1:1"), "two retries in 12 seconds")
		require.Equal(t, 1, attempts("192.0.2.1:2"))
		s.Remove(ctx, serviceName("c"))
		fake.set(func() { clear(fake.broken) })
		time.Sleep(retryInterval)
		require.Equal(t, 4, attempts("192.0.2.1:1"))
		require.Empty(t, s.Failures())
		time.Sleep(time.Hour)
		require.Equal(t, 4, attempts("192.0.2.1:1"))
	})
}

// TestHC10RunFollowsAddresses: a new address of the node is listened on within 30 seconds;
// the addresses are not listed more often, and not without need.
func TestHC10RunFollowsAddresses(t *testing.T) {
	fake := newFakeNet()
	expect := func(wantLists int, want ...string) {
		t.Helper()
		attempts, lists := fake.calls()
		require.Equal(t, wantLists, lists)
		require.ElementsMatch(t, want, slices.Collect(maps.Keys(attempts)))
		for address, n := range attempts {
			require.Equal(t, 1, n, "%s stays open", address)
		}
	}
	runServer(t, fake, prefixes("192.0.2.0/24", "198.51.100.1/32"), func(ctx context.Context, s *Server) {
		time.Sleep(time.Hour)
		expect(0) // no Service has a port
		fake.set(func() { fake.listErr = errors.New("injected") })
		err := s.Set(ctx, serviceName("a"), 1, 1)
		require.EqualError(t, err, "healthcheck: Service ns/a: spec.healthCheckNodePort 1: list node addresses: injected")
		require.EqualError(t, s.SetNetworks(ctx, prefixes("192.0.2.0/25", "198.51.100.1/32")), "healthcheck: list node addresses: injected")
		fake.set(func() { fake.listErr = nil })
		time.Sleep(retryInterval)
		synctest.Wait()
		require.Empty(t, s.Failures())

		fake.set(func() {
			fake.lists = 0
			for _, ip := range []string{"192.0.2.9", "203.0.113.9"} {
				fake.addrs = append(fake.addrs, &net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(24, 32)})
			}
		})
		for range 10 {
			require.NoError(t, s.Set(ctx, serviceName("a"), 1, 2))
		}
		expect(0, "198.51.100.1:1")
		time.Sleep(listInterval)
		expect(1, "198.51.100.1:1", "192.0.2.9:1")
		require.NoError(t, s.SetNetworks(ctx, prefixes("192.0.2.9/32", "::/0")))
		expect(1, "198.51.100.1:1", "192.0.2.9:1", "[::]:1")
		time.Sleep(time.Hour)
		expect(1, "198.51.100.1:1", "192.0.2.9:1", "[::]:1") // no network needs the list
	})
}

// TestSystemWithoutAFamily: a system without IPv6 has no IPv6 address to serve.
func TestSystemWithoutAFamily(t *testing.T) {
	fake := newFakeNet()
	fake.broken["[::]:1"] = os.NewSyscallError("socket", syscall.EAFNOSUPPORT)
	fake.broken["[2001:db8::1]:2"] = fake.broken["[::]:1"]
	s := newServerOn(t, fake.config(), "0.0.0.0/0", "::/0")
	require.NoError(t, s.Set(t.Context(), serviceName("a"), 1, 1))
	require.Equal(t, map[string]int{"0.0.0.0:1": 1, "[::]:1": 1}, fake.attempts)
	require.NoError(t, s.SetNetworks(t.Context(), prefixes("2001:db8::1/128")))
	require.ErrorIs(t, s.Set(t.Context(), serviceName("b"), 2, 1), syscall.EAFNOSUPPORT, "a single address was expected to exist")
}
