// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package statepage

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// A page of another host cannot read the state through a name that it resolves to this address.
func TestOtherNamesAreRefused(t *testing.T) {
	served := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	for _, row := range []struct {
		at, host       string
		always, atLoop int
	}{
		{"127.0.0.1", "localhost:10249", 200, 200},
		{"127.0.0.1", "127.0.0.1:10249", 200, 200},
		{"::1", "[::1]:10249", 200, 200},
		{"::1", "[::1]", 200, 200},
		{"127.0.0.1", "attacker.example:10249", 403, 403},
		{"::1", "attacker.example", 403, 403},
		{"192.0.2.1", "node-1:10249", 403, 200},
		{"", "node-1", 403, 200},
	} {
		r := httptest.NewRequest(http.MethodGet, "/state", nil)
		r.Host = row.host
		if row.at != "" {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(row.at)}))
		}
		for i, handler := range []http.Handler{OnlyLocalNames(served), OnlyLocalNamesAtLoopback(served)} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			require.Equal(t, []int{row.always, row.atLoop}[i], w.Code, "%+v", row)
		}
	}
}
