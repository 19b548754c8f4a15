// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
)

// A Response is a message of a server, in any of the protocols.
type Response interface {
	GetWelcome() *kpng.Welcome
	GetCommit() *kpng.Commit
}

// A ClientState holds the items that a client has received up to the last Commit, and
// separately the messages since then. A [Client] calls it from one goroutine.
type ClientState[R any] interface {
	// HeldXor returns the XOR of the digests of all committed items and their number; zeros
	// if the state is empty or invalid.
	HeldXor() (xor uint64, count uint32)
	// HeldDigests returns the digests of all committed items, in any order.
	HeldDigests() []uint64
	// StartStream drops uncommitted messages, because a new stream has started. With
	// fullSync, the first Commit replaces all committed items.
	StartStream(fullSync bool)
	// Apply adds a message. If it contains a Commit, all messages since the last one take
	// effect together. After an error, nothing of the message has taken effect.
	Apply(in R) error
	// Invalidate makes HeldXor return zeros until a full sync is committed. Committed items
	// stay in use.
	Invalidate()
}

// A Client follows one server at a time, in a protocol with requests Q and responses R. All
// exported fields except OnSynced are required.
type Client[Q any, R Response] struct {
	// ClientName is sent to the server, for display only.
	ClientName   string
	Capabilities []kpng.Capability
	// Servers are connections to equivalent servers of one cluster.
	Servers []grpc.ClientConnInterface
	// MaxReconnect bounds the pause between attempts at the same server.
	MaxReconnect time.Duration
	// RebalanceInterval is the mean time between two checks whether a preferred server is
	// available again. It is negative for no checks.
	RebalanceInterval time.Duration
	// Open starts a stream.
	Open func(context.Context, grpc.ClientConnInterface) (Stream[Q, R], error)
	// Hello, Held and Ack wrap a message in a request of the protocol.
	Hello func(*kpng.Hello) Q
	Held  func(*kpng.HeldDigests) Q
	Ack   func(*kpng.Ack) Q

	State  ClientState[R]
	Acks   *AckQueue
	Logger *slog.Logger
	// LostMessage is the log message when a server is lost.
	LostMessage string
	// OnSynced is called with true after the first Commit of a stream and with false after
	// the end of such a stream.
	OnSynced func(synced bool)

	outage      outage
	rebalancing time.Duration // current interval of checks for a preferred server
}

// A Stream is a client's end of a bidirectional gRPC stream.
type Stream[Q, R any] interface {
	Send(Q) error
	Recv() (R, error)
}

// Run follows the servers until ctx ends. It must not be called concurrently, and may be
// called again.
func (c *Client[Q, R]) Run(ctx context.Context) {
	c.outage = outage{logger: c.Logger, message: c.LostMessage}
	c.rebalancing = c.RebalanceInterval
	retry := NewRetry(len(c.Servers), c.MaxReconnect)
	lost := -1 // the next attempt at this server must succeed soon, or another one is tried
	retry.Run(ctx, func(server int) Attempt {
		timeout := welcomeTimeout
		if server == lost && len(c.Servers) > 1 {
			timeout = lostTimeout
		}
		outcome, err := c.watch(ctx, server, timeout, retry.Preferred(server))
		switch {
		case outcome.Move:
			lost = outcome.To
		case outcome.Synced:
			lost = server
		case server == lost:
			lost = -1
		}
		switch {
		case ctx.Err() != nil:
		case outcome.Move:
			c.Logger.InfoContext(ctx, "Moving to the preferred server",
				"server", serverName(c.Servers, outcome.To), "previous", serverName(c.Servers, server))
		default:
			c.outage.lost(ctx, serverName(c.Servers, server), err)
		}
		return outcome
	})
}

const (
	// welcomeTimeout bounds the start of a stream. A server whose own state is not complete
	// does not answer; the client tries the next one, which may be ready.
	welcomeTimeout = 10 * time.Second
	// lostTimeout bounds the first attempt at a server after its stream was lost, or after a
	// move to it, if there are others: its machine may have failed.
	lostTimeout = 2 * time.Second
	// connectTimeout bounds the wait for a connection, if there are other servers. The
	// connection is established in the background, for the next attempt.
	connectTimeout = time.Second
)

var errNoWelcome = errors.New("no answer from the server; its state may not be complete yet")

// watch runs one stream. better are the servers that are preferred to this one.
func (c *Client[Q, R]) watch(ctx context.Context, server int, timeout time.Duration, better []int) (outcome Attempt, err error) {
	ctx, cancelCause := context.WithCancelCause(ctx)
	cancel := func() { cancelCause(nil) }
	defer cancel()
	stopTimer := time.AfterFunc(timeout, func() { cancelCause(errNoWelcome) }).Stop
	stream, maxDelay, err := c.start(ctx, c.Servers[server])
	if !stopTimer() {
		return Attempt{Unreachable: isUnreachable(err)}, errNoWelcome
	}
	if err != nil {
		return Attempt{Unreachable: isUnreachable(err), RetryAfter: retryAfter(err)}, err
	}
	acksDone := make(chan struct{})
	go func() {
		defer close(acksDone)
		if maxDelay >= 0 {
			c.sendAcks(ctx, stream, maxDelay)
		}
	}()
	defer func() { cancel(); <-acksDone }()
	for {
		in, err := stream.Recv()
		if move, ok := errors.AsType[*moveError](context.Cause(ctx)); ok {
			outcome.Move, outcome.To = true, move.to
			return outcome, move
		}
		if err != nil {
			outcome.RetryAfter = retryAfter(err)
			return outcome, err
		}
		firstCommit := !outcome.Synced && in.GetCommit() != nil
		if err := c.State.Apply(in); err != nil {
			c.State.Invalidate()
			// Not synced, so that a server that always sends invalid messages is retried
			// with growing pauses.
			return Attempt{}, fmt.Errorf("invalid message from the server, starting with a full sync: %w", err)
		}
		if firstCommit {
			outcome.Synced = true
			c.outage.restored(ctx, serverName(c.Servers, server))
			c.notifySynced(true)
			defer c.notifySynced(false)
			defer c.rebalance(ctx, cancelCause, better)()
		}
	}
}

func (c *Client[Q, R]) notifySynced(synced bool) {
	if c.OnSynced != nil {
		c.OnSynced(synced)
	}
}

// maxAckDelay bounds Welcome.max_ack_delay_ns.
const maxAckDelay = 10 * time.Second

// start opens a stream and exchanges Hello, Welcome and HeldDigests. maxDelay is the delay
// of acknowledgements that the server allows; negative if the server wants none.
func (c *Client[Q, R]) start(ctx context.Context, server grpc.ClientConnInterface) (_ Stream[Q, R], maxDelay time.Duration, err error) {
	stream, err := c.open(ctx, server)
	if err != nil {
		return nil, 0, &connectError{err}
	}
	xor, count := c.State.HeldXor()
	hello := &kpng.Hello{Client: c.ClientName, HeldDigestsXor: xor, HeldCount: count, Capabilities: c.Capabilities}
	if err := stream.Send(c.Hello(hello)); err != nil {
		return nil, 0, sendError(stream, err)
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, 0, err
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return nil, 0, errors.New("the first message of the server must be welcome")
	}
	if welcome.GetSendDigests() {
		if err := c.sendHeldDigests(stream); err != nil {
			return nil, 0, sendError(stream, err)
		}
	}
	// A client that holds no items receives a full sync even without the flag.
	c.State.StartStream(welcome.GetFullSync() || count == 0)
	maxDelay = time.Duration(min(welcome.GetMaxAckDelayNs(), uint64(maxAckDelay)))
	if !slices.Contains(welcome.GetCapabilities(), kpng.Capability_CAPABILITY_ACKNOWLEDGE) {
		maxDelay = -1
	}
	return stream, maxDelay, nil
}

// sendError returns why Send has failed. It returns io.EOF if the stream has ended, and Recv has the
// reason, after the messages that the server has sent before.
func sendError[Q, R any](stream Stream[Q, R], err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

// digestsPerMessage keeps a message at 64 KiB.
const digestsPerMessage = 8192

func (c *Client[Q, R]) sendHeldDigests(stream Stream[Q, R]) error {
	digests := c.State.HeldDigests()
	for last := false; !last; {
		n := min(len(digests), digestsPerMessage)
		last = n == len(digests)
		if err := stream.Send(c.Held(&kpng.HeldDigests{Digests: digests[:n], Last: last})); err != nil {
			return err
		}
		digests = digests[n:]
	}
	return nil
}

// sendAcks sends acknowledgements until the stream ends. The receiver returns the error.
func (c *Client[Q, R]) sendAcks(ctx context.Context, stream Stream[Q, R], maxDelay time.Duration) {
	for {
		ack, ok := c.Acks.Next(ctx, maxDelay)
		if !ok || stream.Send(c.Ack(ack)) != nil {
			return
		}
	}
}
