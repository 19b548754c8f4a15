// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

// ServerLimits are what a peer may cost. The zero value is the defaults, which are
// for thousands of idle peers, some of them hostile.
type ServerLimits struct {
	// MaxReceiveSize is how many bytes a message from a peer may have; 0 is 1 MiB.
	MaxReceiveSize int
	// MaxStreams is how many calls may go on at once on one connection; 0 is 32.
	MaxStreams uint32
	// MaxHeaderSize is how many bytes the metadata of a call may have, tokens
	// included; 0 is 16 KiB.
	MaxHeaderSize uint32
	// HandshakeTimeout is how long a connection may take to be ready; 0 is 10
	// seconds. A server that is stopped may wait as long for those that are not.
	HandshakeTimeout time.Duration
	// MaxConnectionIdle is how long a connection may be without a call; 0 is five
	// minutes.
	MaxConnectionIdle time.Duration
	// MaxConnectionAge is how long a connection lasts, give or take a tenth, and
	// MaxConnectionAgeGrace how long the calls on it may go on then; 0 is 30 minutes
	// and ten seconds. Peers connect again, to any replica: so new replicas get
	// their share, and a CA that was taken away is forgotten.
	MaxConnectionAge, MaxConnectionAgeGrace time.Duration
	// PingAfter is how long a peer may be silent before it is asked for a sign of
	// life, and PingTimeout how long it may take to give one; 0 is one minute and 20
	// seconds.
	PingAfter, PingTimeout time.Duration
	// MinPing is how often a peer may ask at most; 0 is 30 seconds. It must be
	// clearly less than [ClientLimits.PingAfter].
	MinPing time.Duration
	// ReadBuffer is how many bytes each connection has for reading; 0 is 4 KiB.
	ReadBuffer int
	// StreamWindow and ConnectionWindow are how many bytes a peer may send that
	// nobody has read yet; 0 is 64 KiB and 256 KiB, and less than 64 KiB is 64 KiB.
	// They are fixed, so that no pings are sent to find better ones.
	StreamWindow, ConnectionWindow int32
}

// ServerOptions returns what makes a server keep to limits.
func ServerOptions(l ServerLimits) []grpc.ServerOption {
	setDefault(&l.MaxReceiveSize, 1<<20)
	setDefault(&l.MaxStreams, 32)
	setDefault(&l.MaxHeaderSize, 16<<10)
	setDefault(&l.HandshakeTimeout, 10*time.Second)
	setDefault(&l.MaxConnectionIdle, 5*time.Minute)
	setDefault(&l.MaxConnectionAge, 30*time.Minute)
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
		// Pings without a call are harmless, and cost no more than those with one.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: l.MinPing, PermitWithoutStream: true}),
		grpc.ReadBufferSize(l.ReadBuffer),
		grpc.InitialWindowSize(l.StreamWindow),
		grpc.InitialConnWindowSize(l.ConnectionWindow),
		grpc.WaitForHandlers(true), // what a handler uses may go when the server has stopped
	}
}

// ClientLimits are how a client behaves. The zero value is the defaults, which go with
// those of [ServerLimits].
type ClientLimits struct {
	// MaxReceiveSize is how many bytes a message from the server may have; 0 is 16
	// MiB.
	MaxReceiveSize int
	// PingAfter is how long the server may be silent, while there are calls, before it
	// is asked for a sign of life, and PingTimeout how long it may take to give one; 0
	// is one minute and 20 seconds. It must be clearly more than
	// [ServerLimits.MinPing].
	PingAfter, PingTimeout time.Duration
	// ConnectTimeout is how long one attempt to connect may take; 0 is ten seconds.
	ConnectTimeout time.Duration
	// MaxBackoff is the longest pause between attempts to connect, give or take a
	// third, of pauses that grow from half a second; 0 is 30 seconds.
	MaxBackoff time.Duration
	// StreamWindow and ConnectionWindow are how many bytes the server may send that
	// nobody has read yet; 0 is 1 MiB and 2 MiB. They are fixed.
	StreamWindow, ConnectionWindow int32
}

// pickRandomReplica has a client take one address of all that a name has, at random: one
// connection per client, spread over the replicas.
const pickRandomReplica = `{"loadBalancingConfig":[{"pick_first":{"shuffleAddressList":true}}]}`

// ClientOptions returns what makes a client keep to limits, and take one replica at
// random of those that it is given.
func ClientOptions(l ClientLimits) []grpc.DialOption {
	setDefault(&l.MaxReceiveSize, 16<<20)
	setDefault(&l.PingAfter, time.Minute)
	setDefault(&l.PingTimeout, 20*time.Second)
	setDefault(&l.ConnectTimeout, 10*time.Second)
	setDefault(&l.MaxBackoff, 30*time.Second)
	setDefault(&l.StreamWindow, 1<<20)
	setDefault(&l.ConnectionWindow, 2<<20)
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(l.MaxReceiveSize)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: l.PingAfter, Timeout: l.PingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: l.ConnectTimeout,
			Backoff:           backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.33, MaxDelay: l.MaxBackoff},
		}),
		grpc.WithInitialWindowSize(l.StreamWindow),
		grpc.WithInitialConnWindowSize(l.ConnectionWindow),
		grpc.WithDefaultServiceConfig(pickRandomReplica),
	}
}
