package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/internal/session"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/feed"
)

// A ClientConfig says which node a client is, and how it works.
type ClientConfig struct {
	// NodeName is the name of the node. Required.
	NodeName string
	// Client is what the client calls itself to the server; it is for people.
	Client string
	// MinInterval is the least time between the end of one Sync and the beginning of the
	// next. Zero hurries.
	MinInterval time.Duration
	// MaxBackoff bounds the time between attempts at a Sync that fails. Zero means 30 s.
	MaxBackoff time.Duration
	// MaxReconnect bounds the time between attempts to reach a server, which grows from
	// 100 ms, with jitter. Zero means 10 s.
	MaxReconnect time.Duration
	// Logger hears what is of interest to operators; nil is silent.
	Logger *slog.Logger
}

// A Client is one node's end: it feeds a sink with what servers say. What it knows, and
// what the sink has programmed, outlives every disconnect.
type Client struct {
	cfg     ClientConfig
	servers []grpc.ClientConnInterface
	mirror  *mirror
}

// NewClient returns a client of one or more servers, all of one cluster: connections are
// the caller's, and stay open. When one fails the next is tried. The error names what is
// wrong.
func NewClient(cfg ClientConfig, servers ...grpc.ClientConnInterface) (*Client, error) {
	var err error
	if cfg.NodeName == "" {
		err = errors.Join(err, errors.New("NodeName: required"))
	}
	if len(servers) == 0 {
		err = errors.Join(err, errors.New("there is no server"))
	}
	if cfg.MinInterval < 0 || cfg.MaxBackoff < 0 || cfg.MaxReconnect < 0 {
		err = errors.Join(err, errors.New("MinInterval, MaxBackoff, MaxReconnect: must not be negative"))
	}
	if err != nil {
		return nil, fmt.Errorf("remote: bad ClientConfig: %w", err)
	}
	cfg.MaxReconnect = cmp.Or(cfg.MaxReconnect, 10*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{cfg: cfg, servers: servers, mirror: newMirror(cfg.NodeName)}, nil
}

// Run keeps sink in line with what servers say until ctx is done, and then returns nil.
// The sink hears nothing before a server has said everything: what an earlier process
// left in place keeps working until then. A sink that fails is tried again for ever, and
// so are servers. It is called once.
func (c *Client) Run(ctx context.Context, sink localsink.Sink) error {
	if sink == nil {
		return errors.New("remote: no sink")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mirror.lacks = feed.Lacks(sink)
	ended := make(chan struct{})
	go func() { defer close(ended); c.follow(ctx) }()
	defer func() { cancel(); <-ended }()
	select {
	case <-c.mirror.complete:
	case <-ctx.Done():
		return nil
	}
	return feed.Run(ctx, feed.New(c.mirror.present()), c.mirror, sink, feed.Config{
		MinInterval: c.cfg.MinInterval, MaxBackoff: c.cfg.MaxBackoff, Logger: c.cfg.Logger, Done: c.mirror.done,
	})
}

// follow watches one server after the other.
func (c *Client) follow(ctx context.Context) {
	retry := session.Retry{Max: c.cfg.MaxReconnect, Servers: len(c.servers)}
	retry.Run(ctx, func(server int) (progress bool) {
		progress, err := c.watch(ctx, c.servers[server])
		if ctx.Err() == nil {
			c.cfg.Logger.WarnContext(ctx, "Lost the server, will try again; Services stay as they are",
				"server", server, "err", err)
		}
		return progress
	})
}

// welcomeTimeout is how long a server may take to welcome a client, and to hear what it
// holds. One that waits for its own facts takes as long.
const welcomeTimeout = 30 * time.Second

var errLate = errors.New("remote: the server does not answer")

// watch is one stream. It reports whether the server has said anything of use.
func (c *Client) watch(ctx context.Context, server grpc.ClientConnInterface) (progress bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	cancel := func() { end(context.Canceled) }
	defer cancel()
	// A server that accepts and never answers is none; another may be better.
	late := time.AfterFunc(welcomeTimeout, func() { end(errLate) })
	defer func() {
		if late.Stop(); errors.Is(context.Cause(ctx), errLate) {
			err = errLate
		}
	}()
	stream, err := kpng.NewNodeServiceClient(server).WatchNode(ctx)
	if err != nil {
		return false, err
	}
	root, count := c.mirror.held()
	err = stream.Send(&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Hello{Hello: &kpng.NodeHello{
		Hello: &kpng.Hello{
			Client: c.cfg.Client, HeldRoot: root, HeldCount: count,
			Capabilities: []kpng.Capability{
				kpng.Capability_CAPABILITY_DELTAS, kpng.Capability_CAPABILITY_RESUME, kpng.Capability_CAPABILITY_ACKNOWLEDGE,
			},
		},
		NodeName: c.cfg.NodeName,
		Lacks:    toFeatures(c.mirror.lacks),
	}}})
	if err != nil {
		_, err = stream.Recv() // says why
		return false, err
	}
	welcome, err := stream.Recv()
	if err != nil {
		return false, err
	}
	if welcome.GetWelcome() == nil {
		return false, errors.New("remote: the server does not begin with welcome")
	}
	if welcome.GetWelcome().GetSendHeld() {
		if err := c.sayHeld(stream); err != nil {
			return false, err
		}
	}
	late.Stop()
	c.mirror.begin(welcome.GetWelcome().GetStartOver())
	acks := make(chan struct{})
	go func() { defer close(acks); c.acknowledge(ctx, stream) }()
	defer func() { cancel(); <-acks }()
	for {
		in, err := stream.Recv()
		if err != nil {
			return progress, err
		}
		if err := c.mirror.hear(in); err != nil {
			c.mirror.distrust()
			// Not progress, whatever came before: the next attempt may be as vain.
			return false, fmt.Errorf("remote: the server's words make no sense, will start over: %w", err)
		}
		progress = progress || in.GetCommit() != nil
	}
}

// heldChunk is how many digests a message has.
const heldChunk = 8192

func (c *Client) sayHeld(stream kpng.NodeService_WatchNodeClient) error {
	digests := c.mirror.digests()
	for last := false; !last; {
		n := min(len(digests), heldChunk)
		last = n == len(digests)
		err := stream.Send(&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Held{
			Held: &kpng.Held{Digests: digests[:n], Last: last},
		}})
		if err != nil {
			return err
		}
		digests = digests[n:]
	}
	return nil
}

// acknowledge tells the server what has been applied, the newest only.
func (c *Client) acknowledge(ctx context.Context, stream kpng.NodeService_WatchNodeClient) {
	for {
		ack, ok := c.mirror.nextAck(ctx)
		if !ok {
			return
		}
		if stream.Send(&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Ack{Ack: ack}}) != nil {
			return // the receiver hears why
		}
	}
}
