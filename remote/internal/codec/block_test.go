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

// A stalledConn reads nothing more after stall is closed.
type stalledConn struct {
	net.Conn
	stall, closed chan struct{}
	once          *sync.Once
}

func (c stalledConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case <-c.stall:
		<-c.closed
	default:
	}
	return n, err
}

func (c stalledConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Package fanout requires that 32 KiB can be sent to a peer that reads nothing.
func TestSendOf32KiBDoesNotBlock(t *testing.T) {
	t.Parallel()
	stall, sent := make(chan struct{}), make(chan struct{})
	g := grpc.NewServer(ServerOption(), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.SendMsg(NewFrame([][]byte{nil})); err != nil {
			return err
		}
		<-stall
		f := NewFrame([][]byte{make([]byte, 1019)}) // gRPC adds 5 bytes
		for range 32 {
			if err := stream.SendMsg(f); err != nil {
				return err
			}
		}
		close(sent)
		return nil
	}))
	listener := bufconn.Listen(1)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(listener) }()
	defer func() { g.Stop(); <-served }()
	conn, err := grpc.NewClient("passthrough:///stalled", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := listener.DialContext(ctx)
			return stalledConn{c, stall, make(chan struct{}), &sync.Once{}}, err
		}))
	require.NoError(t, err)
	defer conn.Close()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/a/b")
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg(&emptypb.Empty{}))
	require.NoError(t, stream.RecvMsg(&emptypb.Empty{}))
	close(stall)
	select {
	case <-sent:
	case <-time.After(10 * time.Second):
		t.Fatal("Send blocks")
	}
}
