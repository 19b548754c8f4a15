// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package httpserver_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"sigs.k8s.io/kpng/nodeproxy/httpserver"
)

func ExampleReady() {
	synced := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/livez", httpserver.Text("ok\n"))
	mux.Handle("/readyz", httpserver.Ready("cluster state incomplete", synced))
	ask := func(path string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Print(path, " ", w.Code, " ", w.Body)
	}
	ask("/livez")
	ask("/readyz")
	close(synced)
	ask("/readyz")
	// A program runs httpserver.Run(ctx, ":10271", mux, logger).

	// Output:
	// /livez 200 ok
	// /readyz 503 cluster state incomplete
	// /readyz 200 ok
}
