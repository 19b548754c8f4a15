// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package mcs_test

import (
	"context"
	"fmt"
	"log"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	fakedynamic "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/mcs"
)

// A proxy serves the ServiceImports of a cluster beside its Services. Fake clients replace those
// of the API server.
func ExampleNew() {
	web := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceImport",
		"metadata": map[string]any{"namespace": "default", "name": "web"},
		"spec":     map[string]any{"type": "ClusterSetIP", "ips": []any{"10.42.0.1"}, "ports": []any{map[string]any{"port": int64(80)}}},
	}}
	kinds := map[schema.GroupVersionResource]string{
		{Group: "multicluster.x-k8s.io", Version: "v1beta1", Resource: "serviceimports"}: "ServiceImportList",
	}
	objects, client := fakedynamic.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, web), fake.NewClientset()

	services, err := kube.New(client, kube.Config{NodeName: "node-1"})
	if err != nil {
		log.Fatal(err)
	}
	imports, err := mcs.New(objects, client, mcs.Config{Cluster: "cluster-1"})
	if err != nil {
		log.Fatal(err)
	}
	watcher, err := watchers.Join(watchers.JoinConfig{},
		watchers.Source{Name: "kube", Watcher: services}, watchers.Source{Name: "mcs", Watcher: imports})
	if err != nil {
		log.Fatal(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	store, ended := watchers.NewStore(), make(chan error)
	go func() { ended <- watcher.Run(ctx, store) }()
	cluster := store.Snapshot()
	for ; !cluster.Synced(); cluster = store.Snapshot() {
		<-cluster.Newer()
	}
	s := cluster.Service(watchers.ServiceName{Namespace: "default", Name: "web", Origin: mcs.Origin})
	fmt.Println(s.Name, s.ClusterIP, s.Ports[0].Port)
	stop()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// Output: ServiceImport:default/web 10.42.0.1 80
}
