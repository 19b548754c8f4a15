// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"sigs.k8s.io/kpng/backends/ipvs"
	"sigs.k8s.io/kpng/localsink"
)

// program applies updates until ctx is done. What it programmed stays in effect after that;
// ipvs.Cleanup removes it. Real programs use package reconciler, which retries.
func program(ctx context.Context, updates <-chan *localsink.Update) error {
	backend, err := ipvs.New(ipvs.Config{Scheduler: "wlc", StrictARP: true, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err // it names the remedy
	}
	defer backend.Close()
	var last *localsink.Update
	for {
		select {
		case <-ctx.Done():
			return nil
		case last = <-updates:
		case <-backend.ResyncRequested(): // the next Sync repairs what another program changed
		}
		if last != nil {
			if err := backend.Sync(ctx, last); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
}

func ExampleNew() {
	_ = program // needs a kernel with IPVS
	_, err := ipvs.New(ipvs.Config{Scheduler: "fastest", UDPTimeout: time.Millisecond})
	fmt.Println(err)
	// Output:
	// ipvs: Config.Scheduler: "fastest" must be one of ["rr" "wrr" "lc" "wlc" "sh" "mh" "dh" "sed" "nq"]
	// ipvs: Config.UDPTimeout: 1ms must be zero or at least one second
}
