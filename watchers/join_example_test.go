// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
)

const manifest = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
`

// Manifests on disk have precedence over a catalogue.
func ExampleJoin() {
	dir, err := os.MkdirTemp("", "manifests")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(manifest), 0o600); err != nil {
		log.Fatal(err)
	}
	server := serveCatalogue(`{"Services": [
		{"Namespace": "default", "Name": "db", "IP": "10.96.0.20", "Port": 5432},
		{"Namespace": "default", "Name": "web", "IP": "10.96.0.99", "Port": 80}]}`)
	defer server.Close()

	manifests, err := file.New(dir, file.Config{})
	if err != nil {
		log.Fatal(err)
	}
	watcher, err := watchers.Join(watchers.JoinConfig{Logger: slog.New(slog.DiscardHandler)},
		watchers.Source{Name: "manifests", Watcher: manifests},
		watchers.Source{Name: "catalogue", Watcher: &catalogueWatcher{url: server.URL, client: server.Client(), pause: time.Second, logger: slog.Default()}},
	)
	if err != nil {
		log.Fatal(err)
	}

	store := watchers.NewStore()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- watcher.Run(ctx, store) }()
	snap := store.Snapshot()
	for !snap.Synced() {
		<-snap.Newer()
		snap = store.Snapshot()
	}
	for service := range snap.Services() {
		fmt.Println(service.Name, service.ClusterIP, service.Problems)
	}
	cancel()
	fmt.Println("error:", <-done)
	// Output:
	// default/db 10.96.0.20 []
	// default/web 10.96.0.10 [Service default/web: metadata.name: source manifests is used; also defined by catalogue]
	// error: <nil>
}
