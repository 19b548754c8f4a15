// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// messageLimit is the maximum size of a message in bytes.
const messageLimit = 1 << 15

// serve starts the servers of all places. A server answers each line or datagram
// "probe PAYLOAD" with "name:port client PAYLOAD", where client is the source address.
func (c *Cluster) serve(ctx context.Context) error {
	for _, place := range c.Places {
		if place == c.Client {
			continue
		}
		for _, addr := range place.Addrs {
			for port := uint16(ServerPort); port < ServerPort+2; port++ {
				name := fmt.Sprintf("%s:%d", place.Name, port)
				at := netip.AddrPortFrom(addr, port).String()
				if err := c.serveTCP(ctx, place, at, func(net.Addr) string { return name }); err != nil {
					return err
				}
				if err := c.serveUDP(ctx, place, at, name); err != nil {
					return err
				}
			}
		}
	}
	any4 := fmt.Sprintf("0.0.0.0:%d", ServerPort+2)
	return c.serveTCP(ctx, c.Places["remote"], any4, func(local net.Addr) string { return local.String() })
}

func (c *Cluster) serveTCP(ctx context.Context, p *Place, at string, name func(local net.Addr) string) error {
	listener, err := p.Namespace.Listen(ctx, "tcp", at)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	c.servers.Go(func() {
		var conns sync.WaitGroup
		defer conns.Wait()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					_, payload, _ := strings.Cut(lines.Text(), " ")
					if _, err := fmt.Fprintf(conn, "%s %s %s\n", name(conn.LocalAddr()), conn.RemoteAddr(), payload); err != nil {
						return
					}
				}
			})
		}
	})
	return nil
}

func (c *Cluster) serveUDP(ctx context.Context, p *Place, at, name string) error {
	conn, err := p.Namespace.ListenPacket(ctx, "udp", at)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	c.servers.Go(func() {
		buffer := make([]byte, messageLimit)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil && ctx.Err() != nil {
				return
			}
			if err == nil {
				_, payload, _ := strings.Cut(strings.TrimSpace(string(buffer[:n])), " ")
				_, _ = fmt.Fprintf(packetWriter{conn, from}, "%s %s %s\n", name, from, payload)
			}
		}
	})
	return nil
}

// A packetWriter sends datagrams to one address.
type packetWriter struct {
	conn net.PacketConn
	to   net.Addr
}

func (p packetWriter) Write(b []byte) (int, error) { return p.conn.WriteTo(b, p.to) }
