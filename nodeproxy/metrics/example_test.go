// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
)

func ExampleNewSink() {
	rules := localsink.Func(func(context.Context, *localsink.Update) error { return nil })
	sink := metrics.NewSink(rules, metrics.SinkConfig{})
	handler, err := metrics.Handler(sink)
	if err != nil {
		fmt.Println(err)
		return
	}
	web := &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: "web"}}
	_ = sink.Sync(context.Background(), &localsink.Update{
		Node: &localsink.Node{Name: "node-1"}, NodeChanged: true, All: sinktest.NewState(web), Changed: []*localsink.Service{web},
	})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "kpng_services ") || strings.HasPrefix(line, "kubeproxy_sync_proxy_rules_service_changes_total") {
			fmt.Print(line)
		}
	}
	// Output:
	// kpng_services 1
	// kubeproxy_sync_proxy_rules_service_changes_total 1
}
