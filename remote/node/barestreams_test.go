// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/codec"
	"sigs.k8s.io/kpng/remote/node"
)

// BenchmarkBareStreams is BenchmarkFanout without this project: a server of grpc-go whose
// streams send one encoded message of the size of an endpoint change, and discard what they
// receive. Its CPU time is the least that one change of a node costs with grpc-go.
func BenchmarkBareStreams(b *testing.B) {
	for _, nodes := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("%d nodes", nodes), func(b *testing.B) {
			relaxGC(b)
			s := &bareServer{clients: newFakeClients(nodes)}
			s.start(b)
			go s.clients.connect(func(i int) string { return fmt.Sprintf("node-%04d", i) })
			require.Eventually(b, func() bool { return s.len() == nodes }, time.Minute, 10*time.Millisecond)
			revision, first := uint64(1), s.send(b, 1)
			last, n := first, 0
			start := cpuTime()
			for b.Loop() {
				n++
				revision++
				last = s.send(b, revision)
			}
			used := cpuTime() - start
			b.ReportMetric(float64(used.Nanoseconds())/1000/float64(n)/float64(nodes), "server-us/node")
			b.ReportMetric(float64(last.down-first.down)/float64(n)/float64(nodes), "B-down/node")
			b.ReportMetric(0, "ns/op")
		})
	}
}

type bareServer struct {
	clients *fakeClients
	mu      sync.Mutex
	streams []grpc.ServerStream
}

// discarded is a message that is not decoded.
type discarded struct{}

func (discarded) DecodeFrame([]byte) error { return nil }

func (s *bareServer) start(b *testing.B) {
	g := grpc.NewServer(append(serverOptions(), node.ServerOption())...)
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: kpng.NodeService_ServiceDesc.ServiceName, HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "WatchNode", ServerStreams: true, ClientStreams: true, Handler: s.watch}},
	}, s)
	var running sync.WaitGroup
	running.Go(func() { _ = g.Serve(s.clients) })
	b.Cleanup(func() {
		g.Stop()
		running.Wait()
	})
}

// watch is the handler of a stream.
func (s *bareServer) watch(_ any, stream grpc.ServerStream) error {
	for first := true; ; first = false {
		if err := stream.RecvMsg(discarded{}); err != nil {
			return err
		}
		if first {
			s.mu.Lock()
			s.streams = append(s.streams, stream)
			s.mu.Unlock()
		}
	}
}

func (s *bareServer) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// send sends a change to all streams from two goroutines, and waits until all clients have it.
func (s *bareServer) send(b *testing.B, revision uint64) allReceived {
	frame := codec.NewFrame([][]byte{bareChange(b, revision)})
	var sending sync.WaitGroup
	for part := range 2 {
		sending.Go(func() {
			for i := part; i < len(s.streams); i += 2 {
				_ = s.streams[i].SendMsg(frame) // the benchmark does not end if it fails
			}
		})
	}
	sending.Wait()
	for {
		select {
		case r := <-s.clients.reached:
			if r.revision >= revision {
				return r
			}
		case <-time.After(time.Minute):
			b.Fatal("timeout: not all clients have received the revision")
		}
	}
}

// bareChange returns an encoded message of the size of one endpoint change, 46 bytes.
func bareChange(b *testing.B, revision uint64) []byte {
	message, err := proto.Marshal(&kpng.WatchNodeResponse{
		Services: []*kpng.ServiceChange{{
			Namespace: "bench", Name: "svc-00001", Digest: 1 << 63,
			Change: &kpng.ServiceChange_Service{Service: &kpng.Service{HealthCheckPort: 1}},
		}},
		Commit: &kpng.Commit{Revision: revision},
	})
	require.NoError(b, err)
	return message
}
