// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package statepage_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodeproxy/statepage"
)

func request(query, accept string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/state"+query, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	return r
}

// unreadable is a body that must not be read: a client determines its size.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

func TestFormatOf(t *testing.T) {
	const firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, test := range []struct {
		query, accept string
		want          statepage.Format
	}{
		{"", "", statepage.FormatText},
		{"", "*/*", statepage.FormatText}, // curl
		{"", firefox, statepage.FormatHTML},
		{"", "text/plain, text/html;q=0.5", statepage.FormatText},
		{"", "text/plain;q=0.1, text/html;q=0.5", statepage.FormatHTML},
		{"", "text/html;q=0", statepage.FormatText},
		{"?output=json", firefox, statepage.FormatJSON},
		{"?output=text", firefox, statepage.FormatText},
		{"?output=html", "", statepage.FormatHTML},
		{"?output=events", "", statepage.FormatEvents},
		{"?output=page", "", statepage.FormatDetail},
	} {
		got, err := statepage.FormatOf(request(test.query, test.accept))
		require.NoError(t, err)
		require.Equal(t, test.want, got, "%s %s", test.query, test.accept)
	}
	post := httptest.NewRequest(http.MethodPost, "/state", unreadable{t})
	post.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	got, err := statepage.FormatOf(post)
	require.NoError(t, err)
	require.Equal(t, statepage.FormatText, got)
	_, err = statepage.FormatOf(request("?output=xml", ""))
	require.EqualError(t, err, `output "xml": want text, json or html`)
}

// The policy permits exactly the script and the style of the document, and nothing from elsewhere.
func TestPolicyPermitsOnlyTheDocument(t *testing.T) {
	w := httptest.NewRecorder()
	statepage.ServeDocument(w)
	policy, html := w.Header().Get("Content-Security-Policy"), w.Body.String()
	require.Contains(t, policy, "default-src 'none'")
	require.NotContains(t, policy, "unsafe")
	for name, directive := range map[string]string{"script": "script-src", "style": "style-src"} {
		parts := regexp.MustCompile("(?s)<"+name+">(.*?)</"+name+">").FindAllStringSubmatch(html, -1)
		require.Len(t, parts, 1)
		require.NotContains(t, parts[0][1], "/*SCRIPT*/")
		sum := sha256.Sum256([]byte(parts[0][1]))
		require.Contains(t, policy, directive+" 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	require.NotRegexp(t, `(?i)https?://|innerHTML|\son[a-z]+=|javascript:`, html)
}

// A page is what a browser has: rows by key.
type page struct {
	Full       bool
	Title      string
	Properties []statepage.Property
	Rows       []statepage.Row
	Removed    []string
}

// open returns a function that reads the next event of a stream, applied to rows.
func open(t *testing.T, server *httptest.Server) (next func() (page, map[string]statepage.Row), status int) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	require.NoError(t, err)
	answer, err := server.Client().Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	lines, rows := bufio.NewReader(answer.Body), map[string]statepage.Row{}
	return func() (p page, _ map[string]statepage.Row) {
		for {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			if data, found := strings.CutPrefix(line, "data: "); found {
				require.NoError(t, json.Unmarshal([]byte(data), &p))
				if p.Full {
					clear(rows)
				}
				for _, row := range p.Rows {
					rows[row.Key] = row
				}
				for _, key := range p.Removed {
					delete(rows, key)
				}
				return p, rows
			}
		}
	}, answer.StatusCode
}

// A page that follows has the rows of the view after each change, and receives only what changed.
func TestEventsAreDifferences(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var current atomic.Pointer[statepage.View]
	newView := func(n int) *statepage.View {
		v := &statepage.View{Title: "T", Columns: []string{"A"}, Properties: []statepage.Property{{Name: "n", Value: fmt.Sprint(n)}}}
		for i := range 20 {
			if random.IntN(3) > 0 {
				v.Rows = append(v.Rows, statepage.Row{Key: fmt.Sprint(i), Cells: []string{fmt.Sprint(random.IntN(2))}})
			}
		}
		return v
	}
	current.Store(newView(0))
	server := httptest.NewServer(statepage.NewEvents(func(context.Context) statepage.View { return *current.Load() }))
	t.Cleanup(server.Close)
	next, _ := open(t, server)
	before := map[string]statepage.Row{}
	for n := range 4 {
		if n > 0 {
			current.Store(newView(n))
		}
		p, rows := next()
		require.Equal(t, n == 0, p.Full)
		want := map[string]statepage.Row{}
		for _, row := range current.Load().Rows {
			want[row.Key] = row
		}
		require.Equal(t, want, rows)
		for _, row := range p.Rows {
			require.NotEqual(t, before[row.Key], row, "unchanged rows are not sent")
		}
		before = want
	}
}

// The number of streams is limited, and a stream that ends makes room.
func TestStreamsAreLimited(t *testing.T) {
	server := httptest.NewServer(statepage.NewEvents(func(context.Context) statepage.View { return statepage.View{} }))
	t.Cleanup(server.Close)
	ctx, leave := context.WithCancel(t.Context())
	for range 16 {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
		require.NoError(t, err)
		answer, err := server.Client().Do(r)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answer.StatusCode)
		t.Cleanup(func() { _ = answer.Body.Close() })
	}
	_, status := open(t, server)
	require.Equal(t, http.StatusServiceUnavailable, status)
	leave()
	require.Eventually(t, func() bool {
		_, status := open(t, server)
		return status == http.StatusOK
	}, 10*time.Second, 10*time.Millisecond)
}

func ExampleNewEvents() {
	view := func(context.Context) statepage.View {
		return statepage.View{Title: "Nodes", Columns: []string{"Node"}, Rows: []statepage.Row{{Key: "node-1", Cells: []string{"node-1"}}}}
	}
	events := statepage.NewEvents(view)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch format, err := statepage.FormatOf(r); {
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		case format == statepage.FormatHTML:
			statepage.ServeDocument(w)
		case format == statepage.FormatEvents:
			events.ServeHTTP(w, r)
		default:
			fmt.Fprintln(w, "node-1")
		}
	})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/nodes", nil))
	fmt.Print(w.Body)
	// Output: node-1
}
