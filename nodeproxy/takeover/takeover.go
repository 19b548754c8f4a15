// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package takeover removes the rules that kube-proxy's nftables mode left on a node. It
// removes whole tables, whatever rules they have.
package takeover

import (
	"context"

	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
)

// kubeProxyTable is the name of the tables of kube-proxy's nftables mode.
const kubeProxyTable = "kube-proxy"

// NewSink returns a sink that removes kube-proxy's tables in the first update, and in
// each one that changes the node. Run it after the sink that programs the rules, so that
// the node is never without rules.
func NewSink() localsink.Sink { return newSink(Cleanup) }

func newSink(cleanup func() error) localsink.Sink {
	return localsink.Func(func(_ context.Context, u *localsink.Update) error {
		if !u.NodeChanged {
			return nil
		}
		return cleanup()
	})
}

// Cleanup removes kube-proxy's tables from the network namespace. Absent tables are no
// error.
func Cleanup() error { return nftables.Cleanup(kubeProxyTable) }
