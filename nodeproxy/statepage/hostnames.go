// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package statepage

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// OnlyLocalNames refuses requests for other host names than localhost and addresses. A web page of
// another host could otherwise read the pages, through a name that it resolves to this address.
func OnlyLocalNames(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && host != "localhost" {
			http.Error(w, fmt.Sprintf("Host %q: want localhost or an address", r.Host), http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// OnlyLocalNamesAtLoopback refuses requests for other host names than localhost and addresses that
// arrive at a loopback address, where only clients of this machine connect. At other addresses,
// clients may use names of the node, and the API server forwards requests with its own name.
func OnlyLocalNamesAtLoopback(h http.Handler) http.Handler {
	local := OnlyLocalNames(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && a.IP.IsLoopback() {
			local.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}
