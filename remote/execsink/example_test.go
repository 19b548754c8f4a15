// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsink_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/remote/execsink"
)

func ExampleNew() {
	program := `read -r line; echo "$line" | cut -c 1-70 >&2; echo '{"ok":1}'; read -r end`
	sink, err := execsink.New(execsink.Config{Command: []string{"sh", "-c", program}, Stderr: os.Stdout})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sink.Close()
	node := &localsink.Node{Name: "node-1", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	fmt.Println(sink.Sync(context.Background(), sinktest.NewUpdate(node, nil, sinktest.NewState())))
	// Output:
	// {"revision":1,"full":true,"node":{"name":"node-1","ips":["192.0.2.1"],
	// <nil>
}
