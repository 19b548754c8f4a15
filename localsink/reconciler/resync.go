// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"context"

	"sigs.k8s.io/kpng/localsink"
)

// mergeResyncRequests forwards the requests of all ResyncRequesters inside sink to one
// channel, which holds at most one request. stop ends the forwarding and returns when its
// goroutines have ended.
func mergeResyncRequests(ctx context.Context, sink localsink.Sink) (requests <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	merged, ended, n := make(chan struct{}, 1), make(chan struct{}), 0
	for s := range localsink.Walk(sink) {
		requester, ok := s.(localsink.ResyncRequester)
		if !ok {
			continue
		}
		n++
		go func() {
			defer func() { ended <- struct{}{} }()
			forward(ctx, requester.ResyncRequested(), merged)
		}()
	}
	return merged, func() {
		cancel()
		for range n {
			<-ended
		}
	}
}

// forward sends a request to out for each one from in, unless out holds one already.
func forward(ctx context.Context, in <-chan struct{}, out chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-in:
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}
}
