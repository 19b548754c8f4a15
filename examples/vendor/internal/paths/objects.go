// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package paths

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"

	"sigs.k8s.io/kpng/watchers"
)

// Client returns a client of an API server that has the objects of a manifest.
func Client(t *testing.T, manifest string) kubernetes.Interface {
	t.Helper()
	var objects []runtime.Object
	for document := range strings.SplitSeq(manifest, "\n---\n") {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		noError(t, err)
		objects = append(objects, object)
	}
	return fake.NewClientset(objects...)
}

// ChangeService changes a Service of the namespace "default" in the API server.
func ChangeService(t *testing.T, client kubernetes.Interface, name string, change func(svc *corev1.Service)) {
	t.Helper()
	services := client.CoreV1().Services("default")
	svc, err := services.Get(context.Background(), name, metav1.GetOptions{})
	noError(t, err)
	change(svc)
	_, err = services.Update(context.Background(), svc, metav1.UpdateOptions{})
	noError(t, err)
}

// Timeout is how long a test waits for what happens within milliseconds.
const Timeout = 30 * time.Second

// Await returns the first synced snapshot for which ready returns true.
func Await(t *testing.T, store *watchers.Store, ready func(snapshot watchers.Snapshot) bool) watchers.Snapshot {
	t.Helper()
	timeout := time.After(Timeout)
	for {
		snapshot := store.Snapshot()
		if snapshot.Synced() && ready(snapshot) {
			return snapshot
		}
		select {
		case <-snapshot.Newer():
		case <-timeout:
			t.Fatal("the store does not reach the expected state")
		}
	}
}
