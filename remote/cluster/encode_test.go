// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/watchers"
)

// No field of an object is lost between server and client. The test fails if a new field is
// missing in fullObjects.
func TestEncodingKeepsEveryField(t *testing.T) {
	for _, object := range fullObjects() {
		v := reflect.ValueOf(object).Elem()
		requireFull(t, v.Type().Name(), v)
		got := roundTrip(t, object)
		require.Equal(t, text(object), text(got))
		if slice, ok := object.(*watchers.EndpointSlice); ok {
			require.True(t, slice.TriggerTime.Equal(got.(*watchers.EndpointSlice).TriggerTime))
		}
	}
}

// requireFull checks that no field of v is zero.
func requireFull(t *testing.T, path string, v reflect.Value) {
	require.False(t, v.IsZero(), "%s is not set by fullObjects", path)
	if _, ok := reflect.TypeAssert[fmt.Stringer](v); ok || v.Type() == reflect.TypeFor[watchers.Extensions]() {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			requireFull(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		requireFull(t, path+"[0]", v.Index(0))
	case reflect.Pointer:
		requireFull(t, path, v.Elem())
	}
}

// roundTrip encodes and decodes an object.
func roundTrip(t *testing.T, object watchers.Object) watchers.Object {
	key := keyOfObject(object)
	e := encode(key, object)
	require.NotNil(t, e)
	var m kpng.WatchClusterResponse
	require.NoError(t, proto.Unmarshal(e.Full, &m))
	require.Len(t, m.GetObjects(), 1)
	require.Equal(t, e.Digest, m.GetObjects()[0].GetDigest())
	gotKey, got, err := decode(m.GetObjects()[0])
	require.NoError(t, err)
	require.Equal(t, key, gotKey)

	m.Reset()
	require.NoError(t, proto.Unmarshal(e.Removal, &m))
	removedKey, removed, err := decode(m.GetObjects()[0])
	require.NoError(t, err)
	require.Equal(t, key, removedKey)
	require.Nil(t, removed)
	return got
}

func keyOfObject(object watchers.Object) (key objectKey) {
	watchers.NewStore().Update(func(tx *watchers.Tx) { key, _ = objectKeyOf(tx.Set(object)) })
	return key
}

func text(object watchers.Object) string {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) { tx.Set(object) })
	return dump(store.Snapshot(), nil)
}

func TestDigestIgnoresTriggerTime(t *testing.T) {
	a, b, c := slice(1, 2), slice(1, 2), slice(1, 1)
	a.TriggerTime = time.Unix(1, 0)
	b.TriggerTime = time.Unix(2, 0)
	key := keyOfObject(a)
	require.Equal(t, encode(key, a).Digest, encode(key, b).Digest)
	require.NotEqual(t, encode(key, a).Full, encode(key, b).Full)
	require.NotEqual(t, encode(key, a).Digest, encode(key, c).Digest)
	require.NotEqual(t, encode(key, a).Digest, encode(objectKey{sliceKind, "default", "other", ""}, a).Digest, "the digest covers the key")
	empty := &watchers.Node{Name: "x"}
	require.NotEqual(t, encode(objectKey{kind: nodeKind, name: "x"}, empty).Digest,
		encode(objectKey{kind: cidrKind, name: "x"}, &watchers.ServiceCIDR{Name: "x"}).Digest, "the digest covers the kind")
}

// Objects without the newer fields have the digests that the first servers computed, so that
// clients resume when a server is updated.
func TestDigestsAreThoseOfFirstVersion(t *testing.T) {
	for digest, object := range map[uint64]watchers.Object{
		0x3c7ca16578cf6f98: service(1), 0x484695da08f625a8: slice(1, 2),
		0x2632dc05777dfbe2: &watchers.Node{Name: "n", Zone: "z", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		0xa53b7f8807c02689: &watchers.ServiceCIDR{Name: "c"},
	} {
		require.Equal(t, digest, encode(keyOfObject(object), object).Digest)
	}
}
