// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// An informerWatcher is a watcher of the informers of a program, which starts them.
type informerWatcher struct {
	kinds     []informerKind
	converter kubeapi.Converter
	logger    *slog.Logger
}

// An informerKind is an informer and how to delete its objects from a store.
type informerKind struct {
	kind     watchers.Kind
	informer cache.SharedIndexInformer
	remove   func(tx *watchers.Tx, namespace, name string)
}

// newInformerWatcher must be called before the factory is started.
func newInformerWatcher(factory informers.SharedInformerFactory, converter kubeapi.Converter, logger *slog.Logger) *informerWatcher {
	return &informerWatcher{converter: converter, logger: logger, kinds: []informerKind{
		{watchers.KindService, factory.Core().V1().Services().Informer(), func(tx *watchers.Tx, namespace, name string) {
			tx.DeleteService(watchers.ServiceName{Namespace: namespace, Name: name})
		}},
		{watchers.KindEndpointSlice, factory.Discovery().V1().EndpointSlices().Informer(), (*watchers.Tx).DeleteEndpointSlice},
		{watchers.KindNode, factory.Core().V1().Nodes().Informer(), func(tx *watchers.Tx, _, name string) { tx.DeleteNode(name) }},
		{watchers.KindServiceCIDR, factory.Networking().V1().ServiceCIDRs().Informer(), func(tx *watchers.Tx, _, name string) { tx.DeleteServiceCIDR(name) }},
	}}
}

// Run implements watchers.Watcher.
func (w *informerWatcher) Run(ctx context.Context, store *watchers.Store) error {
	var synced []cache.InformerSynced
	for _, k := range w.kinds {
		apply := func(object any, deleted bool) { w.apply(ctx, store, k, object, deleted) }
		registration, err := k.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { apply(object, false) },
			UpdateFunc: func(_, object any) { apply(object, false) },
			DeleteFunc: func(object any) { apply(object, true) },
		})
		if err != nil {
			return err
		}
		defer func() { _ = k.informer.RemoveEventHandler(registration) }()
		synced = append(synced, registration.HasSynced) // the handler has received all objects
	}
	if cache.WaitForCacheSync(ctx.Done(), synced...) {
		store.Update(func(tx *watchers.Tx) {
			for _, k := range w.kinds {
				tx.Retain(k.kind, k.exists) // an earlier Run may have written others
			}
			tx.SetSynced()
		})
	}
	<-ctx.Done()
	return nil
}

// apply applies an event of an informer. A deleted object may be a tombstone, of the type
// cache.DeletedFinalStateUnknown: the informer has missed the deletion.
func (w *informerWatcher) apply(ctx context.Context, store *watchers.Store, k informerKind, object any, deleted bool) {
	name, err := cache.DeletionHandlingObjectToName(object) // of a tombstone, too
	var converted watchers.Object
	if err == nil && !deleted {
		converted, err = w.converter.Object(object)
	}
	if err != nil {
		w.logger.Warn("Object is invalid, not served", "object", name, "err", err)
	}
	store.Update(func(tx *watchers.Tx) {
		switch {
		case ctx.Err() != nil: // an informer does not wait for handlers that are removed
		case converted != nil:
			tx.Set(converted)
		default: // deleted, invalid, or not selected any more
			k.remove(tx, name.Namespace, name.Name)
		}
	})
}

// exists reports whether the informer has the object with the given key.
func (k informerKind) exists(key watchers.Key) bool {
	name := cache.NewObjectName(key.Namespace, cmp.Or(key.Slice, key.Name))
	_, exists, _ := k.informer.GetStore().GetByKey(name.String())
	return exists
}

func Example_informers() {
	client := fake.NewClientset(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Annotations: map[string]string{"vendor.example/mode": "dsr"}},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.10"},
	})
	factory := informers.NewSharedInformerFactory(client, 0)
	extend, err := kubeapi.CopyKeys("annotation:vendor.example/*")
	if err != nil {
		log.Fatal(err)
	}
	watcher := newInformerWatcher(factory, kubeapi.Converter{Extend: extend}, slog.Default())
	ctx, cancel := context.WithCancel(context.Background())
	factory.Start(ctx.Done())

	store, done := watchers.NewStore(), make(chan error, 1)
	go func() { done <- watcher.Run(ctx, store) }()
	snapshot := store.Snapshot()
	for !snapshot.Synced() {
		<-snapshot.Newer()
		snapshot = store.Snapshot()
	}
	for svc := range snapshot.Services() {
		mode, _ := svc.Extensions.Get("vendor.example/mode")
		fmt.Println(svc.Name, svc.ClusterIP, mode)
	}
	cancel()
	factory.Shutdown()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	// Output: default/web 10.96.0.10 dsr
}
