// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
)

// A fakeClient is an in-memory connection with a minimal HTTP/2 and gRPC client that
// receives and acknowledges updates. Its CPU time and memory are negligible, so that the cost
// of a process with a server and thousands of fakeClients is that of the server.
type fakeClient struct {
	// The fields that each update needs come first, to share cache lines.
	group   *fakeClients
	mu      sync.Mutex
	out     partial  // incomplete HTTP/2 frame from the server
	data    partial  // incomplete gRPC message
	commits []uint64 // revisions to acknowledge
	closed  bool

	in    []byte // to the server
	ready sync.Cond
	ack   []byte // buffer of flush
}

// A partial holds the start of a frame or message until the rest arrives. All fakeClients
// share a pool of buffers, so that only the server produces garbage.
type partial struct{ b *[]byte }

var partialPool = sync.Pool{New: func() any { b := make([]byte, 0, 128<<10); return &b }} //nolint:gochecknoglobals // shared by all connections

// with returns the held bytes followed by more.
func (p *partial) with(more []byte) []byte {
	if p.b == nil {
		return more
	}
	*p.b = append(*p.b, more...)
	return *p.b
}

// save holds the unprocessed end of the last result of with.
func (p *partial) save(end []byte) {
	switch {
	case len(end) > 0 && p.b == nil:
		p.b, _ = partialPool.Get().(*[]byte)
		*p.b = append((*p.b)[:0], end...)
	case len(end) > 0:
		*p.b = append((*p.b)[:0], end...)
	case p.b != nil:
		partialPool.Put(p.b)
		p.b = nil
	}
}

// fakeClients is a net.Listener whose connections are fakeClients.
//
// down and up count bytes from and to the server; counts is the number of clients that have
// received a revision.
type fakeClients struct {
	size     int
	down, up atomic.Int64
	mu       sync.Mutex
	counts   map[uint64]int
	reached  chan allReceived
	conns    chan net.Conn
	all      []*fakeClient
	once     sync.Once
	closing  chan struct{}
}

func newFakeClients(size int) *fakeClients {
	return &fakeClients{
		size: size, counts: map[uint64]int{}, reached: make(chan allReceived, 1024),
		conns: make(chan net.Conn), closing: make(chan struct{}),
	}
}

// Accept implements net.Listener.
func (f *fakeClients) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closing:
		return nil, net.ErrClosed
	}
}

func (f *fakeClients) Close() error   { f.once.Do(func() { close(f.closing) }); return nil }
func (f *fakeClients) Addr() net.Addr { return fakeAddr{} }

type fakeAddr struct{}

func (fakeAddr) Network() string { return "fake" }
func (fakeAddr) String() string  { return "fake" }

// connect opens all connections and then flushes acknowledgements until Close.
func (f *fakeClients) connect(name func(int) string) {
	for i := range f.size {
		c := &fakeClient{group: f}
		c.ready.L = &c.mu
		c.hello(name(i))
		select {
		case f.conns <- c:
		case <-f.closing:
			return
		}
		f.all = append(f.all, c)
	}
	ticker := time.NewTicker(fakeAckDelay)
	defer ticker.Stop()
	for {
		select {
		case <-f.closing:
			return
		case <-ticker.C:
			for _, c := range f.all {
				c.mu.Lock()
				c.flush()
				c.mu.Unlock()
			}
		}
	}
}

// received counts a client that has received a revision.
func (f *fakeClients) received(revision uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts[revision]++; f.counts[revision] == f.size {
		delete(f.counts, revision)
		f.reached <- allReceived{revision, time.Now(), f.down.Load(), f.up.Load()}
	}
}

// hello writes the HTTP/2 preface, the headers and the hello message.
func (c *fakeClient) hello(node string) {
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&b, nil)
	_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	_ = framer.WriteWindowUpdate(0, 1<<31-1-65535)
	var block bytes.Buffer
	h := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", kpng.NodeService_WatchNode_FullMethodName},
		{":authority", "fake"}, {"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		_ = h.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	hello, _ := proto.Marshal(&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Hello{Hello: &kpng.NodeHello{
		NodeName: node, Hello: &kpng.Hello{Client: "fake", Capabilities: []kpng.Capability{
			kpng.Capability_CAPABILITY_DELTAS, kpng.Capability_CAPABILITY_RESUME, kpng.Capability_CAPABILITY_ACKNOWLEDGE,
			kpng.Capability_CAPABILITY_ORIGINS,
		}},
	}}})
	_ = framer.WriteData(1, false, grpcMessage(hello))
	c.in = b.Bytes()
}

func grpcMessage(m []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)
}

// Read returns bytes of the client to the server.
func (c *fakeClient) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.in) == 0 {
		if c.closed {
			return 0, io.EOF
		}
		c.ready.Wait()
	}
	n := copy(b, c.in)
	c.in = append(c.in[:0], c.in[n:]...)
	c.group.up.Add(int64(n))
	return n, nil
}

// Write processes bytes of the server, and answers at once.
func (c *fakeClient) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.group.down.Add(int64(len(b)))
	n := len(b)
	b = c.out.with(b)
	for len(b) >= 9 {
		size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if len(b) < 9+size {
			break
		}
		c.frame(http2.FrameType(b[3]), b[4], b[9:9+size])
		b = b[9+size:]
	}
	c.out.save(b)
	return n, nil
}

func (c *fakeClient) frame(kind http2.FrameType, flags byte, payload []byte) {
	switch kind {
	case http2.FrameSettings:
		if flags&1 == 0 {
			c.in = append(c.in, 0, 0, 0, byte(http2.FrameSettings), 1, 0, 0, 0, 0)
			c.ready.Signal()
		}
	case http2.FramePing:
		if flags&1 == 0 {
			c.in = append(append(c.in, 0, 0, 8, byte(http2.FramePing), 1, 0, 0, 0, 0), payload...)
			c.ready.Signal()
		}
	case http2.FrameData:
		c.data.save(c.messages(c.data.with(payload)))
	}
}

// messages acknowledges the Commits in complete messages and returns the incomplete rest.
func (c *fakeClient) messages(b []byte) (rest []byte) {
	for len(b) >= 5 {
		size := int(binary.BigEndian.Uint32(b[1:]))
		if len(b) < 5+size {
			break
		}
		if revision := rawResponse(b[5 : 5+size]).revision(); revision != 0 {
			c.acknowledge(revision)
		}
		b = b[5+size:]
	}
	return b
}

// fakeAckDelay is the delay of acknowledgements, like the default of servers.
const fakeAckDelay = 500 * time.Millisecond

// acknowledge queues an acknowledgement, to send several together.
func (c *fakeClient) acknowledge(revision uint64) {
	if c.commits = append(c.commits, revision); len(c.commits) >= 32 {
		c.flush()
	}
	c.group.received(revision)
}

// flush sends the queued acknowledgements in one message.
func (c *fakeClient) flush() {
	n := len(c.commits)
	if n == 0 {
		return
	}
	// Encodes a [kpng.WatchNodeRequest] without allocation.
	start := len(c.in)
	c.in = append(c.in, 0, 0, 0, byte(http2.FrameData), 0, 0, 0, 0, 1, 0, 0, 0, 0, 0)
	ack := c.ack[:0]
	var buffer [32]byte
	for _, r := range c.commits[:n-1] {
		ack = protowire.AppendTag(ack, 5, protowire.BytesType)
		ack = protowire.AppendBytes(ack, appendAck(buffer[:0], r, 100_000_000))
	}
	c.ack = appendAck(ack, c.commits[n-1], 0)
	c.in = protowire.AppendTag(c.in, 3, protowire.BytesType)
	c.in = protowire.AppendBytes(c.in, c.ack)
	size := len(c.in) - start - 9
	c.in[start+1], c.in[start+2] = byte(size>>8), byte(size)
	binary.BigEndian.PutUint32(c.in[start+10:], uint32(size-5))
	c.commits = c.commits[:0]
	c.ready.Signal()
}

func appendAck(b []byte, revision, age uint64) []byte {
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, revision)
	b = protowire.AppendTag(b, 3, protowire.VarintType)
	b = protowire.AppendVarint(b, 50_000)
	if age > 0 {
		b = protowire.AppendTag(b, 4, protowire.VarintType)
		b = protowire.AppendVarint(b, age)
	}
	return b
}

// Close ends the connection.
func (c *fakeClient) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.ready.Broadcast()
	return nil
}

func (c *fakeClient) LocalAddr() net.Addr              { return fakeAddr{} }
func (c *fakeClient) RemoteAddr() net.Addr             { return fakeAddr{} }
func (c *fakeClient) SetDeadline(time.Time) error      { return nil }
func (c *fakeClient) SetReadDeadline(time.Time) error  { return nil }
func (c *fakeClient) SetWriteDeadline(time.Time) error { return nil }
