// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

// ServerLimits bound what one peer may cost a server. The zero value means the defaults,
// which suit thousands of mostly idle peers, some of them hostile.
type ServerLimits struct {
	// MaxReceiveSize is the maximum size of a message from a peer in bytes; 0 means 1 MiB.
	MaxReceiveSize int
	// MaxStreams is the maximum number of concurrent calls of one connection; 0 means 32.
	MaxStreams uint32
	// MaxHeaderSize is the maximum size of the metadata of a call in bytes, tokens
	// included; 0 means 16 KiB.
	MaxHeaderSize uint32
	// HandshakeTimeout is how long a connection may take to complete its handshake; 0 means
	// 10 s. Stopping a server can take as long.
	HandshakeTimeout time.Duration
	// MaxConnectionIdle is how long a connection may have no call; 0 means 5 min.
	MaxConnectionIdle time.Duration
	// MaxConnectionAge is the maximum age of a connection, varied by 10 %, and
	// MaxConnectionAgeGrace the time that its calls then have to end; 0 means 10 min and
	// 10 s. Peers behind one name or address of several replicas then reconnect to any of
	// them, so that returned and new replicas receive their share, and a removed CA takes
	// effect.
	MaxConnectionAge, MaxConnectionAgeGrace time.Duration
	// PingAfter is the time without data from a peer after which the server sends a
	// keepalive ping, and PingTimeout the time in which the peer must answer it; 0 means
	// 1 min and 20 s.
	PingAfter, PingTimeout time.Duration
	// MinPing is the minimum time between two pings of a peer; 0 means 30 s. It must be
	// clearly less than [ClientLimits.PingAfter].
	MinPing time.Duration
	// ReadBuffer is the size of the read buffer of a connection in bytes; 0 means 4 KiB.
	ReadBuffer int
	// StreamWindow and ConnectionWindow are the flow control windows in bytes: how much a
	// peer may send that the server has not read; 0 means 64 KiB and 256 KiB, and smaller
	// values mean 64 KiB. They are fixed, so that grpc-go sends no pings to adapt them.
	StreamWindow, ConnectionWindow int32
}

// ServerOptions returns the options of a gRPC server with these limits.
func ServerOptions(l ServerLimits) []grpc.ServerOption {
	setDefault(&l.MaxReceiveSize, 1<<20)
	setDefault(&l.MaxStreams, 32)
	setDefault(&l.MaxHeaderSize, 16<<10)
	setDefault(&l.HandshakeTimeout, 10*time.Second)
	setDefault(&l.MaxConnectionIdle, 5*time.Minute)
	setDefault(&l.MaxConnectionAge, 10*time.Minute)
	setDefault(&l.MaxConnectionAgeGrace, 10*time.Second)
	setDefault(&l.PingAfter, time.Minute)
	setDefault(&l.PingTimeout, 20*time.Second)
	setDefault(&l.MinPing, 30*time.Second)
	setDefault(&l.ReadBuffer, 4<<10)
	setDefault(&l.StreamWindow, 64<<10)
	setDefault(&l.ConnectionWindow, 256<<10)
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(l.MaxReceiveSize),
		grpc.MaxConcurrentStreams(l.MaxStreams),
		grpc.MaxHeaderListSize(l.MaxHeaderSize),
		grpc.ConnectionTimeout(l.HandshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle:     l.MaxConnectionIdle,
			MaxConnectionAge:      l.MaxConnectionAge,
			MaxConnectionAgeGrace: l.MaxConnectionAgeGrace,
			Time:                  l.PingAfter,
			Timeout:               l.PingTimeout,
		}),
		// Pings without a call cost no more than those with one.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: l.MinPing, PermitWithoutStream: true}),
		grpc.ReadBufferSize(l.ReadBuffer),
		grpc.InitialWindowSize(l.StreamWindow),
		grpc.InitialConnWindowSize(l.ConnectionWindow),
		grpc.WaitForHandlers(true), // callers free what handlers use after the server has stopped
	}
}

// ClientLimits configure a client connection. The zero value means the defaults, which
// match those of [ServerLimits].
type ClientLimits struct {
	// MaxReceiveSize is the maximum size of a message from the server in bytes; 0 means
	// 16 MiB.
	MaxReceiveSize int
	// PingAfter is the time without data from the server, while there are calls, after
	// which the client sends a keepalive ping, and PingTimeout the time in which the server
	// must answer it; 0 means 1 min and 20 s. PingAfter must be clearly more than
	// [ServerLimits.MinPing].
	PingAfter, PingTimeout time.Duration
	// ConnectTimeout is the timeout of one attempt to connect; 0 means 5 s.
	ConnectTimeout time.Duration
	// MaxBackoff is the maximum pause between attempts to connect, varied by a third; the
	// pause starts at 0.5 s and grows. 0 means 30 s. The watch clients of this library have
	// pauses of their own, which are shorter.
	MaxBackoff time.Duration
	// IdleTimeout is how long a connection may have no call before the client closes it, and
	// stops to connect; 0 means 5 s. It is less than the time that a server grants a
	// connection without an authenticated call.
	IdleTimeout time.Duration
	// StreamWindow and ConnectionWindow are the flow control windows in bytes; 0 means
	// 1 MiB and 2 MiB. They are fixed.
	StreamWindow, ConnectionWindow int32
}

// pickRandomReplica makes a client connect to one random address of those that a name
// resolves to: one connection per client, spread over the replicas.
const pickRandomReplica = `{"loadBalancingConfig":[{"pick_first":{"shuffleAddressList":true}}]}`

// ClientOptions returns the options of a gRPC client with these limits, which connects to
// one random address of those that its target resolves to.
func ClientOptions(l ClientLimits) []grpc.DialOption {
	setDefault(&l.MaxReceiveSize, 16<<20)
	setDefault(&l.PingAfter, time.Minute)
	setDefault(&l.PingTimeout, 20*time.Second)
	setDefault(&l.ConnectTimeout, 5*time.Second)
	setDefault(&l.MaxBackoff, 30*time.Second)
	setDefault(&l.IdleTimeout, 5*time.Second)
	setDefault(&l.StreamWindow, 1<<20)
	setDefault(&l.ConnectionWindow, 2<<20)
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(l.MaxReceiveSize)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: l.PingAfter, Timeout: l.PingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: l.ConnectTimeout,
			Backoff:           backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.33, MaxDelay: l.MaxBackoff},
		}),
		grpc.WithIdleTimeout(l.IdleTimeout),
		grpc.WithInitialWindowSize(l.StreamWindow),
		grpc.WithInitialConnWindowSize(l.ConnectionWindow),
		grpc.WithDefaultServiceConfig(pickRandomReplica),
	}
}
