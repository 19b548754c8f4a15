// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package health_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/health"
)

func ExampleHandler() {
	rules := localsink.Func(func(context.Context, *localsink.Update) error { return nil })
	proxy, err := healthcheck.NewProxy(rules, time.Minute)
	if err != nil {
		fmt.Println(err)
		return
	}
	sink := health.NewEligibilitySink(proxy)
	handler := health.Handler(health.Config{Proxy: proxy, Eligible: sink.Eligible})

	ask := func() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		fmt.Println(w.Code)
	}
	ask()
	_ = sink.Sync(context.Background(), &localsink.Update{Node: &localsink.Node{Name: "node-1"}})
	ask()
	_ = sink.Sync(context.Background(), &localsink.Update{Node: &localsink.Node{Name: "node-1", Deleting: true}})
	ask()
	// Output:
	// 503
	// 200
	// 503
}
