// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reflectors

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func svc(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1"}}
}

func id(name string) watchers.ServiceName { return watchers.ServiceName{Namespace: "ns", Name: name} }

// TestIN07StoreWriter passes values that a reflector may pass besides objects of its kind.
func TestIN07StoreWriter(t *testing.T) {
	type fixture struct {
		writer cache.TransformingStore
		store  *watchers.Store
		log    *bytes.Buffer
	}
	for id, test := range map[string]func(t *testing.T, s fixture){
		"IN-07 list with values of other types": func(t *testing.T, s fixture) {
			require.NoError(t, s.writer.Replace([]any{svc("a"), svc("b"), "junk", &corev1.Pod{}}, "1"))
			require.Equal(t, 3, s.store.Snapshot().Len())
			require.Equal(t, 1, strings.Count(s.log.String(), "Value is not an API object, ignored"))
			require.Equal(t, 1, strings.Count(s.log.String(), "Object is invalid, ignored"))
		},
		"IN-07 tombstone": func(t *testing.T, s fixture) {
			require.NoError(t, s.writer.Replace([]any{svc("a"), svc("b")}, "1"))
			require.NoError(t, s.writer.Delete(cache.DeletedFinalStateUnknown{Key: "ns/a"}))
			require.Nil(t, s.store.Snapshot().Service(id("a")))
			require.NotNil(t, s.store.Snapshot().Service(id("b")))
		},
		"IN-07 tombstone with an invalid key": func(t *testing.T, s fixture) {
			require.NoError(t, s.writer.Replace([]any{svc("a")}, "1"))
			require.NoError(t, s.writer.Delete(cache.DeletedFinalStateUnknown{Key: "a/b/c"}))
			require.Equal(t, 1, strings.Count(s.log.String(), "Tombstone key is invalid, ignored"))
			require.Equal(t, 2, s.store.Snapshot().Len())
		},
		"IN-07 values that are no API objects": func(t *testing.T, s fixture) {
			require.NoError(t, s.writer.Replace([]any{svc("a")}, "1"))
			require.NoError(t, s.writer.Add(7))
			require.NoError(t, s.writer.Update(7))
			require.NoError(t, s.writer.Update(nil))
			require.NoError(t, s.writer.Delete(7))
			require.Equal(t, 4, strings.Count(s.log.String(), "Value is not an API object, ignored"))
			require.Equal(t, 2, s.store.Snapshot().Len())
		},
		"IN-06 resync of unchanged objects": func(t *testing.T, s fixture) {
			require.NoError(t, s.writer.Replace([]any{svc("a")}, "1"))
			before := s.store.Snapshot()
			require.NoError(t, s.writer.Resync())
			require.NoError(t, s.writer.Update(svc("a")))
			require.NoError(t, s.writer.Replace([]any{svc("a")}, "2"))
			require.Equal(t, before.Revision(), s.store.Snapshot().Revision())
			require.Same(t, before.Service(id("a")), s.store.Snapshot().Service(id("a")))
		},
	} {
		t.Run(id, func(t *testing.T) {
			s := fixture{store: watchers.NewStore(), log: &bytes.Buffer{}}
			services := &Resource{
				Kind: watchers.KindService, Name: "services", Convert: kubeapi.Filter{}.Object,
				Delete: func(tx *watchers.Tx, namespace, name string) {
					tx.DeleteService(watchers.ServiceName{Namespace: namespace, Name: name})
				},
			}
			s.writer = services.Store(s.store, slog.New(slog.NewTextHandler(s.log, nil)))
			test(t, s)
		})
	}
}
