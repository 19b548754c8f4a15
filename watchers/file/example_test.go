// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
)

const manifest = `
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  clusterIP: 10.96.0.10
  ports:
  - port: 80
---
apiVersion: v1
kind: Service
metadata:
  name: mail
spec:
  clusterIP: 10.96.0.11
  prots:
  - port: 25
`

func Example() {
	dir, err := os.MkdirTemp("", "manifests")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "services.yaml"), []byte(manifest), 0o600); err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	watcher, err := file.New(dir, file.Config{OnErrors: func(errs []*file.Error) {
		for _, e := range errs {
			fmt.Printf("%s:%d: %s: %v\n", filepath.Base(e.File), e.Line, e.Object, e.Err)
		}
		cancel() // stop after the first report
	}})
	if err != nil {
		log.Fatal(err)
	}
	store := watchers.NewStore()
	if err := watcher.Run(ctx, store); err != nil {
		log.Fatal(err)
	}
	for svc := range store.Snapshot().Services() {
		fmt.Println(svc.Name, svc.ClusterIP)
	}
	// Output:
	// services.yaml:17: Service default/mail: unknown field "spec.prots"; ignored
	// default/mail 10.96.0.11
	// default/web 10.96.0.10
}
