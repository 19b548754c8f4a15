// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kpng_test

import (
	"context"
	"fmt"
	"log"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers/file"
)

// A complete proxy for node-1: a watcher of manifests in a directory, the resolver, and a
// backend that prints the desired state. With watchers/kube and backends/nftables in their
// place, it serves a cluster.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	backend := localsink.Func(func(ctx context.Context, u *localsink.Update) error {
		for _, svc := range u.Changed {
			fmt.Print(svc.Text())
		}
		cancel() // one state is enough for an example
		return nil
	})
	manifests, err := file.New("testdata/example", file.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if err := nodelocal.Run(ctx, manifests, backend, nodelocal.Config{NodeName: "node-1"}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// default/web
	//   port "http" TCP
	//     ClusterIP 10.96.0.10:80
	//       Any -> 10.244.1.4:8080(local) 10.244.2.7:8080
}
