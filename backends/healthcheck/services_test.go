// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestResyncTimers: resyncs are requested in time for failures, and not otherwise.
func TestResyncTimers(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	port := uint16(taken.Addr().(*net.TCPAddr).Port)
	synctest.Test(t, func(t *testing.T) {
		s := newServices(t)
		resyncRequested := func() bool {
			synctest.Wait()
			select {
			case <-s.ResyncRequested():
				return true
			default:
				return false
			}
		}
		time.Sleep(48 * time.Hour)
		require.False(t, resyncRequested(), "there is nothing to retry")
		require.NoError(t, s.Sync(t.Context(), sinktest.NewUpdate(loopback(), nil, sinktest.NewState(newService("a", port, 1)))))
		require.Len(t, s.NotProgrammed(), 1)
		time.Sleep(retryInterval - time.Nanosecond)
		require.False(t, resyncRequested())
		time.Sleep(time.Nanosecond)
		require.True(t, resyncRequested(), "HC-15 a failed port is retried")

		withNetwork := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
		s.server.cfg.InterfaceAddrs = func() ([]net.Addr, error) { return nil, nil }
		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: withNetwork, All: sinktest.NewState(newService("a", port, 1))}))
		require.Empty(t, s.NotProgrammed())
		time.Sleep(listInterval - time.Nanosecond)
		require.False(t, resyncRequested())
		time.Sleep(time.Nanosecond)
		require.True(t, resyncRequested(), "addresses are listed again")
		s.server.cfg.InterfaceAddrs = func() ([]net.Addr, error) { return nil, errors.New("injected") }
		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: withNetwork, All: sinktest.NewState()}))
		time.Sleep(retryInterval)
		require.True(t, resyncRequested(), "a failed list is retried")

		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: loopback(), All: sinktest.NewState()}))
		s.server.listTimer.Reset(time.Hour)
		require.NoError(t, s.Close())
		time.Sleep(48 * time.Hour)
		require.False(t, resyncRequested(), "no resync after Close")
	})
}

// TestSyncExaminesChangedServicesOnly closes a listener outside of Sync: an update
// of another Service does not open it again.
func TestSyncExaminesChangedServicesOnly(t *testing.T) {
	s := newServices(t)
	defer func() { require.NoError(t, s.Close()) }()
	a, b := newService("a", freePort(t), 1), newService("b", freePort(t), 1)
	loopback := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/30")}}
	listed := 0
	s.server.cfg.InterfaceAddrs = func() ([]net.Addr, error) {
		listed++
		return net.InterfaceAddrs()
	}
	require.NoError(t, s.Sync(t.Context(), sinktest.NewUpdate(loopback, nil, sinktest.NewState(a, b))))
	require.False(t, s.server.retryTimer.Stop(), "no retry is scheduled")
	code, _, _ := getCheck(t, a.HealthCheck.Port)
	require.Equal(t, 200, code, "without Config.Healthy, the proxy is healthy")
	s.server.checks[a.Name].closeAllExcept(nil)
	for range 3 {
		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: loopback, All: sinktest.NewState(a, b), Changed: []*localsink.Service{b}}))
	}
	require.Equal(t, 1, listed)
	code, _, _ = getCheck(t, a.HealthCheck.Port)
	require.Zero(t, code, "Sync does not examine an unchanged Service")
	code, _, _ = getCheck(t, b.HealthCheck.Port)
	require.Equal(t, 200, code)
}

// TestPortsCloseImmediately: a removed port and its connections are closed when Sync returns.
func TestPortsCloseImmediately(t *testing.T) {
	s := newServices(t)
	defer func() { require.NoError(t, s.Close()) }()
	port, current := freePort(t), localsink.State(nil)
	for i := range 200 { // a listener closed late would keep the next from opening
		next := sinktest.NewState(newService(fmt.Sprint(i%2), port, 1))
		require.NoError(t, s.Sync(t.Context(), sinktest.NewUpdate(loopback(), current, next)))
		require.Empty(t, s.NotProgrammed())
		current = next
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
	require.NoError(t, s.Sync(t.Context(), sinktest.NewUpdate(loopback(), current, sinktest.NewState())))
	_, err = io.ReadAll(c)
	require.NoError(t, err, "the server closes the connection before the deadline")
}

// TestListenersAndErrorsGoThroughTheConfig checks that a program can bound the
// connections of health check ports, and gets the answers of their servers.
func TestListenersAndErrorsGoThroughTheConfig(t *testing.T) {
	var errorLog bytes.Buffer
	opened := 0
	s, err := NewServices(Config{
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			if opened++; opened > 1 {
				return nil, errors.New("too many listeners")
			}
			return new(net.ListenConfig).Listen(ctx, network, address)
		},
		ErrorLog: log.New(&errorLog, "", 0),
	})
	require.NoError(t, err)
	port := freePort(t)
	state := sinktest.NewState(newService("a", port, 1))
	require.NoError(t, s.Sync(t.Context(), sinktest.NewUpdate(loopback(), nil, state)))
	code, _, _ := getCheck(t, port)
	require.Equal(t, 200, code)
	server := s.server.checks[localsink.ServiceName{Namespace: "ns", Name: "a"}].servers[netip.MustParseAddr("127.0.0.1")]
	server.ErrorLog.Print("reported")
	require.Equal(t, "reported\n", errorLog.String())
	for field, d := range map[string]time.Duration{
		"ReadHeaderTimeout": server.ReadHeaderTimeout, "ReadTimeout": server.ReadTimeout,
		"WriteTimeout": server.WriteTimeout, "IdleTimeout": server.IdleTimeout,
	} {
		require.Positive(t, d, field)
	}
	both := sinktest.NewState(newService("a", port, 1), newService("b", freePort(t), 1))
	require.NoError(t, s.Sync(t.Context(), sinktest.NewUpdate(loopback(), state, both)))
	require.ErrorContains(t, s.NotProgrammed()[localsink.ServiceName{Namespace: "ns", Name: "b"}], "too many listeners")
	require.NoError(t, s.Close())
}
