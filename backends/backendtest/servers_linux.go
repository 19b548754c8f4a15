// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// servers are the endpoints of a testbed. They greet each client with the client address
// that they see and their own address, then echo.
type servers struct {
	mu        sync.Mutex
	closed    bool
	closers   map[io.Closer]struct{}
	listening map[listenAddr]bool
	wg        sync.WaitGroup
}

// A listenAddr is the key of one server.
type listenAddr struct {
	protocol localsink.Protocol
	addr     netip.AddrPort
}

// start starts servers in a namespace.
func (s *servers) start(ns *netnstest.Namespace, protocol localsink.Protocol, addrs ...netip.AddrPort) error {
	return ns.Run(func() error {
		for _, addr := range addrs {
			if err := s.listenOne(protocol, addr); err != nil {
				return err
			}
			s.mu.Lock()
			if s.listening == nil {
				s.listening = map[listenAddr]bool{}
			}
			s.listening[listenAddr{protocol, addr}] = true
			s.mu.Unlock()
		}
		return nil
	})
}

// listensOn reports whether there is a server at an address.
func (s *servers) listensOn(protocol localsink.Protocol, addr netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listening[listenAddr{protocol, addr}]
}

func (s *servers) listenOne(protocol localsink.Protocol, addr netip.AddrPort) error {
	if protocol == localsink.ProtocolSCTP {
		c, err := listenSCTP(addr)
		if err != nil {
			return err
		}
		s.track(c)
		s.wg.Go(func() { answerSCTP(c, addr) })
		return nil
	}
	if protocol == localsink.ProtocolUDP {
		p, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			return err
		}
		s.track(p)
		s.wg.Go(func() { answerUDP(p, addr) })
		return nil
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	s.track(l)
	s.wg.Go(func() { s.accept(l, addr) })
	return nil
}

// answerUDP answers each packet with the greeting followed by the payload of the packet.
func answerUDP(p *net.UDPConn, addr netip.AddrPort) {
	buf := make([]byte, 65536)
	for {
		n, from, err := p.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = p.WriteToUDPAddrPort(append(greet(from, addr), buf[:n]...), from)
		}
	}
}

// accept serves TCP connections until l is closed.
func (s *servers) accept(l *net.TCPListener, addr netip.AddrPort) {
	for {
		c, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		s.track(c)
		s.wg.Go(func() {
			defer s.untrack(c)
			client, ok := c.RemoteAddr().(*net.TCPAddr)
			if !ok {
				return
			}
			if _, err := c.Write(greet(client.AddrPort(), addr)); err == nil {
				_, _ = io.Copy(c, c)
			}
		})
	}
}

// greet returns a greeting: client address, server address, newline.
func greet(seen, self netip.AddrPort) []byte {
	return fmt.Appendf(nil, "%v %v\n", netip.AddrPortFrom(seen.Addr().Unmap(), seen.Port()), self)
}

// track adds c to the sockets that close closes.
func (s *servers) track(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return
	}
	if s.closers == nil {
		s.closers = map[io.Closer]struct{}{}
	}
	s.closers[c] = struct{}{}
}

func (s *servers) untrack(c io.Closer) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.closers, c)
}

func (s *servers) close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.closers {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}
