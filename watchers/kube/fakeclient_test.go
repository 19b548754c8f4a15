// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kube"
)

// newFakeClient returns a fake client, and a channel that is closed when n watches have
// been established. A fake client loses changes between a list and its watch.
func newFakeClient(n int, objects ...runtime.Object) (*fake.Clientset, <-chan struct{}) {
	client := fake.NewClientset(objects...)
	watching := make(chan struct{})
	var watches atomic.Int32
	client.PrependWatchReactor("*", func(action k8stesting.Action) (bool, watch.Interface, error) {
		w, err := client.Tracker().Watch(action.GetResource(), action.GetNamespace())
		if int(watches.Add(1)) == n {
			close(watching)
		}
		return true, w, err
	})
	return client, watching
}

func web(labels map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Labels: labels},
		Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1"}}
}

// TestFakeClientset runs the watcher with a client that supports neither streamed lists
// nor selectors for watches.
func TestFakeClientset(t *testing.T) {
	headless := web(nil)
	headless.Name, headless.Spec.ClusterIP = "headless", "None"
	// One watch each for Services, EndpointSlices, the Node and ServiceCIDRs.
	client, watching := newFakeClient(4, web(nil), headless)
	store := watchers.NewStore()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	watcher, err := kube.New(client, kube.Config{NodeName: "n1"})
	require.NoError(t, err)
	go func() { done <- watcher.Run(ctx, store) }()
	<-watching

	await := func(ok func(watchers.Snapshot) bool) {
		t.Helper()
		for snap := store.Snapshot(); !ok(snap); snap = store.Snapshot() {
			select {
			case <-snap.Newer():
			case <-ctx.Done():
				require.FailNow(t, "timeout waiting for a change")
			}
		}
	}
	name := watchers.ServiceName{Namespace: "default", Name: "web"}
	await(func(s watchers.Snapshot) bool { return s.Synced() && s.Len() == 2 && s.Service(name) != nil })

	services := client.CoreV1().Services("default")
	_, err = services.Update(ctx, web(map[string]string{"service.kubernetes.io/service-proxy-name": "other"}), metav1.UpdateOptions{})
	require.NoError(t, err)
	await(func(s watchers.Snapshot) bool { return s.Service(name) == nil })
	_, err = services.Update(ctx, web(nil), metav1.UpdateOptions{})
	require.NoError(t, err)
	await(func(s watchers.Snapshot) bool { return s.Service(name) != nil })
	require.NoError(t, services.Delete(ctx, "web", metav1.DeleteOptions{}))
	await(func(s watchers.Snapshot) bool { return s.Service(name) == nil })
	cancel()
	require.NoError(t, <-done)
}
