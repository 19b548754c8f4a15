// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package printer has a sink that prints changes instead of programming a node. It is
// independent of any packet filter.
package printer

import (
	"context"
	"fmt"
	"io"

	"sigs.k8s.io/kpng/localsink"
)

// New returns a sink that prints each change to w: "#" and the node, "+" and a Service
// that was added or changed, "-" and the name of a Service that was removed. Errors of w
// are ignored.
func New(w io.Writer) localsink.Sink {
	return localsink.Func(func(_ context.Context, u *localsink.Update) error {
		if u.NodeChanged {
			fmt.Fprintln(w, nodeText(u.Node))
		}
		for _, svc := range u.Changed {
			fmt.Fprint(w, "+ ", svc.Text())
		}
		for _, svc := range u.Removed {
			fmt.Fprintln(w, "-", svc.Name)
		}
		return nil
	})
}

func nodeText(n *localsink.Node) string {
	text := fmt.Sprintf("# node %s %v", n.Name, n.IPs)
	if n.Deleting {
		text += " deleting"
	}
	return text
}
