// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/problems"
	"sigs.k8s.io/kpng/nodeproxy/status"
	"sigs.k8s.io/kpng/watchers"
)

func ExampleHandler() {
	store, cfg := watchers.NewStore(), nodelocal.Config{NodeName: "node-1"}
	rules := localsink.Func(func(context.Context, *localsink.Update) error { return nil })
	applied := status.NewAppliedSink(rules)
	tracker := problems.NewTracker(applied, nil)
	handler := status.Handler(status.Config{Applied: applied, Problems: tracker,
		Explain: func(name localsink.ServiceName) (*nodelocal.Explanation, error) {
			return nodelocal.Explain(store.Snapshot(), cfg, name)
		},
	})
	web := &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: "web"}}
	_ = tracker.Sync(context.Background(), &localsink.Update{
		Node: &localsink.Node{Name: "node-1"}, All: sinktest.NewState(web), Changed: []*localsink.Service{web},
	})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/state", nil))
	fmt.Print(w.Body)
	// Output:
	// # node node-1 []
	// default/web
}
