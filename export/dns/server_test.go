// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	client "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/export/dns"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

const manyEndpoints = 500

// many returns a store with a headless Service of many endpoints.
func many() *watchers.Store {
	store := watchers.NewStore()
	name := watchers.ServiceName{Namespace: "default", Name: "many"}
	store.Update(func(tx *watchers.Tx) {
		tx.SetService(&watchers.Service{Name: name, Details: &watchers.ServiceDetails{Headless: true}})
		slice := &watchers.EndpointSlice{
			Namespace: "default", Name: "many-1", Service: name, Family: watchers.FamilyIPv4,
			Ports: []watchers.EndpointPort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}},
		}
		for i := range manyEndpoints {
			slice.Endpoints = append(slice.Endpoints, watchers.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}), Ready: true, Serving: true})
		}
		tx.SetEndpointSlice(slice)
		tx.SetSynced()
	})
	return store
}

// TestTruncation: an answer over UDP has as many records as the client and the server permit; the
// client gets all over TCP.
func TestTruncation(t *testing.T) {
	server, address := serve(t, many(), dns.Config{MaxUDP: 2000})
	const name = "many.default.svc.cluster.local."
	first := map[string]bool{}
	for _, c := range []struct{ permitted, limit int }{{0, 512}, {100, 512}, {1232, 1232}, {65535, 2000}} {
		for _, kind := range []string{"A", "SRV"} {
			q := question(name, kind)
			if c.permitted > 0 {
				q.SetEdns0(uint16(c.permitted), false)
			}
			packet := exchange(t, address, pack(t, q))
			response := new(client.Msg)
			require.NoError(t, response.Unpack(packet))
			require.True(t, response.Truncated)
			require.LessOrEqual(t, len(packet), c.limit)
			require.Greater(t, len(packet), c.limit*9/10, "as many records as fit")
			require.Equal(t, c.permitted > 0, response.IsEdns0() != nil)
			first[response.Answer[0].String()] = true
		}
	}
	require.Greater(t, len(first), 4, "the first record differs")
	require.NotZero(t, server.Stats().Truncated)

	for kind, additional := range map[string]int{"A": 0, "SRV": 1} {
		response := ask(t, "tcp", address, question(name, kind))
		require.False(t, response.Truncated)
		require.Len(t, response.Answer, manyEndpoints)
		require.GreaterOrEqual(t, len(response.Extra), additional)
	}
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	addrs, err := r.LookupNetIP(t.Context(), "ip4", name)
	require.NoError(t, err)
	require.Len(t, addrs, manyEndpoints)
}

func pack(t *testing.T, q *client.Msg) []byte {
	packed, err := q.Pack()
	require.NoError(t, err)
	return packed
}

// exchange sends a packet and returns the response.
func exchange(t *testing.T, address string, packet []byte) []byte {
	conn, err := net.Dial("udp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.Write(packet)
	require.NoError(t, err)
	b := make([]byte, 65536)
	n, err := conn.Read(b)
	require.NoError(t, err)
	return b[:n]
}

// TestInvalidQueries checks the response codes of what is no valid query.
func TestInvalidQueries(t *testing.T) {
	server, address := serve(t, load(t), dns.Config{})
	send := func(edit func(*client.Msg)) *client.Msg {
		q := question("web.default.svc.cluster.local.", "A")
		edit(q)
		return ask(t, "udp", address, q)
	}
	require.Equal(t, client.RcodeNotImplemented, send(func(q *client.Msg) { q.Opcode = client.OpcodeUpdate }).Rcode)
	require.Equal(t, client.RcodeRefused, send(func(q *client.Msg) { q.Question[0].Qclass = client.ClassCHAOS }).Rcode)
	version := send(func(q *client.Msg) {
		q.SetEdns0(1232, false)
		q.IsEdns0().SetVersion(1)
	})
	require.Equal(t, client.RcodeBadVers, version.Rcode)
	require.Zero(t, version.IsEdns0().Version())
	twice := send(func(q *client.Msg) {
		q.SetEdns0(1232, false)
		q.SetEdns0(1232, false)
	})
	require.Equal(t, client.RcodeFormatError, twice.Rcode)
	ignored := send(func(q *client.Msg) {
		q.SetEdns0(1232, true)
		o := q.IsEdns0()
		o.Option = append(o.Option, &client.EDNS0_COOKIE{Code: client.EDNS0COOKIE, Cookie: "0011223344556677"})
	})
	require.Equal(t, client.RcodeSuccess, ignored.Rcode)
	require.Empty(t, ignored.IsEdns0().Option)

	// What is not a query gets no response: the next response is that of the query after it.
	conn, err := net.Dial("udp", address)
	require.NoError(t, err)
	defer conn.Close()
	answer := question("web.default.svc.cluster.local.", "A")
	answer.Response = true
	packed, err := answer.Pack()
	require.NoError(t, err)
	for _, packet := range [][]byte{packed, {}, {1, 2, 3}, make([]byte, 11)} {
		_, err := conn.Write(packet)
		require.NoError(t, err)
	}
	q := question("web.default.svc.cluster.local.", "A")
	packed, err = q.Pack()
	require.NoError(t, err)
	_, err = conn.Write(packed)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	b := make([]byte, 512)
	_, err = conn.Read(b)
	require.NoError(t, err)
	require.Equal(t, q.Id, binary.BigEndian.Uint16(b))
	require.GreaterOrEqual(t, server.Stats().Dropped, uint64(1))
	// A query whose question is cut is answered, since its header is complete.
	short := exchange(t, address, packed[:20])
	require.Equal(t, client.RcodeFormatError, int(short[3]&0xf))
}

// TestNotSynced: before the state is complete, clients are sent to another server.
func TestNotSynced(t *testing.T) {
	store := watchers.NewStore()
	server, err := dns.New(store, dns.Config{})
	require.NoError(t, err)
	defer server.Close()
	listener, err := dns.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	run(t, func(ctx context.Context) error { return server.Run(ctx, listener) })
	q := question("web.default.svc.cluster.local.", "A")
	require.Equal(t, client.RcodeServerFailure, ask(t, "udp", listener.Addr().String(), q).Rcode)
	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	<-server.Ready()
	require.Equal(t, client.RcodeNameError, ask(t, "udp", listener.Addr().String(), q).Rcode)
}

// TestConnections: a connection carries several queries, and one more than the limit closes the oldest.
func TestConnections(t *testing.T) {
	_, address := serve(t, load(t), dns.Config{MaxConnections: 2})
	var conns []*client.Conn
	for range 3 {
		c, err := client.Dial("tcp", address)
		require.NoError(t, err)
		defer c.Close()
		conns = append(conns, c)
		for range 2 {
			q := question("web.default.svc.cluster.local.", "A")
			require.NoError(t, c.WriteMsg(q))
			response, err := c.ReadMsg()
			require.NoError(t, err)
			require.Equal(t, q.Id, response.Id)
		}
	}
	require.NoError(t, conns[0].SetDeadline(time.Now().Add(10*time.Second)))
	_, err := conns[0].Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, conns[2].WriteMsg(question("web.default.svc.cluster.local.", "A")))
	_, err = conns[2].ReadMsg()
	require.NoError(t, err)
}

// TestChangesAreAnsweredAtOnce: names are those of the current snapshot, and addresses follow it.
func TestChangesAreAnsweredAtOnce(t *testing.T) {
	store := watchers.NewStore()
	store.Update((*watchers.Tx).SetSynced)
	_, address := serve(t, store, dns.Config{Domain: "Example.org.", TTL: 30 * time.Second})
	for i := range 20 {
		ip := netip.AddrFrom4([4]byte{10, 96, 0, byte(i + 1)})
		name := watchers.ServiceName{Namespace: "default", Name: "web"}
		store.Update(func(tx *watchers.Tx) { tx.SetService(&watchers.Service{Name: name, ClusterIP: ip}) })
		response := ask(t, "udp", address, question("web.default.svc.example.org.", "A"))
		require.Equal(t, []string{fmt.Sprintf("web.default.svc.example.org. 30 IN A %v", ip)}, texts(response.Answer))
		require.Eventually(t, func() bool {
			reverse, err := client.ReverseAddr(ip.String())
			return err == nil && len(ask(t, "udp", address, question(reverse, "PTR")).Answer) == 1
		}, 10*time.Second, time.Millisecond)
	}
	reverse, err := client.ReverseAddr("10.96.0.1")
	require.NoError(t, err)
	require.Equal(t, client.RcodeRefused, ask(t, "udp", address, question(reverse, "PTR")).Rcode, "the address of an earlier version")
}

func TestInvalidConfig(t *testing.T) {
	for want, cfg := range map[string]dns.Config{
		"dns: TTL: 500ms is not a positive number of seconds":    {TTL: 500 * time.Millisecond},
		"dns: TTL: -1s is not a positive":                        {TTL: -time.Second},
		"dns: MaxUDP: 100 is out of range 512-65535":             {MaxUDP: 100},
		"dns: MaxConnections: must not be negative":              {MaxConnections: -1},
		"dns: NameserverIPs[0]: invalid IP is not an address":    {NameserverIPs: []netip.Addr{{}}},
		`dns: Domain: "a..b" is not a domain of at most`:         {Domain: "a..b"},
		`dns: Domain: "` + long(200) + `" is not a domain of at`: {Domain: long(200)},
	} {
		_, err := dns.New(watchers.NewStore(), cfg)
		require.ErrorContains(t, err, want)
	}
	_, err := dns.New(nil, dns.Config{})
	require.ErrorContains(t, err, "dns: store: required")
	_, err = dns.Listen(t.Context(), "127.0.0.1")
	require.ErrorContains(t, err, `dns: listen at "127.0.0.1"`)
}

func long(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a'
		if i%10 == 9 {
			b[i] = '.'
		}
	}
	return string(b[:n-1])
}
