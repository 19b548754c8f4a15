// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink_test

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/kpng/localsink"
)

func ExampleFunc() {
	var sink localsink.Sink = localsink.Func(func(_ context.Context, u *localsink.Update) error {
		for _, s := range u.Changed {
			fmt.Println("serve", s.Name)
		}
		for _, s := range u.Removed {
			fmt.Println("remove", s.Name)
		}
		return nil
	})
	web := &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: "web"}}
	_ = sink.Sync(context.Background(), &localsink.Update{Changed: []*localsink.Service{web}})
	_ = sink.Sync(context.Background(), &localsink.Update{Removed: []*localsink.Service{web}})
	// Output:
	// serve default/web
	// remove default/web
}

// The health check must not announce an update that the rules do not implement yet.
func ExampleChain() {
	ready := false
	rules := localsink.Func(func(context.Context, *localsink.Update) error {
		if !ready {
			return errors.New("table is busy")
		}
		fmt.Println("rules programmed")
		return nil
	})
	healthCheck := localsink.Func(func(context.Context, *localsink.Update) error {
		fmt.Println("health check updated")
		return nil
	})
	sink := localsink.Chain(rules, healthCheck)
	fmt.Println("error:", sink.Sync(context.Background(), &localsink.Update{}))
	ready = true
	fmt.Println("error:", sink.Sync(context.Background(), &localsink.Update{}))
	// Output:
	// error: table is busy
	// rules programmed
	// health check updated
	// error: <nil>
}
