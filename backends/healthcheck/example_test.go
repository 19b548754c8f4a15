// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
)

// /livez answers 503 after the rules could not be programmed for too long.
func ExampleProxy() {
	var failure error
	rules := localsink.Func(func(context.Context, *localsink.Update) error { return failure })
	proxy, err := healthcheck.NewProxy(rules, time.Nanosecond)
	if err != nil {
		log.Fatal(err)
	}
	status := func() int {
		response := httptest.NewRecorder()
		proxy.Livez().ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/livez", http.NoBody))
		return response.Code
	}

	_ = proxy.Sync(context.Background(), &localsink.Update{Node: &localsink.Node{}})
	fmt.Println(status())

	failure = errors.New("injected")
	_ = proxy.Sync(context.Background(), &localsink.Update{Node: &localsink.Node{}})
	time.Sleep(time.Millisecond)
	fmt.Println(status())
	// Output:
	// 200
	// 503
}
