// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

// NodeText is a line about a node.
func NodeText(name string, ips []netip.Addr, leaving bool) string {
	text := fmt.Sprintf("# node %s %v", name, ips)
	if leaving {
		text += " leaving"
	}
	return text
}

// Printer returns a sink that prints what changes.
func Printer(w io.Writer) localsink.Sink {
	return localsink.Func(func(_ context.Context, u *localsink.Update) error {
		if u.NodeChanged {
			fmt.Fprintln(w, NodeText(u.Node.Name, u.Node.IPs, u.Node.Deleting))
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
