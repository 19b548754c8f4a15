// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

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
			case <-s.ResyncRequested():
				return true
			default:
				return false
			}
		}
		time.Sleep(48 * time.Hour)
		require.False(t, woken(), "there is nothing to do")
		require.NoError(t, s.Sync(t.Context(), sinktest.NewUpdate(loopback(), nil, sinktest.NewState(checked("a", port, 1)))))
		require.Len(t, s.NotProgrammed(), 1)
		time.Sleep(retryAfter - time.Nanosecond)
		require.False(t, woken())
		time.Sleep(time.Nanosecond)
		require.True(t, woken(), "HC-15 tried again")

		everywhere := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
		s.interfaces = func() ([]net.Addr, error) { return nil, nil }
		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: everywhere, All: sinktest.NewState(checked("a", port, 1))}))
		require.Empty(t, s.NotProgrammed())
		time.Sleep(listAfter - time.Nanosecond)
		require.False(t, woken())
		time.Sleep(time.Nanosecond)
		require.True(t, woken(), "addresses may have come")
		s.interfaces = func() ([]net.Addr, error) { return nil, errors.New("injected") }
		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: everywhere, All: sinktest.NewState()}))
		time.Sleep(retryAfter)
		require.True(t, woken(), "they could not be listed")

		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: loopback(), All: sinktest.NewState()}))
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
	require.NoError(t, s.Sync(t.Context(), sinktest.NewUpdate(loopback, nil, sinktest.NewState(a, b))))
	require.False(t, s.retry.Stop(), "nothing is to be tried again")
	code, _, _ := ask(t, a.HealthCheck.Port)
	require.Equal(t, 200, code, "without Healthy, the proxy is healthy")
	s.checks[a.Name].close(nil)
	for range 3 {
		require.NoError(t, s.Sync(t.Context(), &localsink.Update{Node: loopback, All: sinktest.NewState(a, b), Changed: []*localsink.Service{b}}))
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
		next := sinktest.NewState(checked(fmt.Sprint(i%2), port, 1))
		require.NoError(t, s.Sync(t.Context(), sinktest.NewUpdate(loopback(), now, next)))
		require.Empty(t, s.NotProgrammed())
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
	require.NoError(t, s.Sync(t.Context(), sinktest.NewUpdate(loopback(), now, sinktest.NewState())))
	_, err = io.ReadAll(c)
	require.NoError(t, err, "it ends, and not by the deadline")
}
