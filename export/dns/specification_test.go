// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	client "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/export/dns"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// load returns a store with the objects of testdata/cluster.yaml.
func load(t testing.TB) *watchers.Store {
	w, err := file.New("testdata/cluster.yaml", file.Config{Filter: kubeapi.Filter{AllProxies: true, Details: dns.Details}})
	require.NoError(t, err)
	store := watchers.NewStore()
	run(t, func(ctx context.Context) error { return w.Run(ctx, store) })
	for snap := store.Snapshot(); !snap.Synced(); snap = store.Snapshot() {
		<-snap.Newer()
	}
	return store
}

// run runs a function until the test ends.
func run(t testing.TB, f func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// serve serves a store until the test ends, and returns the server and its address.
func serve(t testing.TB, store *watchers.Store, cfg dns.Config) (*dns.Server, string) {
	server, err := dns.New(store, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	listener, err := dns.Listen(context.Background(), "127.0.0.1:0")
	require.NoError(t, err)
	run(t, func(ctx context.Context) error { return server.Run(ctx, listener) })
	<-server.Ready()
	return server, listener.Addr().String()
}

// ask sends a question with a real client.
func ask(t testing.TB, network, address string, q *client.Msg) *client.Msg {
	c := client.Client{Net: network, Timeout: 10 * time.Second}
	response, _, err := c.Exchange(q, address)
	require.NoError(t, err)
	return response
}

func question(name, kind string) *client.Msg {
	q := new(client.Msg)
	q.SetQuestion(name, client.StringToType[kind])
	return q
}

// A row is a question of specification.txt with its response.
type row struct {
	name, kind, code   string
	answer, additional []string
}

func rows(t *testing.T) (rows []row) {
	data, err := os.ReadFile("testdata/specification.txt")
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		indented, text := strings.HasPrefix(line, " "), strings.TrimSpace(line)
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
		case !indented:
			name, kind, _ := strings.Cut(text, " ")
			rows = append(rows, row{name: name, kind: kind})
		case rows[len(rows)-1].code == "":
			rows[len(rows)-1].code = text
		case strings.HasPrefix(text, "+ "):
			rows[len(rows)-1].additional = append(rows[len(rows)-1].additional, text[2:])
		default:
			rows[len(rows)-1].answer = append(rows[len(rows)-1].answer, text)
		}
	}
	require.Greater(t, len(rows), 70)
	return rows
}

// TestSpecification sends each question of the table over UDP and TCP.
func TestSpecification(t *testing.T) {
	_, address := serve(t, load(t), dns.Config{PodRecords: true, NameserverIPs: []netip.Addr{netip.MustParseAddr("10.96.0.53")}})
	for _, network := range []string{"udp", "tcp"} {
		for _, r := range rows(t) {
			t.Run(network+" "+r.kind+" "+r.name, func(t *testing.T) {
				q := question(r.name, r.kind)
				q.SetEdns0(1232, false)
				response := ask(t, network, address, q)
				require.Equal(t, q.Question, response.Question)
				require.False(t, response.Truncated)
				require.False(t, response.RecursionAvailable)
				code := client.RcodeToString[response.Rcode]
				if code == "NOERROR" && len(response.Answer) == 0 {
					code = "NODATA"
				}
				require.Equal(t, r.code, code, response)
				require.ElementsMatch(t, r.answer, texts(response.Answer))
				var additional []client.RR
				for _, rr := range response.Extra {
					if rr.Header().Rrtype != client.TypeOPT {
						additional = append(additional, rr)
					}
				}
				require.ElementsMatch(t, r.additional, texts(additional))
				require.Equal(t, code != "REFUSED", response.Authoritative)
				if code == "NODATA" || code == "NXDOMAIN" {
					require.Len(t, response.Ns, 1)
					require.Equal(t, client.TypeSOA, response.Ns[0].Header().Rrtype)
					require.Equal(t, uint32(5), response.Ns[0].(*client.SOA).Minttl)
				} else {
					require.Empty(t, response.Ns)
				}
			})
		}
	}
}

func texts(records []client.RR) (out []string) {
	serial := regexp.MustCompile(`(SOA \S+ \S+) \d+`)
	for _, r := range records {
		out = append(out, serial.ReplaceAllString(strings.Join(strings.Fields(r.String()), " "), "$1 REVISION"))
	}
	slices.Sort(out)
	return out
}

// TestResolverOfGo resolves names as programs do, with a search path and both address families.
func TestResolverOfGo(t *testing.T) {
	_, address := serve(t, load(t), dns.Config{})
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	addrs, err := r.LookupNetIP(t.Context(), "ip", "web.default.svc.cluster.local.")
	require.NoError(t, err)
	require.ElementsMatch(t, []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00:96::10")}, addrs)
	_, srv, err := r.LookupSRV(t.Context(), "sql", "tcp", "early.data.svc.cluster.local.")
	require.NoError(t, err)
	require.Len(t, srv, 2)
	require.Equal(t, uint16(5432), srv[0].Port)
	names, err := r.LookupAddr(t.Context(), "10.96.0.1")
	require.NoError(t, err)
	require.Equal(t, []string{"kubernetes.default.svc.cluster.local."}, names)
	text, err := r.LookupTXT(t.Context(), "dns-version.cluster.local.")
	require.NoError(t, err)
	require.Equal(t, []string{"1.1.0"}, text)
	_, err = r.LookupHost(t.Context(), "missing.default.svc.cluster.local.")
	var failure *net.DNSError
	require.ErrorAs(t, err, &failure)
	require.True(t, failure.IsNotFound)
}
