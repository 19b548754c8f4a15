package remote_test

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

// A feather is a node that weighs next to nothing: a connection in memory whose other
// end speaks just enough HTTP/2 to be a gRPC client that receives and acknowledges. So
// what a process with a server and thousands of feathers costs is what the server costs.
type feather struct {
	flock *flight

	mu     sync.Mutex
	ready  sync.Cond
	in     []byte // for the server to read
	out    []byte // what the server has written and was not understood yet
	data   []byte // the gRPC messages within
	closed bool
}

// A flight is many feathers.
type flight struct {
	size     int
	down, up atomic.Int64
	mu       sync.Mutex
	counts   map[uint64]int
	reached  chan reached
	conns    chan net.Conn
	once     sync.Once
	closing  chan struct{}
}

func newFlight(size int) *flight {
	return &flight{
		size: size, counts: map[uint64]int{}, reached: make(chan reached, 1024),
		conns: make(chan net.Conn), closing: make(chan struct{}),
	}
}

// Accept, Close and Addr make a flight a net.Listener.
func (f *flight) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closing:
		return nil, net.ErrClosed
	}
}

func (f *flight) Close() error   { f.once.Do(func() { close(f.closing) }); return nil }
func (f *flight) Addr() net.Addr { return featherAddr{} }

type featherAddr struct{}

func (featherAddr) Network() string { return "feather" }
func (featherAddr) String() string  { return "feather" }

// takeOff connects one node after the other.
func (f *flight) takeOff(name func(int) string) {
	for i := range f.size {
		c := &feather{flock: f}
		c.ready.L = &c.mu
		c.hello(name(i))
		select {
		case f.conns <- c:
		case <-f.closing:
			return
		}
	}
}

// arrived counts the nodes that have a revision.
func (f *flight) arrived(revision uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts[revision]++; f.counts[revision] == f.size {
		delete(f.counts, revision)
		f.reached <- reached{revision, time.Now(), f.down.Load(), f.up.Load()}
	}
}

// hello writes what a client says at first.
func (c *feather) hello(node string) {
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&b, nil)
	_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	_ = framer.WriteWindowUpdate(0, 1<<31-1-65535)
	var block bytes.Buffer
	h := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", kpng.NodeService_WatchNode_FullMethodName},
		{":authority", "feather"}, {"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		_ = h.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	hello, _ := proto.Marshal(&kpng.WatchNodeRequest{Message: &kpng.WatchNodeRequest_Hello{Hello: &kpng.NodeHello{
		NodeName: node, Hello: &kpng.Hello{Client: "feather", Capabilities: []kpng.Capability{
			kpng.Capability_CAPABILITY_DELTAS, kpng.Capability_CAPABILITY_RESUME, kpng.Capability_CAPABILITY_ACKNOWLEDGE,
		}},
	}}})
	_ = framer.WriteData(1, false, grpcMessage(hello))
	c.in = b.Bytes()
}

func grpcMessage(m []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)
}

// Read gives the server what the node says.
func (c *feather) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.in) == 0 {
		if c.closed {
			return 0, io.EOF
		}
		c.ready.Wait()
	}
	n := copy(b, c.in)
	if c.in = c.in[n:]; len(c.in) == 0 {
		c.in = nil
	}
	c.flock.up.Add(int64(n))
	return n, nil
}

// Write takes what the server says, and answers at once.
func (c *feather) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.flock.down.Add(int64(len(b)))
	c.out = append(c.out, b...)
	rest := c.out
	for len(rest) >= 9 {
		size := int(rest[0])<<16 | int(rest[1])<<8 | int(rest[2])
		if len(rest) < 9+size {
			break
		}
		c.frame(http2.FrameType(rest[3]), rest[4], rest[9:9+size])
		rest = rest[9+size:]
	}
	if len(rest) == 0 {
		c.out = nil
	} else {
		c.out = append([]byte(nil), rest...)
	}
	if len(c.in) > 0 {
		c.ready.Signal()
	}
	return len(b), nil
}

func (c *feather) frame(kind http2.FrameType, flags byte, payload []byte) {
	switch kind {
	case http2.FrameSettings:
		if flags&1 == 0 {
			c.in = append(c.in, 0, 0, 0, byte(http2.FrameSettings), 1, 0, 0, 0, 0)
		}
	case http2.FramePing:
		if flags&1 == 0 {
			c.in = append(append(c.in, 0, 0, 8, byte(http2.FramePing), 1, 0, 0, 0, 0), payload...)
		}
	case http2.FrameData:
		c.data = append(c.data, payload...)
		c.messages()
	}
}

// messages acknowledges the commits among what has come.
func (c *feather) messages() {
	rest := c.data
	for len(rest) >= 5 {
		size := int(binary.BigEndian.Uint32(rest[1:]))
		if len(rest) < 5+size {
			break
		}
		if revision := raw(rest[5 : 5+size]).revision(); revision != 0 {
			c.acknowledge(revision)
		}
		rest = rest[5+size:]
	}
	if len(rest) == 0 {
		c.data = nil
	} else {
		c.data = append([]byte(nil), rest...)
	}
}

func (c *feather) acknowledge(revision uint64) {
	ack := protowire.AppendTag(nil, 1, protowire.VarintType)
	ack = protowire.AppendVarint(ack, revision)
	ack = protowire.AppendTag(ack, 3, protowire.VarintType)
	ack = protowire.AppendVarint(ack, 50_000)
	m := grpcMessage(append(protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.BytesType), uint64(len(ack))), ack...))
	c.in = append(c.in, byte(len(m)>>16), byte(len(m)>>8), byte(len(m)), byte(http2.FrameData), 0, 0, 0, 0, 1)
	c.in = append(c.in, m...)
	c.flock.arrived(revision)
}

// Close ends the connection.
func (c *feather) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.ready.Broadcast()
	return nil
}

func (c *feather) LocalAddr() net.Addr              { return featherAddr{} }
func (c *feather) RemoteAddr() net.Addr             { return featherAddr{} }
func (c *feather) SetDeadline(time.Time) error      { return nil }
func (c *feather) SetReadDeadline(time.Time) error  { return nil }
func (c *feather) SetWriteDeadline(time.Time) error { return nil }
