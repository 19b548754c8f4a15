// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// ask sends a request to a handler.
func ask(h http.Handler, method, path, accept, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Accept", accept)
	h.ServeHTTP(w, r)
	return w
}

func TestStatuszHasTextAndObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Statusz(StatuszConfig{Component: "kube-proxy", Version: "v1.2.3", Emulation: "1.37", Started: time.Now(), Paths: []string{"/metrics", "/configz"}})
		time.Sleep(25*time.Hour + 61*time.Second)
		text := ask(h, http.MethodGet, "/statusz", "", "").Body.String()
		for _, line := range []string{
			"kube-proxy statusz", "Started: Sat Jan  1 00:00:00 UTC 2000", "Up: 25 hr 01 min 01 sec", "Binary version: v1.2.3",
			"Emulation version: 1.37", "Paths: /configz /metrics",
		} {
			require.Contains(t, text, "\n"+line+"\n")
		}
		w := ask(h, http.MethodGet, "/statusz", "application/json;v=v1beta1;g=config.k8s.io;as=Statusz", "")
		require.Equal(t, "application/json;g=config.k8s.io;v=v1beta1;as=Statusz", w.Header().Get("Content-Type"))
		require.Contains(t, w.Body.String(), `"apiVersion":"config.k8s.io/v1beta1"`)
		require.Contains(t, w.Body.String(), `"uptimeSeconds":90061`)
	})
}

func TestFlagzNegotiatesItsForm(t *testing.T) {
	flags := map[string]string{"v": "2", "config": ""}
	h := Flagz("kube-proxy", flags)
	flags["v"] = "changed later"
	for _, row := range []struct {
		accept string
		code   int
		want   string
	}{
		{"", 200, "\nconfig:\nv:2\n"},
		{"*/*", 200, "\nconfig:\nv:2\n"},
		{"text/html, text/plain;q=0.5", 200, "\nconfig:\nv:2\n"},
		{"application/json;v=v1alpha1;g=config.k8s.io;as=Flagz", 200, `"flags":{"config":"","v":"2"}`},
		{"application/yaml;v=v1beta1;g=config.k8s.io;as=Flagz", 200, `"flags":{"config":"","v":"2"}`},
		{"application/json;v=v1beta1;g=config.k8s.io;as=Statusz", 406, "NotAcceptable"},
		{"application/json;v=v9;g=config.k8s.io;as=Flagz", 406, "NotAcceptable"},
		{"application/json", 406, "only the following media types are accepted"},
		{";;", 406, "NotAcceptable"},
	} {
		w := ask(h, http.MethodGet, "/flagz", row.accept, "")
		require.Equal(t, row.code, w.Code, row.accept)
		require.Contains(t, w.Body.String(), row.want, row.accept)
	}
}

func TestHealthzOfComponents(t *testing.T) {
	mux := http.NewServeMux()
	HandleHealthz(mux)
	for path, want := range map[string]string{"/healthz": "ok", "/healthz/ping": "ok", "/healthz?verbose": "[+]ping ok\nhealthz check passed\n"} {
		_, body := get(mux, path)
		require.Equal(t, want, body, path)
	}
	code, _ := get(mux, "/healthz/")
	require.Equal(t, 404, code)
}

func TestVerbosityIsSetWithPut(t *testing.T) {
	mux, level := http.NewServeMux(), 0
	HandleVerbosity(mux, func(s string) (err error) {
		level, err = strconv.Atoi(s)
		return err
	})
	w := ask(mux, http.MethodPut, "/debug/flags/v", "", "4")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "successfully set klog.logging.verbosity to 4\n", w.Body.String())
	require.Equal(t, 4, level)
	require.Equal(t, 400, ask(mux, http.MethodPut, "/debug/flags/v", "", "x").Code)
	require.Equal(t, 400, ask(mux, http.MethodPut, "/debug/flags/v", "", strings.Repeat("9", 1000)).Code)
	require.Equal(t, 406, ask(mux, http.MethodGet, "/debug/flags/v", "", "").Code)
	require.Contains(t, ask(mux, http.MethodGet, "/debug/flags", "", "").Body.String(), "<li>v</li>")
}

func TestNoSniff(t *testing.T) {
	for _, h := range []http.Handler{NoSniff(http.NotFoundHandler()), Text("x"), Configz("x", 1), Ready("x")} {
		require.Equal(t, "nosniff", ask(h, http.MethodGet, "/", "", "").Header().Get("X-Content-Type-Options"))
	}
}
