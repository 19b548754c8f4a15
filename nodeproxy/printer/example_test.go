// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package printer_test

import (
	"context"
	"net/netip"
	"os"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/printer"
)

func ExampleNew() {
	web := &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: "web"}}
	node := &localsink.Node{Name: "node-1", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	deleting := *node
	deleting.Deleting = true

	sink := printer.New(os.Stdout)
	_ = sink.Sync(context.Background(), &localsink.Update{Node: node, NodeChanged: true, Changed: []*localsink.Service{web}})
	_ = sink.Sync(context.Background(), &localsink.Update{Node: &deleting, NodeChanged: true, Removed: []*localsink.Service{web}})
	// Output:
	// # node node-1 [192.0.2.1]
	// + default/web
	// # node node-1 [192.0.2.1] deleting
	// - default/web
}
