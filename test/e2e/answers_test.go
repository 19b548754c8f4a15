// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	healthAddress  = "127.0.0.1:10256"
	metricsAddress = "127.0.0.1:10249"
)

// A request is an HTTP request to a proxy.
type request struct{ method, address, path, accept, body string }

// String returns the request as the document of differences names it, such as "GET
// :10256/healthz".
func (r request) String() string {
	_, port, _ := strings.Cut(r.address, ":")
	text := r.method + " :" + port + r.path
	if r.accept != "" {
		text += " Accept: " + r.accept
	}
	if r.body != "" {
		text += " body " + r.body
	}
	return text
}

// An answer is the response to a request.
type answer struct {
	code    int
	headers []string // names and values, of those that do not vary
	body    string
	form    []string // of the body
}

// requests returns all requests that two proxies are compared with.
func requests() (all []request) {
	for address, paths := range map[string][]string{
		healthAddress: {"/healthz", "/livez", "/readyz", "/", "/metrics", "/healthz/"},
		metricsAddress: {
			"/healthz", "/healthz?verbose", "/healthz?exclude=ping", "/healthz/ping", "/livez", "/readyz", "/proxyMode", "/configz", "/metrics",
			"/metrics/slis", "/flagz", "/statusz", "/debug/flags", "/debug/flags/v", "/debug/pprof", "/debug/pprof/", "/debug/pprof/cmdline",
			"/debug/pprof/symbol", "/debug/pprof/heap?debug=1", "/", "/nope", "/configz/", "/state",
		},
	} {
		for _, path := range paths {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				all = append(all, request{method: method, address: address, path: path})
			}
		}
	}
	for _, body := range []string{"2", "x", "-1"} {
		all = append(all, request{method: "PUT", address: metricsAddress, path: "/debug/flags/v", body: body})
	}
	for _, page := range []string{"Flagz", "Statusz"} {
		for _, accept := range []string{"text/plain", "application/json", "application/json;v=v1beta1;g=config.k8s.io;as=" + page} {
			all = append(all, request{method: "GET", address: metricsAddress, path: "/" + strings.ToLower(page), accept: accept})
		}
	}
	return all
}

// askAll sends all requests to a proxy.
func (fx *fixture) askAll(t *testing.T) map[string]answer {
	t.Helper()
	answers := map[string]answer{}
	for _, r := range requests() {
		answers[r.String()] = fx.ask(t, r)
	}
	return answers
}

// ask sends a request from the node.
func (fx *fixture) ask(t *testing.T, r request) answer {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return fx.Node.Namespace.DialContext(ctx, net.Dialer{}, network, addr)
		},
	}}
	sent, err := http.NewRequestWithContext(t.Context(), r.method, "http://"+r.address+r.path, strings.NewReader(r.body))
	require.NoError(t, err)
	if r.accept != "" {
		sent.Header.Set("Accept", r.accept)
	}
	response, err := client.Do(sent)
	require.NoError(t, err, r)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	a := answer{code: response.StatusCode, body: string(body), form: form(response.Header.Get("Content-Type"), string(body))}
	for name, values := range response.Header {
		switch name {
		case "Date", "Content-Length", "Connection": // they vary, or follow from the body
		case "Process-Start-Time-Unix":
			a.headers = append(a.headers, name)
		default:
			a.headers = append(a.headers, name+": "+strings.Join(values, ","))
		}
	}
	slices.Sort(a.headers)
	return a
}

// form returns what clients can rely on in a body: the keys of JSON objects, the keys of
// lines of a page for people, and the text of a short answer without its numbers.
func form(contentType, body string) []string {
	var value any
	switch {
	case json.Unmarshal([]byte(body), &value) == nil && strings.Contains(contentType, "json"):
		keys := jsonKeys("", value)
		slices.Sort(keys)
		return keys
	case strings.Contains(contentType, "html"):
		return []string{"html"}
	case len(body) < 150:
		return []string{regexp.MustCompile(`[0-9]+`).ReplaceAllString(body, "N")}
	case regexp.MustCompile(`^\s*\S+ (statusz|flagz)\n`).MatchString(body): // not a profile with these functions
		var keys []string
		for line := range strings.Lines(body) {
			if line = strings.TrimSpace(line); line != "" {
				keys = append(keys, zpageKey(line))
			}
		}
		return keys
	}
	return []string{"text"}
}

// zpageKey returns the key of a line of /statusz or /flagz. kube-proxy chooses the delimiter
// at random for each process: a colon, an equals sign, or a blank.
func zpageKey(line string) string {
	for _, key := range []string{"Started", "Up", "Go version", "Binary version", "Emulation version", "Paths"} {
		if strings.HasPrefix(line, key) {
			return key
		}
	}
	return regexp.MustCompile(`[:= ].*`).ReplaceAllString(line, "")
}

// jsonKeys returns the paths of all values.
func jsonKeys(prefix string, value any) []string {
	object, ok := value.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s %T", prefix, value)}
	}
	keys := []string{prefix}
	for key, v := range object {
		keys = append(keys, jsonKeys(prefix+"."+key, v)...)
	}
	return keys
}

// answerDifferences returns how the answers of two proxies differ, by request.
func answerDifferences(ours, theirs map[string]answer) map[string][]string {
	found := map[string][]string{}
	for r, a := range ours {
		b := theirs[r]
		for kind, differs := range map[string]bool{
			"status": a.code != b.code, "body": !slices.Equal(a.form, b.form),
		} {
			if differs {
				found[r] = append(found[r], kind)
			}
		}
		for _, h := range a.headers {
			if !slices.Contains(b.headers, h) {
				found[r] = append(found[r], "header here: `"+h+"`")
			}
		}
		for _, h := range b.headers {
			if !slices.Contains(a.headers, h) {
				found[r] = append(found[r], "header in kube-proxy: `"+h+"`")
			}
		}
	}
	return found
}

// TestAnswerDifferencesAreFound has one request for each way in which two answers differ.
func TestAnswerDifferencesAreFound(t *testing.T) {
	json := func(body string) answer { return answer{code: 200, form: form("application/json", body)} }
	ours := map[string]answer{
		"same": json(`{"a": {"b": 1}}`), "status": {code: 200}, "key": json(`{"a": {"b": 1}}`), "type": json(`{"a": 1}`),
		"text": {code: 200, form: form("text/plain", "ok 1")}, "header": {code: 200, headers: []string{"A: 1", "B: 2"}},
	}
	theirs := map[string]answer{
		"same": json(`{"a": {"b": 2}}`), "status": {code: 404}, "key": json(`{"a": {"c": 1}}`), "type": json(`{"a": "1"}`),
		"text": {code: 200, form: form("text/plain", "OK 2")}, "header": {code: 200, headers: []string{"A: 2", "B: 2"}},
	}
	require.Equal(t, map[string][]string{
		"status": {"status"}, "key": {"body"}, "type": {"body"}, "text": {"body"},
		"header": {"header here: `A: 1`", "header in kube-proxy: `A: 2`"},
	}, answerDifferences(ours, theirs))
}
