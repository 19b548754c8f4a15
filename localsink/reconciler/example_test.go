// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
)

// A constantSource is a reconciler.Source whose desired state never changes.
type constantSource []*localsink.Service

func (s constantSource) Refresh(t *reconciler.Tracker) (newer <-chan struct{}) {
	t.Update(func(tx *reconciler.Tx) {
		for _, svc := range s {
			tx.Set(svc)
		}
	})
	return nil // never receives
}

func ExampleRun() {
	attempts := 0
	sink := localsink.Func(func(_ context.Context, u *localsink.Update) error {
		if attempts++; attempts == 1 {
			return errors.New("table is busy")
		}
		for _, svc := range u.Changed {
			fmt.Println("programmed", svc.Name)
		}
		return nil
	})
	source := constantSource{
		{Name: localsink.ServiceName{Namespace: "default", Name: "db"}},
		{Name: localsink.ServiceName{Namespace: "default", Name: "web"}},
	}

	ctx, cancel := context.WithCancel(context.Background())
	cfg := reconciler.Config{OnSync: func(err error, _ time.Duration) {
		fmt.Println("sync error:", err)
		if err == nil {
			cancel()
		}
	}}
	err := reconciler.Run(ctx, reconciler.NewTracker(&localsink.Node{Name: "node-1"}), source, sink, cfg)
	fmt.Println("run error:", err)
	// Output:
	// sync error: table is busy
	// programmed default/db
	// programmed default/web
	// sync error: <nil>
	// run error: <nil>
}
