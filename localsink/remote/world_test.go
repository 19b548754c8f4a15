package remote_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/nodelocal"
	"sigs.k8s.io/kpng/localsink/remote"
	"sigs.k8s.io/kpng/watchers"
)

// A site is a place where servers run, one after the other, and clients find the
// present one.
type site struct {
	t        *testing.T
	store    *watchers.Store
	cfg      remote.ServerConfig
	mu       sync.Mutex
	listener *bufconn.Listener
	stop     func()
	server   *remote.Server
}

func newSite(t *testing.T, store *watchers.Store, cfg remote.ServerConfig) *site {
	s := &site{t: t, store: store, cfg: cfg}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// start runs a new server, which knows nothing of earlier ones.
func (s *site) start() {
	server, err := remote.NewServer(s.store, s.cfg)
	require.NoError(s.t, err)
	g := grpc.NewServer(remote.ServerOption())
	server.Register(g)
	server.RegisterInspect(g)
	listener := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.Serve(listener) })
	running.Go(func() { _ = server.Run(ctx) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener, s.server = listener, server
	s.stop = func() {
		g.Stop()
		cancel()
		running.Wait()
		server.Close()
	}
}

// restart kills the server, and starts another.
func (s *site) restart() {
	s.stop()
	s.start()
}

func (s *site) dial() *grpc.ClientConn {
	conn, err := grpc.NewClient("passthrough:///site",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			s.mu.Lock()
			l := s.listener
			s.mu.Unlock()
			return l.DialContext(ctx)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// A keeper is a sink that keeps what it accepted last.
type keeper struct {
	mu      sync.Mutex
	last    *localsink.Update
	syncs   int
	changed chan struct{}
}

func newKeeper() *keeper { return &keeper{changed: make(chan struct{})} }

func (k *keeper) Sync(_ context.Context, u *localsink.Update) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = u
	k.syncs++
	close(k.changed)
	k.changed = make(chan struct{})
	return nil
}

func (k *keeper) present() (*localsink.Update, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last, k.changed
}

// wait returns when the keeper has accepted a state that reads so.
func (k *keeper) wait(t *testing.T, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		u, changed := k.present()
		got := ""
		if u != nil {
			got = text(u)
		}
		if got == want {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			require.Equal(t, want, got)
			t.Fatal("late")
		}
	}
}

func text(u *localsink.Update) string {
	var b strings.Builder
	n := u.Node
	b.WriteString(strings.Join([]string{n.Name, join(n.IPs), join(n.LocalPods.Networks), join(n.NodePortAddresses), join(n.ServiceNetworks)}, " | "))
	b.WriteString("\n")
	for svc := range u.All.All() {
		b.WriteString(svc.Text())
	}
	return b.String()
}

func join[T interface{ String() string }](list []T) string {
	words := make([]string, len(list))
	for i := range list {
		words[i] = list[i].String()
	}
	return strings.Join(words, " ")
}

// scratch returns what a node must do, computed at once by itself.
func scratch(t *testing.T, store *watchers.Store, cfg nodelocal.Config, node string) string {
	cfg.NodeName = node
	table, err := nodelocal.NewTable(store, cfg)
	require.NoError(t, err)
	defer table.Close()
	table.Refresh()
	return text(table.Current())
}

func run(t *testing.T, c *remote.Client, sink localsink.Sink) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, sink) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}
