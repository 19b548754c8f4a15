// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// A server is a DNS server on a loopback address, over UDP and TCP. It answers with the records of
// its zone, the aliases that lead to them, and the addresses of targets in the additional section.
type server struct {
	t    *testing.T
	addr netip.AddrPort

	mu       sync.Mutex
	zone     map[string][]dnsmessage.Resource // by name
	rcodes   map[string]dnsmessage.RCode      // by name and type, such as "web.example.com. A"
	silent   bool                             // sends no answer
	glue     bool                             // has an additional section
	noEDNS   bool                             // does not know EDNS
	rewrite  func(msg []byte) []byte          // changes answers; nil does not
	received []string                         // questions, such as "udp web.example.com. A"
}

func newServer(t *testing.T) *server {
	s := &server{t: t, zone: map[string][]dnsmessage.Resource{}, rcodes: map[string]dnsmessage.RCode{}}
	var packets net.PacketConn
	var listener net.Listener
	for listener == nil { // a port that is free for both protocols
		var err error
		packets, err = net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		if listener, err = net.Listen("tcp", packets.LocalAddr().String()); err != nil {
			packets.Close()
		}
	}
	s.addr = netip.MustParseAddrPort(packets.LocalAddr().String())
	var serving sync.WaitGroup
	serving.Go(func() { s.serveUDP(packets) })
	serving.Go(func() { s.serveTCP(listener, &serving) })
	t.Cleanup(func() {
		packets.Close()
		listener.Close()
		serving.Wait()
	})
	return s
}

func (s *server) serveUDP(packets net.PacketConn) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := packets.ReadFrom(buffer)
		if err != nil {
			return
		}
		if answer := s.answer("udp", buffer[:n]); answer != nil {
			_, _ = packets.WriteTo(answer, from)
		}
	}
}

func (s *server) serveTCP(listener net.Listener, serving *sync.WaitGroup) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		serving.Go(func() {
			defer conn.Close()
			length := make([]byte, 2)
			if _, err := io.ReadFull(conn, length); err != nil {
				return
			}
			msg := make([]byte, binary.BigEndian.Uint16(length))
			if _, err := io.ReadFull(conn, msg); err != nil {
				return
			}
			if answer := s.answer("tcp", msg); answer != nil {
				_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			}
		})
	}
}

// set replaces the records. A line is such as "web.example.com. 30 SRV 0 1 80 a.example.com.".
func (s *server) set(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.zone)
	for _, line := range lines {
		r := parseRecord(s.t, line)
		s.zone[r.Header.Name.String()] = append(s.zone[r.Header.Name.String()], r)
	}
}

// change changes how the server answers.
func (s *server) change(f func(s *server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *server) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.received...)
}

// answer returns the answer to a message, or nil if the server sends nothing.
func (s *server) answer(network string, msg []byte) []byte {
	var query dnsmessage.Message
	if query.Unpack(msg) != nil || len(query.Questions) != 1 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := query.Questions[0]
	question := strings.ToLower(q.Name.String()) + " " + strings.TrimPrefix(q.Type.String(), "Type")
	s.received = append(s.received, network+" "+question)
	out := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true, RecursionDesired: true, RecursionAvailable: true}, Questions: query.Questions}
	rcode, fails := s.rcodes[question]
	switch {
	case s.silent:
		return nil
	case fails:
		out.RCode = rcode
	case s.noEDNS && len(query.Additionals) > 0:
		out.RCode, out.Questions = dnsmessage.RCodeFormatError, nil
	default:
		s.answerFromZone(&out, strings.ToLower(q.Name.String()), q.Type)
	}
	packed, err := out.Pack()
	if err != nil {
		s.t.Error(err)
		return nil
	}
	limit := 512
	if len(query.Additionals) > 0 {
		limit = int(query.Additionals[0].Header.Class)
	}
	if network == "udp" && len(packed) > limit {
		out.Truncated, out.Answers, out.Additionals = true, out.Answers[:1], nil
		packed, _ = out.Pack()
	}
	if s.rewrite != nil {
		packed = s.rewrite(packed)
	}
	return packed
}

func (s *server) answerFromZone(out *dnsmessage.Message, name string, t dnsmessage.Type) {
	for records, exists := s.zone[name]; ; records, exists = s.zone[name] {
		alias := ""
		for _, r := range records {
			if cname, ok := r.Body.(*dnsmessage.CNAMEResource); ok {
				alias = cname.CNAME.String()
				out.Answers = append(out.Answers, r)
			} else if r.Header.Type == t {
				out.Answers = append(out.Answers, r)
				if srv, ok := r.Body.(*dnsmessage.SRVResource); ok && s.glue {
					out.Additionals = append(out.Additionals, s.zone[srv.Target.String()]...)
				}
			}
		}
		if !exists {
			out.RCode = dnsmessage.RCodeNameError
		}
		if name = alias; alias == "" {
			break
		}
	}
	if len(out.Answers) == 0 || out.RCode != dnsmessage.RCodeSuccess {
		for zone, records := range s.zone {
			for _, r := range records {
				if r.Header.Type == dnsmessage.TypeSOA && (strings.HasSuffix(out.Questions[0].Name.String(), zone)) {
					out.Authorities = append(out.Authorities, r)
				}
			}
		}
	}
}
