// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package problems_test

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/problems"
)

func ExampleNewTracker() {
	rules := localsink.Func(func(context.Context, *localsink.Update) error { return errors.New("out of memory") })
	tracker := problems.NewTracker(rules, nil)
	web := &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: "web"}}
	_ = tracker.Sync(context.Background(), &localsink.Update{All: sinktest.NewState(web), Changed: []*localsink.Service{web}})
	for _, name := range tracker.Services() {
		for _, failure := range tracker.Failures(name) {
			fmt.Println(name, failure.Error, failure.Resolved)
		}
	}
	// Output: default/web out of memory false
}
