// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"
)

// A deaf connection reads nothing any more once its ear is closed.
type deaf struct {
	net.Conn
	ear, closed chan struct{}
	once        *sync.Once
}

func (d deaf) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	select {
	case <-d.ear:
		<-d.closed
	default:
	}
	return n, err
}

func (d deaf) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.Conn.Close()
}

// TestSendingALittleNeverWaits: package fanout relies on it that 32 KiB can be sent to a
// peer that reads nothing.
func TestSendingALittleNeverWaits(t *testing.T) {
	ear, took := make(chan struct{}), make(chan time.Duration, 1)
	g := grpc.NewServer(ServerOption(), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.SendMsg(NewFrame([][]byte{nil})); err != nil {
			return err
		}
		<-ear
		f, began := NewFrame([][]byte{make([]byte, 1019)}), time.Now() // and 5 of gRPC's
		for range 32 {
			if err := stream.SendMsg(f); err != nil {
				return err
			}
		}
		took <- time.Since(began)
		return nil
	}))
	listener := bufconn.Listen(1)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(listener) }()
	defer func() { g.Stop(); <-served }()
	conn, err := grpc.NewClient("passthrough:///deaf", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := listener.DialContext(ctx)
			return deaf{c, ear, make(chan struct{}), &sync.Once{}}, err
		}))
	require.NoError(t, err)
	defer conn.Close()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/a/b")
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg(&emptypb.Empty{}))
	require.NoError(t, stream.RecvMsg(&emptypb.Empty{}))
	close(ear)
	select {
	case <-took:
	case <-time.After(10 * time.Second):
		t.Fatal("the server waits")
	}
}
