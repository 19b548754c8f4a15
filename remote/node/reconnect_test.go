// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// A tcpServer serves nodes on a loopback address, which it keeps over restarts.
type tcpServer struct {
	t       *testing.T
	store   *watchers.Store
	address string
	nodes   *node.Server
	stop    func()
}

// newTCPServer returns a server that does not run yet.
func newTCPServer(t *testing.T, store *watchers.Store) *tcpServer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return &tcpServer{t: t, store: store, address: listener.Addr().String()}
}

func (s *tcpServer) start() {
	nodes, err := node.NewServer(s.store, node.ServerConfig{Authorize: transport.AllowNode})
	require.NoError(s.t, err)
	listener, err := transport.Listen(s.t.Context(), s.address, transport.ListenConfig{})
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	allowed := transport.Rules{Allow: map[transport.Verb]transport.Subjects{transport.VerbWatchNode: {Names: []string{"system:anonymous"}}}}
	guard := transport.Guard{Authenticate: transport.AnonymousAuthenticator(""), Authorize: allowed.Authorize}
	running.Go(func() { _ = transport.Serve(ctx, listener, transport.ServeConfig{Guard: guard}, nodes) })
	s.nodes = nodes
	s.stop = sync.OnceFunc(func() { cancel(); running.Wait(); _ = nodes.Close() })
	s.t.Cleanup(s.stop)
}

func connections(t *testing.T, servers []*tcpServer, options ...grpc.DialOption) (all []grpc.ClientConnInterface) {
	for _, s := range servers {
		conn, err := grpc.NewClient(s.address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		all = append(all, conn)
	}
	return all
}

// A failureCounter is a logger's output that counts failed connections.
type failureCounter struct {
	failures chan struct{}
	io.Writer
}

func (c failureCounter) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "connection failed") {
		select {
		case c.failures <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

// A client that has failed for many seconds, in which the channel of grpc-go began to pause
// for long, finds a server soon after its return.
func TestClientFindsReturnedServer(t *testing.T) {
	t.Parallel()
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	for name, c := range map[string]struct {
		servers int
		options []grpc.DialOption
	}{
		"one server":                    {1, transport.ClientOptions(transport.ClientLimits{})},
		"three servers":                 {3, transport.ClientOptions(transport.ClientLimits{})},
		"dial options of another party": {1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var servers []*tcpServer
			for range c.servers {
				servers = append(servers, newTCPServer(t, store))
			}
			log := failureCounter{failures: make(chan struct{})}
			client, err := node.NewClient(node.ClientConfig{
				NodeName: "node-1", Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			}, connections(t, servers, c.options...)...)
			require.NoError(t, err)
			sink := newRecordingSink()
			run(t, client, sink)
			for range 10 * c.servers {
				<-log.failures
			}
			begin := time.Now()
			servers[0].start()
			sink.first(t)
			t.Log("found after", time.Since(begin))
			require.Less(t, time.Since(begin), 2*time.Second)
		})
	}
}

// After two of three servers have failed and returned, the clients move back, without a full
// sync and without a change of what is programmed.
func TestClientsSpreadAfterServersReturn(t *testing.T) {
	const clients = 90
	random := watchertest.NewRandom(1, 5, 40)
	store := watchers.NewStore()
	for range 200 {
		store.Update(random.Step())
	}
	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	var servers []*tcpServer
	for range 3 {
		servers = append(servers, newTCPServer(t, store))
		servers[len(servers)-1].start()
	}
	var sinks []*recordingSink
	for i := range clients {
		client, err := node.NewClient(node.ClientConfig{NodeName: fmt.Sprint("node-", i), RebalanceInterval: 300 * time.Millisecond},
			connections(t, servers, transport.ClientOptions(transport.ClientLimits{})...)...)
		require.NoError(t, err)
		sinks = append(sinks, newRecordingSink())
		run(t, client, sinks[i])
	}
	spread := func() (counts []int) {
		for _, s := range servers {
			counts = append(counts, s.nodes.Stats().Connected)
		}
		return counts
	}
	even := func() bool { // within 5 standard deviations
		sum := 0
		for _, n := range spread() {
			if sum += n; math.Abs(float64(n)-clients/3) > 5*math.Sqrt(clients*2/9.0) {
				return false
			}
		}
		return sum == clients
	}
	eventually(t, even)
	initial := spread()
	for _, s := range sinks {
		s.first(t)
	}
	servers[1].stop()
	servers[2].stop()
	eventually(t, func() bool { return servers[0].nodes.Stats().Connected == clients })
	servers[1].start()
	servers[2].start()
	eventually(t, func() bool { return fmt.Sprint(spread()) == fmt.Sprint(initial) })
	for _, s := range servers[1:] {
		st := s.nodes.Stats()
		require.Less(t, st.Bytes/uint64(st.Connected), uint64(1000), "the clients resume")
	}
	for _, s := range sinks {
		_, syncs := s.count()
		require.Equal(t, 1, syncs, "nothing changed")
	}
}
