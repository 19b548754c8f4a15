// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m)) }

// A testbed is a node with a backend, a client outside of the cluster, and pods, each in its own
// network namespace. The node routes between them.
type testbed struct {
	t             testing.TB
	client, node  *netnstest.Namespace
	pods          *netnstest.Namespace // all endpoints
	otherPod      *netnstest.Namespace // a pod that is not an endpoint
	backend       *Backend
	cfg           Config // of newBackend
	expectSilence bool   // shortens the timeout
}

// timeout returns how long to wait for a response.
func (w *testbed) timeout() time.Duration {
	if w.expectSilence {
		return 150 * time.Millisecond
	}
	return 2 * time.Second
}

// Addresses of the testbed. The namespace of the endpoints has podCount addresses.
const (
	nodeV4, nodeV6             = "192.0.2.1", "2001:db8:1::1"
	nodeOtherV4                = "192.0.2.77"
	clientV4, clientV6         = "192.0.2.2", "2001:db8:1::2"
	podNetV4, podNetV6         = "10.244.0.0/16", "fd00:244::/32"
	podGatewayV4, podGatewayV6 = "10.244.0.1", "fd00:244::1"
	otherPodV4, otherPodV6     = "10.244.1.2", "fd00:244:1::2"
	otherPodGatewayV4          = "10.244.1.1"
	otherPodGatewayV6          = "fd00:244:1::1"
)

func pod4(i int) string { return fmt.Sprintf("10.244.0.%d", 10+i) }
func pod6(i int) string { return fmt.Sprintf("fd00:244::%x", 0x10+i) }

const podCount = 12

func newTestbed(t testing.TB) *testbed {
	w := &testbed{t: t, client: netnstest.New(t), node: netnstest.New(t), pods: netnstest.New(t), otherPod: netnstest.New(t)}
	netnstest.Link(w.node, "outside", w.client, "eth0")
	netnstest.Link(w.node, "pods0", w.pods, "eth0")
	netnstest.Link(w.node, "pods1", w.otherPod, "eth0")
	w.node.Sysctl("net/ipv4/ip_forward", "1")
	w.node.Sysctl("net/ipv6/conf/all/forwarding", "1")
	w.node.Address("outside", nodeV4+"/24", nodeOtherV4+"/24", nodeV6+"/64")
	w.node.Address("pods0", podGatewayV4+"/24", podGatewayV6+"/64")
	w.node.Address("pods1", otherPodGatewayV4+"/24", otherPodGatewayV6+"/64")
	w.otherPod.Address("eth0", otherPodV4+"/24", otherPodV6+"/64")
	w.otherPod.Route("0.0.0.0/0", otherPodGatewayV4)
	w.otherPod.Route("::/0", otherPodGatewayV6)
	w.node.Route("0.0.0.0/0", clientV4)
	w.node.Route("::/0", clientV6)
	w.client.Address("eth0", clientV4+"/24", clientV6+"/64")
	w.client.Route("0.0.0.0/0", nodeV4)
	w.client.Route("::/0", nodeV6)
	for i := range podCount {
		w.pods.Address("eth0", pod4(i)+"/24", pod6(i)+"/64")
	}
	w.pods.Route("0.0.0.0/0", podGatewayV4)
	w.pods.Route("::/0", podGatewayV6)
	w.backend = w.newBackend()
	return w
}

func (w *testbed) newBackend() *Backend {
	w.t.Helper()
	cfg := w.cfg
	if testing.Verbose() {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	var b *Backend
	w.node.Do(func() (err error) {
		b, err = New(cfg)
		return err
	})
	w.t.Cleanup(func() { b.Close() })
	return b
}

// testNode returns the node of the testbed.
func testNode() *localsink.Node {
	return &localsink.Node{
		Name: "node",
		IPs:  []netip.Addr{netip.MustParseAddr(nodeV4), netip.MustParseAddr(nodeV6)},
		LocalPods: localsink.PodSources{Networks: []netip.Prefix{
			netip.MustParsePrefix(podNetV4), netip.MustParsePrefix(podNetV6)}},
		NodePortAddresses: []netip.Prefix{netip.MustParsePrefix(nodeV4 + "/32"), netip.MustParsePrefix("::/0")},
	}
}

// sync applies an update with these Services only, as the first update.
func (w *testbed) sync(services ...*localsink.Service) {
	w.t.Helper()
	require.NoError(w.t, w.backend.Sync(context.Background(), firstUpdate(testNode(), services...)))
}

// A response is the content of a server's response.
type response struct {
	client netip.Addr // as the server sees it
	server string     // address of the server
}

// startServers starts TCP and UDP servers in ns. They respond with "CLIENT SERVER", both as
// ADDRESS:PORT: UDP servers to each packet, TCP servers on accept, after which they echo.
func (w *testbed) startServers(ns *netnstest.Namespace, addrs ...string) {
	w.t.Helper()
	for _, addr := range addrs {
		var l net.Listener
		var p net.PacketConn
		ns.Do(func() (err error) {
			if l, err = net.Listen("tcp", addr); err != nil {
				return err
			}
			p, err = net.ListenPacket("udp", addr)
			return err
		})
		var conns sync.Map
		done := make(chan struct{}, 2)
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				conns.Store(c, true)
				go func() {
					defer c.Close()
					fmt.Fprintf(c, "%v %v\n", c.RemoteAddr(), addr)
					_, _ = io.Copy(c, c)
				}()
			}
		}()
		go func() {
			defer func() { done <- struct{}{} }()
			buf := make([]byte, 2048)
			for {
				_, from, err := p.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = p.WriteTo(fmt.Appendf(nil, "%v %v\n", from, addr), from)
			}
		}()
		w.t.Cleanup(func() {
			l.Close()
			p.Close()
			conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
			<-done
			<-done
		})
	}
}

// dial connects from ns; an empty source means any address.
func (w *testbed) dial(ns *netnstest.Namespace, network, source, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: w.timeout()}
	if source != "" {
		ip := net.ParseIP(source)
		if network == "udp" {
			d.LocalAddr = &net.UDPAddr{IP: ip}
		} else {
			d.LocalAddr = &net.TCPAddr{IP: ip}
		}
	}
	var c net.Conn
	err := ns.Run(func() (err error) {
		c, err = d.Dial(network, addr)
		return err
	})
	return c, err
}

// request connects and returns the response.
func (w *testbed) request(ns *netnstest.Namespace, network, source, addr string) (response, error) {
	c, err := w.dial(ns, network, source, addr)
	if err != nil {
		return response{}, err
	}
	defer c.Close()
	return readResponse(c, network, w.timeout())
}

func readResponse(c net.Conn, network string, timeout time.Duration) (response, error) {
	_ = c.SetDeadline(time.Now().Add(timeout))
	if network == "udp" {
		// The kernel may return the rejection as an error of sendto.
		if _, err := c.Write([]byte("hello")); err != nil && !errors.Is(err, syscall.EPERM) {
			return response{}, err
		}
	}
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	if err != nil {
		return response{}, err
	}
	client, server, _ := strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
	ap, err := netip.ParseAddrPort(client)
	return response{ap.Addr(), server}, err
}

// requireRefused checks that a connection is refused within half a second.
func (w *testbed) requireRefused(ns *netnstest.Namespace, network, source, addr string) {
	w.t.Helper()
	began := time.Now()
	_, err := w.request(ns, network, source, addr)
	require.ErrorIs(w.t, err, syscall.ECONNREFUSED, "%s %s", network, addr)
	require.Less(w.t, time.Since(began), 500*time.Millisecond)
}

// requireSilent checks that there is no response.
func (w *testbed) requireSilent(ns *netnstest.Namespace, network, addr string) {
	w.t.Helper()
	short := *w
	short.expectSilence = true
	g, err := short.request(ns, network, "", addr)
	var netErr net.Error
	require.Truef(w.t, errors.As(err, &netErr) && netErr.Timeout() || errors.Is(err, syscall.EPERM), "%s %s: %v %v", network, addr, g, err)
}
