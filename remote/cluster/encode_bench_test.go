// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/watchers"
)

// The objects have none of the vendors' properties.
func BenchmarkEncodeObjects(b *testing.B) {
	objects := []watchers.Object{service(1), slice(1, 100)}
	b.ReportAllocs()
	for b.Loop() {
		for _, o := range objects {
			encode(keyOf(o), o)
		}
	}
}

func BenchmarkDecodeObjects(b *testing.B) {
	var in kpng.WatchClusterResponse
	for _, o := range []watchers.Object{service(1), slice(1, 100)} {
		require.NoError(b, proto.UnmarshalOptions{Merge: true}.Unmarshal(encode(keyOf(o), o).Full, &in))
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, c := range in.GetObjects() {
			if _, _, err := decode(c); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func keyOf(o watchers.Object) (key objectKey) {
	switch o := o.(type) {
	case *watchers.Service:
		key.kind, key.namespace, key.name = kpng.ObjectKind_OBJECT_KIND_SERVICE, o.Name.Namespace, o.Name.Name
	case *watchers.EndpointSlice:
		key.kind, key.namespace, key.name = kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE, o.Namespace, o.Name
	}
	return key
}
