// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/dnssrv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// webOf returns the Service web with the records of web.example.com.
func webOf() []dnssrv.Service {
	return []dnssrv.Service{{
		Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
		Ports: []dnssrv.Port{{Port: 80, Records: "web.example.com"}},
	}}
}

func webZone() []string {
	return []string{"web.example.com. 0 SRV 0 1 8080 a.example.com.", "a.example.com. 0 A 10.0.0.1"}
}

const webText = "DNS:default/web [10.96.0.10] :80/TCP\n  web-0-ipv4-8080 /TCP\n    10.0.0.1:8080\n"

func (s *server) count(network string) (n int) {
	for _, q := range s.questions() {
		if strings.HasPrefix(q, network) {
			n++
		}
	}
	return n
}

// manyRecords returns a zone whose answer exceeds a datagram, and the text of its store.
func manyRecords() (zone []string, text string) {
	text = "DNS:default/web [10.96.0.10] :80/TCP\n  web-0-ipv4-8080 /TCP\n"
	for i := range 200 {
		zone = append(zone, fmt.Sprintf("web.example.com. 0 SRV 0 1 8080 a%d.example.com.", i), fmt.Sprintf("a%d.example.com. 0 A 10.0.0.%d", i, i+1))
		text += fmt.Sprintf("    10.0.0.%d:8080\n", i+1)
	}
	return zone, text
}

func TestTruncatedAnswersAreReadOverTCP(t *testing.T) {
	dns := newServer(t)
	zone, want := manyRecords()
	dns.set(zone...)
	store := run(t, dnssrv.Config{Services: webOf(), Servers: []netip.AddrPort{dns.addr}, MinTTL: time.Minute})
	awaitText(t, store, want)
	require.Equal(t, "udp web.example.com. SRV", dns.questions()[0])
	require.Equal(t, "tcp web.example.com. SRV", dns.questions()[1])
	require.Equal(t, 1, dns.count("tcp"), "answers that fit are read over UDP")
}

func TestTransportTCP(t *testing.T) {
	dns := newServer(t)
	zone, want := manyRecords()
	dns.set(zone...)
	store := run(t, dnssrv.Config{Services: webOf(), Servers: []netip.AddrPort{dns.addr}, Transport: dnssrv.TransportTCP, MinTTL: time.Minute})
	awaitText(t, store, want)
	require.Zero(t, dns.count("udp"))
}

func TestServersWithoutEDNS(t *testing.T) {
	dns := newServer(t)
	dns.set(webZone()...)
	dns.change(func(s *server) { s.noEDNS = true })
	awaitText(t, run(t, dnssrv.Config{Services: webOf(), Servers: []netip.AddrPort{dns.addr}}), webText)
}

// The next server is asked if one does not answer, refuses, or has no listener.
func TestServersAreAskedInOrder(t *testing.T) {
	silent, refusing, working := newServer(t), newServer(t), newServer(t)
	silent.change(func(s *server) { s.silent = true })
	refusing.load("! web.example.com. SRV REFUSED\n! a.example.com. A REFUSED")
	working.set(webZone()...)
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	nothing := netip.MustParseAddrPort(closed.LocalAddr().String())
	require.NoError(t, closed.Close())
	store := run(t, dnssrv.Config{
		Services: webOf(), Servers: []netip.AddrPort{nothing, silent.addr, refusing.addr, working.addr},
		Timeout: 50 * time.Millisecond, MinTTL: time.Minute,
	})
	awaitText(t, store, webText)
	require.Equal(t, []string{"udp web.example.com. SRV", "udp a.example.com. A"}, silent.questions())
	require.Equal(t, silent.questions(), refusing.questions())
}

// Failures have the same text each time, so that the store does not change.
func TestFailuresOfTransports(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(s *server)
		want   string
	}{
		"no answer":      {func(s *server) { s.silent = true }, "no answer within 20ms"},
		"garbage":        {func(s *server) { s.rewrite = func(m []byte) []byte { return append(m[:len(m)-3], 0xff) } }, "malformed response: unpacking Additional"},
		"forged answers": {func(s *server) { s.rewrite = func(m []byte) []byte { m[0] ^= 1; return m } }, "no answer within 20ms"},
		"other question": {func(s *server) { s.rewrite = func(m []byte) []byte { m[13] ^= 1; return m } }, "no answer within 20ms"},
		"not a response": {func(s *server) { s.rewrite = func(m []byte) []byte { m[2] &^= 0x80; return m } }, "no answer within 20ms"},
		"referral":       {func(s *server) { s.rewrite = referral }, "refers to other servers"},
		"empty message":  {func(s *server) { s.rewrite = func([]byte) []byte { return []byte{} } }, "no answer within 20ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dns := newServer(t)
			dns.set(webZone()...)
			dns.change(func(s *server) { s.glue = true })
			cfg := dnssrv.Config{Services: webOf(), Servers: []netip.AddrPort{dns.addr}, Timeout: 20 * time.Millisecond, MinTTL: time.Millisecond}
			store := run(t, cfg)
			awaitText(t, store, webText)
			dns.change(test.change)
			failing := await(t, store, func(s watchers.Snapshot) bool { return len(service(s).Problems) == 1 })
			require.Contains(t, service(failing).Problems[0].Message, "SRV web.example.com. server "+dns.addr.String()+": "+test.want)
			require.Contains(t, text(failing), "10.0.0.1:8080", "endpoints are kept")
			asked := len(dns.questions())
			require.Eventually(t, func() bool { return len(dns.questions()) > asked+4 }, 20*time.Second, time.Millisecond)
			require.Equal(t, failing.Revision(), store.Snapshot().Revision(), "equal failures are no change")
			dns.change(func(s *server) { s.silent, s.rewrite = false, nil })
			awaitText(t, store, webText)
		})
	}
}

// referral makes an answer one that only names other servers.
func referral(msg []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(msg) != nil {
		return msg
	}
	name := dnsmessage.MustNewName("example.com.")
	m.Answers, m.Additionals = nil, nil
	m.Authorities = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeNS, Class: dnsmessage.ClassINET}, Body: &dnsmessage.NSResource{NS: name},
	}}
	out, _ := m.Pack()
	return out
}

func service(s watchers.Snapshot) *watchers.Service {
	return s.Service(watchers.ServiceName{Namespace: "default", Name: "web", Origin: dnssrv.Origin})
}

func await(t *testing.T, store *watchers.Store, condition func(watchers.Snapshot) bool) watchers.Snapshot {
	t.Helper()
	s := store.Snapshot()
	for late := time.After(20 * time.Second); !condition(s); s = store.Snapshot() {
		select {
		case <-s.Newer():
		case <-late:
			require.Fail(t, "timeout", text(s))
		}
	}
	return s
}

// A second Run keeps what the store has, until there is an answer, and deletes what the
// configuration no longer has.
func TestRunCanBeRepeated(t *testing.T) {
	dns := newServer(t)
	dns.set(append(webZone(), "db.example.com. 0 A 10.0.0.9")...)
	services := append(webOf(), dnssrv.Service{Name: "db", Ports: []dnssrv.Port{{Port: 1, TargetPort: 1, Records: "db.example.com"}}})
	store := watchers.NewStore()
	runUntil(t, dnssrv.Config{Services: services, Servers: []netip.AddrPort{dns.addr}}, store, func(s watchers.Snapshot) bool {
		return s.Synced() && strings.Contains(text(s), "10.0.0.1:8080") && strings.Contains(text(s), "10.0.0.9:1")
	})
	dns.load("! web.example.com. SRV SERVFAIL")
	runUntil(t, dnssrv.Config{Services: webOf(), Servers: []netip.AddrPort{dns.addr}}, store, func(s watchers.Snapshot) bool {
		return len(service(s).Problems) == 1
	})
	require.NotContains(t, text(store.Snapshot()), "DNS:default/db")
	require.Contains(t, text(store.Snapshot()), "10.0.0.1:8080")
	dns.load("")
	runUntil(t, dnssrv.Config{Services: webOf(), Servers: []netip.AddrPort{dns.addr}}, store, func(s watchers.Snapshot) bool {
		return text(s) == "DNS:default/web [10.96.0.10] :80/TCP\n"
	})
}
