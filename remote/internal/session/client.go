// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
)

// An Response is what servers of a protocol say.
type Response interface {
	GetWelcome() *kpng.Welcome
	GetCommit() *kpng.Commit
}

// A ClientState is what a client knows: what servers have said up to the last commit, and,
// apart from it, what one has said since. One goroutine calls it.
type ClientState[A any] interface {
	// HeldXor returns what is said in hello of what the client holds.
	HeldXor() (root uint64, count uint32)
	// HeldDigests returns the digests of all that the client holds.
	HeldDigests() []uint64
	// StartStream forgets what was heard since the last commit: there is a new stream. With
	// startOver, what is held ends with the first commit.
	StartStream(startOver bool)
	// Apply takes in a message; with a commit, all since the last one takes effect. After
	// an error nothing of it has.
	Apply(in A) error
	// Invalidate makes the next stream start over, as if the client held nothing.
	Invalidate()
}

// A Client follows servers in a protocol whose clients say Q and whose servers say A.
type Client[Q any, A Response] struct {
	// ClientName is what the client calls itself.
	ClientName   string
	Capabilities []kpng.Capability
	// Servers are all of one cluster. MaxReconnect bounds the pause between attempts.
	Servers      []grpc.ClientConnInterface
	MaxReconnect time.Duration
	// Open begins a stream; the others put words into the protocol.
	Open  func(context.Context, grpc.ClientConnInterface) (Stream[Q, A], error)
	Hello func(*kpng.Hello) Q
	Held  func(*kpng.HeldDigests) Q
	Ack   func(*kpng.Ack) Q

	State  ClientState[A]
	Acks   *AckQueue
	Logger *slog.Logger
	// LostMessage is what to log when a server is lost.
	LostMessage string
	// OnSynced, when not nil, is told with the first commit of a stream that a server is
	// heard, and with the end of the stream that none is.
	OnSynced func(heard bool)

	outage outage
}

// A Stream is a stream of gRPC.
type Stream[Q, A any] interface {
	Send(Q) error
	Recv() (A, error)
}

// Run watches one server after the other until ctx is done.
func (c *Client[Q, A]) Run(ctx context.Context) {
	c.outage = outage{logger: c.Logger, message: c.LostMessage}
	retry := Retry{Max: c.MaxReconnect, Servers: len(c.Servers)}
	retry.Run(ctx, func(server int) (progress bool) {
		progress, err := c.watch(ctx, server)
		if ctx.Err() == nil {
			c.outage.lost(ctx, serverName(c.Servers, server), err)
		}
		return progress
	})
}

// welcomeTimeout is how long a server may take to welcome a client, and to hear what it
// holds. One that waits for its own facts takes as long; another may have them.
const welcomeTimeout = 10 * time.Second

var errNoWelcome = errors.New("the server does not answer; it may not know everything yet")

// watch is one stream. It reports whether the server has said anything of use.
func (c *Client[Q, A]) watch(ctx context.Context, server int) (progress bool, err error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	cancel := func() { giveUp(nil) }
	defer cancel()
	answered := time.AfterFunc(welcomeTimeout, func() { giveUp(errNoWelcome) }).Stop
	stream, within, err := c.greet(ctx, c.Servers[server])
	if !answered() {
		return false, errNoWelcome
	}
	if err != nil {
		return false, err
	}
	acks := make(chan struct{})
	go func() {
		defer close(acks)
		if within >= 0 {
			c.acknowledge(ctx, stream, within)
		}
	}()
	defer func() { cancel(); <-acks }()
	for {
		in, err := stream.Recv()
		if err != nil {
			return progress, err
		}
		first := !progress && in.GetCommit() != nil
		if err := c.State.Apply(in); err != nil {
			c.State.Invalidate()
			// Not progress, whatever came before: the next attempt may be as vain.
			return false, fmt.Errorf("the server's words make no sense, will start over: %w", err)
		}
		if first {
			progress = true
			c.outage.restored(ctx, serverName(c.Servers, server))
			c.contact(true)
			defer c.contact(false)
		}
	}
}

func (c *Client[Q, A]) contact(heard bool) {
	if c.OnSynced != nil {
		c.OnSynced(heard)
	}
}

// maxAckWithin is how long a client keeps acknowledgements to itself, whatever the server
// says.
const maxAckWithin = 10 * time.Second

// greet begins a stream, to the point where the server tells what is new. It returns also
// within which time the server wants acknowledgements, less than 0 if it wants none.
func (c *Client[Q, A]) greet(ctx context.Context, server grpc.ClientConnInterface) (_ Stream[Q, A], within time.Duration, err error) {
	stream, err := c.Open(ctx, server)
	if err != nil {
		return nil, 0, err
	}
	root, count := c.State.HeldXor()
	hello := &kpng.Hello{Client: c.ClientName, HeldDigestsXor: root, HeldCount: count, Capabilities: c.Capabilities}
	if stream.Send(c.Hello(hello)) != nil {
		_, err = stream.Recv() // says why
		return nil, 0, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, 0, err
	}
	welcome := first.GetWelcome()
	if welcome == nil {
		return nil, 0, errors.New("the server does not begin with welcome")
	}
	if welcome.GetSendDigests() {
		if c.sayHeld(stream) != nil {
			_, err = stream.Recv() // says why
			return nil, 0, err
		}
	}
	// Who has said that it holds nothing is told everything.
	c.State.StartStream(welcome.GetFullSync() || count == 0)
	within = time.Duration(min(welcome.GetMaxAckDelayNs(), uint64(maxAckWithin)))
	if !slices.Contains(welcome.GetCapabilities(), kpng.Capability_CAPABILITY_ACKNOWLEDGE) {
		within = -1
	}
	return stream, within, nil
}

// heldChunk is how many digests a message has.
const heldChunk = 8192

func (c *Client[Q, A]) sayHeld(stream Stream[Q, A]) error {
	digests := c.State.HeldDigests()
	for last := false; !last; {
		n := min(len(digests), heldChunk)
		last = n == len(digests)
		if err := stream.Send(c.Held(&kpng.HeldDigests{Digests: digests[:n], Last: last})); err != nil {
			return err
		}
		digests = digests[n:]
	}
	return nil
}

// acknowledge tells the server what has been applied.
func (c *Client[Q, A]) acknowledge(ctx context.Context, stream Stream[Q, A], within time.Duration) {
	for {
		ack, ok := c.Acks.Next(ctx, within)
		if !ok || stream.Send(c.Ack(ack)) != nil {
			return // the receiver hears why
		}
	}
}
