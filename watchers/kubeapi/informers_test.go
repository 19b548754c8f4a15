// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// annotation is attached to objects as an extension.
const annotation = "vendor.example/mode"

// An informerSource is a fake API server with informers that run until the test ends.
type informerSource struct {
	testing.TB

	client  *fake.Clientset
	watcher *informerWatcher
	version int         // the last resource version
	events  chan string // the names of the objects of all events
}

func newInformerSource(t testing.TB) *informerSource {
	s := &informerSource{TB: t, client: fake.NewClientset(), events: make(chan string, 1000)}
	// The fake server loses what is written after a list and before its watch.
	watching := make(chan struct{}, 1000)
	s.client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		w, err := s.client.Tracker().Watch(action.GetResource(), action.GetNamespace())
		watching <- struct{}{}
		return true, w, err
	})
	factory := informers.NewSharedInformerFactory(s.client, 0)
	extend, err := kubeapi.CopyKeys(annotation)
	require.NoError(t, err)
	s.watcher = newInformerWatcher(factory, kubeapi.Converter{Extend: extend}, slog.New(slog.DiscardHandler))
	for _, k := range s.watcher.kinds {
		received := func(object any) {
			name, err := cache.DeletionHandlingObjectToName(object)
			require.NoError(t, err)
			s.events <- name.String()
		}
		_, err := k.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: received, UpdateFunc: func(_, object any) { received(object) }, DeleteFunc: received,
		})
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	factory.Start(ctx.Done())
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
	for range s.watcher.kinds {
		<-watching
	}
	// An informer starts the goroutines of its handlers late. An event proves that they run, so
	// that a test does not take them for those of the watcher.
	meta := metav1.ObjectMeta{Namespace: "default", Name: "first"}
	for _, o := range []watchertest.APIObject{
		&corev1.Service{ObjectMeta: meta}, &discoveryv1.EndpointSlice{ObjectMeta: meta},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "first"}}, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "first"}},
	} {
		s.apply(o)
		s.delete(o)
	}
	return s
}

func resourceOf(object runtime.Object) schema.GroupVersionResource {
	switch object.(type) {
	case *corev1.Service:
		return corev1.SchemeGroupVersion.WithResource("services")
	case *discoveryv1.EndpointSlice:
		return discoveryv1.SchemeGroupVersion.WithResource("endpointslices")
	case *networkingv1.ServiceCIDR:
		return networkingv1.SchemeGroupVersion.WithResource("servicecidrs")
	}
	return corev1.SchemeGroupVersion.WithResource("nodes")
}

// apply writes objects and waits until the informers have them.
func (s *informerSource) apply(objects ...watchertest.APIObject) {
	for _, o := range objects {
		s.version++
		o.SetResourceVersion(strconv.Itoa(s.version))
		err := s.client.Tracker().Create(resourceOf(o), o, o.GetNamespace())
		if err != nil {
			require.NoError(s, s.client.Tracker().Update(resourceOf(o), o, o.GetNamespace()))
		}
		s.await(o)
	}
}

func (s *informerSource) delete(objects ...watchertest.APIObject) {
	for _, o := range objects {
		require.NoError(s, s.client.Tracker().Delete(resourceOf(o), o.GetNamespace(), o.GetName()))
		s.await(o)
	}
}

// await waits for an event of an object.
func (s *informerSource) await(o watchertest.APIObject) {
	want := cache.MetaObjectToName(o).String()
	select {
	case got := <-s.events:
		require.Equal(s, want, got)
	case <-time.After(10 * time.Second):
		require.FailNow(s, "timeout", "waiting for an event of %s", want)
	}
}

func TestInformerWatcher(t *testing.T) {
	watchertest.TestWatcher(t, func(t *testing.T) watchertest.Harness {
		s := newInformerSource(t)
		return watchertest.Harness{Watcher: s.watcher, Annotation: annotation, Apply: s.apply, Delete: s.delete}
	})
}

// TestInformerWatcherAppliesTombstones deletes an object while its informer has no watch, so
// that the informer only finds it missing in its next list.
func TestInformerWatcherAppliesTombstones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "deleted"}},
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kept"}})
		services := make(chan *watch.FakeWatcher, 10)
		client.PrependWatchReactor("services", func(clienttesting.Action) (bool, watch.Interface, error) {
			w := watch.NewFake() // without the events of the server
			services <- w
			return true, w, nil
		})
		factory := informers.NewSharedInformerFactory(client, 0)
		var tombstones atomic.Int32
		_, err := factory.Core().V1().Services().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(object any) {
			if _, ok := object.(cache.DeletedFinalStateUnknown); ok {
				tombstones.Add(1)
			}
		}})
		require.NoError(t, err)
		watcher := newInformerWatcher(factory, kubeapi.Converter{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		factory.Start(ctx.Done())
		store, done := watchers.NewStore(), make(chan error, 1)
		go func() { done <- watcher.Run(ctx, store) }()
		synctest.Wait()
		time.Sleep(time.Minute)
		require.Equal(t, 3, store.Snapshot().Len(), "two Services and the synced marker")

		require.NoError(t, client.Tracker().Delete(resourceOf(&corev1.Service{}), "default", "deleted"))
		expired := apierrors.NewResourceExpired("the informer lists again").Status()
		(<-services).Error(&expired)
		time.Sleep(time.Minute)
		require.Equal(t, int32(1), tombstones.Load(), "the informer has missed the deletion")
		require.Nil(t, store.Snapshot().Service(watchers.ServiceName{Namespace: "default", Name: "deleted"}))
		require.NotNil(t, store.Snapshot().Service(watchers.ServiceName{Namespace: "default", Name: "kept"}))
		cancel()
		require.NoError(t, <-done)
		factory.Shutdown()
	})
}
