package healthcheck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func get(t *testing.T, h http.Handler) (int, map[string]any) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	var body map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	return w.Code, body
}

// TestProxyHealth follows rows HC-01 to HC-06.
func TestProxyHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fail error
		p := NewProxy(localsink.Func(func(context.Context, *localsink.Update) error { return fail }), time.Minute)
		eligible := true
		healthz, livez := p.Healthz(func() bool { return eligible }), p.Livez()
		expect := func(id string, wantHealthz, wantLivez int) {
			code, body := get(t, healthz)
			require.Equal(t, wantHealthz, code, id)
			require.Equal(t, eligible, body["nodeEligible"], id)
			require.Equal(t, wantLivez == 200, body["healthy"], id)
			code, body = get(t, livez)
			require.Equal(t, wantLivez, code, id)
			require.NotContains(t, body, "nodeEligible", id)
		}
		sync := func() { _ = p.Sync(t.Context(), &localsink.Update{}) }

		expect("starting", 200, 200)
		time.Sleep(2 * time.Minute)
		expect("HC-02b nothing ever succeeded", 503, 503)
		sync()
		expect("HC-06 heals", 200, 200)
		time.Sleep(time.Hour)
		expect("nothing outstanding", 200, 200)
		_, body := get(t, healthz)
		require.Equal(t, body["currentTime"], body["lastUpdated"], "HC-03")
		fail = errors.New("injected")
		for range 5 {
			sync()
			time.Sleep(10 * time.Second)
		}
		expect("HC-02 outstanding, in time", 200, 200)
		time.Sleep(10 * time.Second)
		expect("HC-02 at the deadline", 503, 503)
		time.Sleep(5 * time.Second)
		sync()
		expect("HC-02 trying again does not push the deadline", 503, 503)
		_, body = get(t, healthz)
		require.NotEqual(t, body["currentTime"], body["lastUpdated"])
		fail = nil
		sync()
		eligible = false
		expect("HC-04 node about to vanish", 503, 200)
	})
}

func loopback() *localsink.Node {
	return &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
}

func checked(name string, port uint16, local int) *localsink.Service {
	return &localsink.Service{
		Name:        localsink.ServiceName{Namespace: "ns", Name: name},
		HealthCheck: &localsink.HealthCheck{Port: port, LocalEndpoints: local},
	}
}

// freePort returns a TCP port that nobody has.
func freePort(t *testing.T) uint16 {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

func ask(t *testing.T, port uint16) (code int, weight string, body serviceBody) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/any/path", port))
	if err != nil {
		return 0, "", body
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &body))
	return resp.StatusCode, resp.Header.Get("X-Load-Balancing-Endpoint-Weight"), body
}

// TestServiceHealth follows rows HC-10 to HC-15 with real listeners.
func TestServiceHealth(t *testing.T) {
	defer goleak.VerifyNone(t)
	healthy := true
	var log bytes.Buffer
	s := NewServices(Config{
		Healthy: func() bool { return healthy },
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
	})
	defer s.Close()
	now := localsink.State(nil)
	move := func(services ...*localsink.Service) {
		next := sinktest.State(services...)
		require.NoError(t, s.Sync(t.Context(), sinktest.Update(loopback(), now, next)))
		now = next
	}
	a, b := freePort(t), freePort(t)

	move(checked("a", a, 0), checked("b", b, 18))
	code, _, _ := ask(t, a)
	require.Equal(t, 503, code, "HC-11 no local endpoints")
	code, weight, body := ask(t, b)
	require.Equal(t, 200, code, "HC-11")
	require.Equal(t, "18", weight, "HC-13")
	require.Equal(t, "ns", body.Service.Namespace)
	require.Equal(t, "b", body.Service.Name)
	require.EqualValues(t, 18, body.LocalEndpoints)
	require.True(t, body.ServiceProxyHealthy)

	healthy = false
	code, _, body = ask(t, b)
	require.Equal(t, 503, code, "HC-11 proxy unhealthy")
	require.False(t, body.ServiceProxyHealthy)
	healthy = true

	move(checked("a", a, 2), checked("b", b, 0))
	code, _, _ = ask(t, a)
	require.Equal(t, 200, code, "HC-12 count follows")
	code, _, _ = ask(t, b)
	require.Equal(t, 503, code, "HC-12 count follows")

	c := freePort(t)
	move(checked("a", c, 2))
	code, _, _ = ask(t, a)
	require.Zero(t, code, "HC-14 old port is closed")
	code, _, _ = ask(t, b)
	require.Zero(t, code, "HC-14 Service is gone")
	code, _, _ = ask(t, c)
	require.Equal(t, 200, code, "HC-14 new port is open")
	require.Empty(t, log.String())
	require.Empty(t, s.Unserved())

	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", b))
	require.NoError(t, err)
	move(checked("a", c, 2), checked("b", b, 1))
	move(checked("a", c, 3), checked("b", b, 1))
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("level=ERROR")), "HC-15 told once: %s", log.String())
	require.Len(t, s.Unserved(), 1)
	require.ErrorContains(t, s.Unserved()[localsink.ServiceName{Namespace: "ns", Name: "b"}], "Service ns/b: spec.healthCheckNodePort")
	code, _, _ = ask(t, c)
	require.Equal(t, 200, code, "HC-15 others go on")
	require.NoError(t, taken.Close())
	s.retry.Reset(0)
	<-s.Damaged()
	require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: loopback(), All: now}))
	code, _, _ = ask(t, b)
	require.Equal(t, 200, code, "HC-15 tried again")
	require.Empty(t, s.Unserved())

	taken, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", a))
	require.NoError(t, err)
	defer taken.Close()
	move(checked("a", c, 3), checked("b", a, 1))
	require.Len(t, s.Unserved(), 1)
	move(checked("a", c, 3))
	require.Empty(t, s.Unserved(), "nobody wants it any more")
	move(checked("b", c, 1))
	code, _, body = ask(t, c)
	require.Equal(t, 200, code, "a port moves from one Service to another")
	require.Equal(t, "b", body.Service.Name)
}

// TestTimers: nobody is woken for nothing, and whoever fails is tried again in time.
func TestTimers(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	port := uint16(taken.Addr().(*net.TCPAddr).Port)
	synctest.Test(t, func(t *testing.T) {
		s := NewServices(Config{})
		woken := func() bool {
			synctest.Wait()
			select {
			case <-s.Damaged():
				return true
			default:
				return false
			}
		}
		time.Sleep(48 * time.Hour)
		require.False(t, woken(), "there is nothing to do")
		require.NoError(t, s.Sync(t.Context(), sinktest.Update(loopback(), nil, sinktest.State(checked("a", port, 1)))))
		require.Len(t, s.Unserved(), 1)
		time.Sleep(retryAfter - time.Nanosecond)
		require.False(t, woken())
		time.Sleep(time.Nanosecond)
		require.True(t, woken(), "HC-15 tried again")

		everywhere := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
		s.interfaces = func() ([]net.Addr, error) { return nil, nil }
		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: everywhere, All: sinktest.State(checked("a", port, 1))}))
		require.Empty(t, s.Unserved())
		time.Sleep(listAfter - time.Nanosecond)
		require.False(t, woken())
		time.Sleep(time.Nanosecond)
		require.True(t, woken(), "addresses may have come")
		s.interfaces = func() ([]net.Addr, error) { return nil, errors.New("injected") }
		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: everywhere, All: sinktest.State()}))
		time.Sleep(retryAfter)
		require.True(t, woken(), "they could not be listed")

		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: loopback(), All: sinktest.State()}))
		s.list.Reset(time.Hour)
		s.Close()
		time.Sleep(48 * time.Hour)
		require.False(t, woken(), "it is closed")
	})
}

// TestOnlyWhatHasChanged: a Sync leaves alone what it was not told of.
func TestOnlyWhatHasChanged(t *testing.T) {
	s := NewServices(Config{})
	defer s.Close()
	a, b := checked("a", freePort(t), 1), checked("b", freePort(t), 1)
	loopback := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/30")}}
	listed := 0
	s.interfaces = func() ([]net.Addr, error) {
		listed++
		return net.InterfaceAddrs()
	}
	require.NoError(t, s.Sync(t.Context(), sinktest.Update(loopback, nil, sinktest.State(a, b))))
	require.False(t, s.retry.Stop(), "nothing is to be tried again")
	code, _, _ := ask(t, a.HealthCheck.Port)
	require.Equal(t, 200, code, "without Healthy, the proxy is healthy")
	s.checks[a.Name].close(nil)
	for range 3 {
		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: loopback, All: sinktest.State(a, b), Changed: []*localsink.Service{b}}))
	}
	require.Equal(t, 1, listed)
	code, _, _ = ask(t, a.HealthCheck.Port)
	require.Zero(t, code, "nobody looked")
	code, _, _ = ask(t, b.HealthCheck.Port)
	require.Equal(t, 200, code)
}

// TestClosed: what is closed is closed at once, and its connections with it.
func TestClosed(t *testing.T) {
	s := NewServices(Config{})
	defer s.Close()
	port, now := freePort(t), localsink.State(nil)
	for i := range 200 { // a listener that is closed late would be in the way of the next
		next := sinktest.State(checked(fmt.Sprint(i%2), port, 1))
		require.NoError(t, s.Sync(t.Context(), sinktest.Update(loopback(), now, next)))
		require.Empty(t, s.Unserved())
		now = next
	}
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	buf := make([]byte, 4096)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	n, err := c.Read(buf)
	require.NoError(t, err)
	require.Contains(t, string(buf[:n]), "200 OK")
	require.NoError(t, s.Sync(t.Context(), sinktest.Update(loopback(), now, sinktest.State())))
	_, err = io.ReadAll(c)
	require.NoError(t, err, "it ends, and not by the deadline")
}
