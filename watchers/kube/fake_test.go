// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kube"
)

// newFake returns a fake client, and a channel that receives as each of n watches is
// about to be served. A fake loses what is written between a list and its watch.
func newFake(n int, objects ...runtime.Object) (*fake.Clientset, <-chan struct{}) {
	client := fake.NewClientset(objects...)
	open := make(chan struct{})
	var watches atomic.Int32
	client.PrependWatchReactor("*", func(action k8stesting.Action) (bool, watch.Interface, error) {
		w, err := client.Tracker().Watch(action.GetResource(), action.GetNamespace())
		if int(watches.Add(1)) == n {
			close(open)
		}
		return true, w, err
	})
	return client, open
}

func web(labels map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Labels: labels},
		Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1"}}
}

// A fake clientset can neither stream lists nor filter watches.
func TestFakeClientset(t *testing.T) {
	headless := web(nil)
	headless.Name, headless.Spec.ClusterIP = "headless", "None"
	// Services, EndpointSlices, the Node, ServiceCIDRs.
	client, watching := newFake(4, web(nil), headless)
	store := watchers.NewStore()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- kube.New(client, kube.Config{NodeName: "n1"}).Run(ctx, store) }()
	<-watching

	next := func(ok func(watchers.Snapshot) bool) {
		t.Helper()
		for snap := store.Snapshot(); !ok(snap); snap = store.Snapshot() {
			select {
			case <-snap.Newer():
			case <-ctx.Done():
				require.FailNow(t, "no change")
			}
		}
	}
	name := watchers.ServiceName{Namespace: "default", Name: "web"}
	next(func(s watchers.Snapshot) bool { return s.Synced() && s.Len() == 2 && s.Service(name) != nil })

	services := client.CoreV1().Services("default")
	_, err := services.Update(ctx, web(map[string]string{"service.kubernetes.io/service-proxy-name": "other"}), metav1.UpdateOptions{})
	require.NoError(t, err)
	next(func(s watchers.Snapshot) bool { return s.Service(name) == nil })
	_, err = services.Update(ctx, web(nil), metav1.UpdateOptions{})
	require.NoError(t, err)
	next(func(s watchers.Snapshot) bool { return s.Service(name) != nil })
	require.NoError(t, services.Delete(ctx, "web", metav1.DeleteOptions{}))
	next(func(s watchers.Snapshot) bool { return s.Service(name) == nil })
	cancel()
	require.NoError(t, <-done)
}

func Example() {
	client := kubernetes.NewForConfigOrDie(kube.Tuned(&rest.Config{Host: "https://api.example:6443"}))
	watcher := kube.New(client, kube.Config{NodeName: "this-node"})

	store := watchers.NewStore()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // an example must end
	if err := watcher.Run(ctx, store); err != nil {
		log.Fatal(err)
	}
	fmt.Println("synced:", store.Snapshot().Synced())
	// Output: synced: false
}
