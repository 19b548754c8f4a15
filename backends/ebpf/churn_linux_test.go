// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

const (
	churnTime        = 3 * time.Second
	churnConnects    = time.Millisecond     // a connection each
	churnRevisions   = 5 * time.Millisecond // a revision each
	churnedEndpoints = 3
)

// churnedEndpoint returns the endpoint with a number. Revision r has those from r on, so that each
// revision adds one and removes one, and none comes back.
func churnedEndpoint(n int64) string {
	return fmt.Sprintf("10.1.%d.%d:8080", n/250, 1+n%250)
}

// A revisionLog has the numbers of the last revision that began to be applied, and of the last one
// that was applied.
type revisionLog struct{ begun, applied atomic.Int64 }

// TestChurn: with 1,000 connections a second while the endpoints change, no connection and no packet
// of an unconnected socket reaches an endpoint that the revision applied before does not have.
func TestChurn(t *testing.T) {
	b := newBed(t, Config{})
	serveTCP(t, b.node, "0.0.0.0:8080", func(c net.Conn) string { return c.LocalAddr().String() })
	serveAnyUDP(t, b.node)
	var log revisionLog
	apply := func(r int64) {
		log.begun.Store(r)
		var endpoints []string
		for n := r; n < r+churnedEndpoints; n++ {
			endpoints = append(endpoints, churnedEndpoint(n))
		}
		tcp, udp := web(localsink.ProtocolTCP, nil, endpoints...), web(localsink.ProtocolUDP, nil, endpoints...)
		tcp.Ports = append(tcp.Ports, udp.Ports...)
		b.sync(tcp)
		log.applied.Store(r)
	}
	apply(1)
	ctx, cancel := context.WithTimeout(t.Context(), churnTime)
	defer cancel()
	tcp := startChurnClient(ctx, &log, func() (string, error) { return askAgain(b.pod, "tcp") })
	connected := startChurnClient(ctx, &log, func() (string, error) { return askAgain(b.pod, "udp") })
	socket := listenUDP(t, b.pod, "")
	unconnected := startChurnClient(ctx, &log, func() (string, error) {
		return sendAgain(socket, &net.UDPAddr{IP: net.IPv4(10, 96, 0, 1), Port: 80})
	})
	tick, last := time.NewTicker(churnRevisions), int64(1)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		last++
		apply(last)
	}
	for name, c := range map[string]*churnClient{"TCP": tcp, "connected UDP": connected, "unconnected UDP": unconnected} {
		c.running.Wait()
		require.NoError(t, c.err, name)
		require.Greater(t, c.used, 10, name)
		t.Logf("%s: %d in %v, with %d revisions", name, c.used, churnTime, last)
	}
}

// A churnClient reaches endpoints. Its results are valid when it has ended.
type churnClient struct {
	running sync.WaitGroup
	used    int
	err     error
}

// startChurnClient calls ask, which returns the endpoint that has answered, until ctx is done.
func startChurnClient(ctx context.Context, log *revisionLog, ask func() (string, error)) *churnClient {
	c := &churnClient{}
	c.running.Go(func() {
		tick := time.NewTicker(churnConnects)
		defer tick.Stop()
		for ctx.Err() == nil && c.err == nil {
			<-tick.C
			before := log.applied.Load()
			endpoint, err := ask()
			after := log.begun.Load()
			switch {
			case errors.Is(err, errClosedSocket):
			case err != nil:
				c.err = err
			default:
				c.used++
				c.err = checkRevision(endpoint, before, after)
			}
		}
	})
	return c
}

// checkRevision returns an error unless a revision has the endpoint.
func checkRevision(endpoint string, first, last int64) error {
	for n := first; n < last+churnedEndpoints; n++ {
		if churnedEndpoint(n) == endpoint {
			return nil
		}
	}
	return fmt.Errorf("endpoint %s is in none of the revisions %d to %d", endpoint, first, last)
}

// errClosedSocket means that the backend has closed the connected UDP socket of a removed
// endpoint before the answer.
var errClosedSocket = errors.New("socket of a removed endpoint")

func askAgain(ns *netnstest.Namespace, network string) (string, error) {
	c, err := dial(ns, network, "10.96.0.1:80")
	if err != nil {
		return "", err
	}
	defer c.Close()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // its port is free at once
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	var buf [100]byte
	_, err = c.Write([]byte("x"))
	n := 0
	if err == nil {
		n, err = c.Read(buf[:])
	}
	if network == "udp" && err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return "", fmt.Errorf("%w: %w", errClosedSocket, err)
	}
	return string(buf[:n]), err
}

func sendAgain(c net.PacketConn, to net.Addr) (string, error) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	var buf [100]byte
	if _, err := c.WriteTo([]byte("x"), to); err != nil {
		return "", err
	}
	n, _, err := c.ReadFrom(buf[:])
	return string(buf[:n]), err
}

// serveAnyUDP answers each packet to port 8080 of any address with that address, from it.
func serveAnyUDP(t *testing.T, ns *netnstest.Namespace) {
	t.Helper()
	c := listenUDP(t, ns, "0.0.0.0:8080").(*net.UDPConn)
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1) }))
	require.NoError(t, err)
	go func() {
		var buf, control [200]byte
		for {
			_, n, _, from, err := c.ReadMsgUDPAddrPort(buf[:], control[:])
			if err != nil {
				return
			}
			to, source := packetDestination(control[:n])
			_, _, _ = c.WriteMsgUDPAddrPort([]byte(netip.AddrPortFrom(to, 8080).String()), source, from)
		}
	}()
}

// packetDestination returns the destination of a packet, and the control message for an answer
// from there.
func packetDestination(control []byte) (netip.Addr, []byte) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) == 0 || len(messages[0].Data) < unix.SizeofInet4Pktinfo {
		return netip.Addr{}, nil
	}
	to := [4]byte(messages[0].Data[8:12]) // struct in_pktinfo: interface, address for answers, destination
	return netip.AddrFrom4(to), unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: to})
}
