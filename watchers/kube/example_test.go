// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"context"
	"fmt"
	"log"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kube"
)

func Example() {
	// A program with an API server uses kubernetes.NewForConfig(kube.Tuned(restConfig)).
	client := fake.NewClientset(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.10"},
	})
	watcher, err := kube.New(client, kube.Config{NodeName: "node-1"})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	store, done := watchers.NewStore(), make(chan error, 1)
	go func() { done <- watcher.Run(ctx, store) }()

	snapshot := store.Snapshot()
	for !snapshot.Synced() {
		<-snapshot.Newer()
		snapshot = store.Snapshot()
	}
	for svc := range snapshot.Services() {
		fmt.Println(svc.Name, svc.ClusterIP)
	}
	cancel()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	// Output: default/web 10.96.0.10
}
