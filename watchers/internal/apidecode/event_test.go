// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package apidecode

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	restwatch "k8s.io/client-go/rest/watch"
)

// streamOf returns what decodes the watch events of a serializer.
func streamOf(t testing.TB, s runtime.NegotiatedSerializer) *runtime.StreamSerializerInfo {
	t.Helper()
	info, ok := runtime.SerializerInfoForMediaType(s.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	require.True(t, ok)
	return info.StreamSerializer
}

// TestWatch decodes a stream as client-go does: small and large objects, bookmarks and errors.
func TestWatch(t *testing.T) {
	large := &corev1.Service{Spec: corev1.ServiceSpec{ExternalName: string(bytes.Repeat([]byte("x"), 3*bufferSize))}}
	want := []watch.Event{
		{Type: watch.Added, Object: largeSlice()},
		{Type: watch.Modified, Object: large},
		{Type: watch.Deleted, Object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}},
		{Type: watch.Bookmark, Object: &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7"}}},
		{Type: watch.Error, Object: &metav1.Status{Code: 410, Reason: metav1.StatusReasonExpired}},
	}
	var stream bytes.Buffer
	source := streamOf(t, scheme.Codecs)
	encoder := streaming.NewEncoder(source.NewFrameWriter(&stream), source.Serializer)
	for _, e := range want {
		raw := encode(t, e.Object.DeepCopyObject())
		require.NoError(t, encoder.Encode(&metav1.WatchEvent{Type: string(e.Type), Object: runtime.RawExtension{Raw: raw}}))
	}
	own := streamOf(t, NewSerializer())
	decoder := restwatch.NewDecoder(streaming.NewDecoder(own.NewFrameReader(io.NopCloser(&stream)), own.Serializer),
		NewSerializer().DecoderToVersion(protobufOf(t, NewSerializer()), nil))
	var got []watch.Event
	for range want {
		kind, object, err := decoder.Decode()
		require.NoError(t, err)
		got = append(got, watch.Event{Type: kind, Object: object})
	}
	want[0].Object.(*discoveryv1.EndpointSlice).ManagedFields = nil
	want[4].Object.GetObjectKind().SetGroupVersionKind(got[4].Object.GetObjectKind().GroupVersionKind())
	require.Equal(t, want, got, "an event does not depend on the buffer of the next one")
	_, _, err := decoder.Decode()
	require.ErrorIs(t, err, io.EOF)
}

// TestCorruptEventsAreEqual changes, removes and adds bytes.
func TestCorruptEventsAreEqual(t *testing.T) {
	generated, own := streamOf(t, scheme.Codecs).Serializer, streamOf(t, NewSerializer()).Serializer
	var data bytes.Buffer
	event := &metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Raw: []byte("k8s\x00object")}}
	require.NoError(t, generated.Encode(event, &data))
	for seed := range uint64(5000) {
		random, corrupt := rand.New(rand.NewPCG(seed, 0)), slices.Clone(data.Bytes())
		for range random.IntN(3) {
			at := random.IntN(len(corrupt))
			switch random.IntN(3) {
			case 0:
				corrupt[at] = byte(random.IntN(256))
			case 1:
				corrupt = corrupt[:max(at, 1)]
			case 2:
				corrupt = slices.Insert(corrupt, at, byte(random.IntN(256)))
			}
		}
		want, got := &metav1.WatchEvent{}, &metav1.WatchEvent{}
		_, _, wantErr := generated.Decode(corrupt, nil, want)
		_, _, err := own.Decode(corrupt, nil, got)
		require.Equal(t, wantErr, err)
		if err == nil {
			require.Equal(t, want, got)
		}
	}
	_, _, err := own.Decode(nil, nil, &metav1.WatchEvent{})
	require.Error(t, err)
}
