// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package apidecode

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// protobufOf returns the serializer for protobuf of one for all media types.
func protobufOf(t testing.TB, s runtime.NegotiatedSerializer) runtime.Serializer {
	t.Helper()
	info, ok := runtime.SerializerInfoForMediaType(s.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	require.True(t, ok)
	return info.Serializer
}

// encode returns the encoding of an object, with its apiVersion and kind.
func encode(t testing.TB, o runtime.Object) []byte {
	t.Helper()
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	require.NoError(t, err)
	o.GetObjectKind().SetGroupVersionKind(kinds[0])
	var data bytes.Buffer
	require.NoError(t, protobufOf(t, scheme.Codecs).Encode(o, &data))
	return data.Bytes()
}

// kinds returns an empty object of each kind that this package decodes.
func kinds() []runtime.Object {
	return []runtime.Object{
		&corev1.Service{}, &corev1.Node{}, &discoveryv1.EndpointSlice{},
		&corev1.ServiceList{}, &corev1.NodeList{}, &discoveryv1.EndpointSliceList{},
	}
}

// withoutManagedFields removes the managed fields of an object, or of the items of a list.
func withoutManagedFields(t testing.TB, o runtime.Object) {
	t.Helper()
	if meta.IsListType(o) {
		require.NoError(t, meta.EachListItem(o, func(item runtime.Object) error { withoutManagedFields(t, item); return nil }))
		return
	}
	m, err := meta.Accessor(o)
	require.NoError(t, err)
	m.SetManagedFields(nil)
}

// checkEqual decodes data with and without this package and compares the results. It returns
// whether this package decoded it.
func checkEqual(t testing.TB, data []byte, into runtime.Object) (own bool) {
	t.Helper()
	original := slices.Clone(data)
	var wantInto, scratch runtime.Object
	if into != nil {
		wantInto, scratch = into.DeepCopyObject(), into.DeepCopyObject()
	}
	want, wantKind, wantErr := protobufOf(t, scheme.Codecs).Decode(slices.Clone(data), nil, wantInto)
	got, kind, err := protobufOf(t, NewSerializer()).Decode(data, nil, into)
	require.Equal(t, original, data, "the input is unchanged")
	clear(data) // the result must not depend on the input
	if wantErr != nil {
		require.Equal(t, wantErr, err)
		return false
	}
	require.NoError(t, err)
	require.Equal(t, wantKind, kind)
	if into != nil {
		require.Same(t, into, got)
	}
	kindOf, raw, ok := openEnvelope(original)
	own = ok && decodeKind(kindOf, raw, scratch) != nil
	if own {
		withoutManagedFields(t, want)
	}
	require.Equal(t, want, got)
	return own
}

func TestRandomObjectsAreEqual(t *testing.T) {
	for _, empty := range kinds() {
		t.Run(fmt.Sprintf("%T", empty), func(t *testing.T) {
			own, others := 0, 0
			for seed := range uint64(1000) {
				o := empty.DeepCopyObject()
				filler{rand.New(rand.NewPCG(seed, 1))}.fill(reflect.ValueOf(o).Elem(), 0)
				var into runtime.Object
				if seed%2 == 0 {
					into = empty.DeepCopyObject()
					filler{rand.New(rand.NewPCG(seed, 2))}.fill(reflect.ValueOf(into).Elem(), 0)
				}
				if checkEqual(t, encode(t, o), into) {
					own++
				} else {
					others++
				}
			}
			require.NotZero(t, own)
			if _, list := empty.(metav1.ListInterface); !list {
				require.Greater(t, own, others, "the generated code decodes exceptions only")
			}
		})
	}
}

// TestCorruptObjectsAreEqual changes, removes and adds bytes. In managed fields, which are
// skipped, corruption is no error here; the objects have none.
func TestCorruptObjectsAreEqual(t *testing.T) {
	for _, empty := range kinds()[:3] {
		for seed := range uint64(300) {
			random := rand.New(rand.NewPCG(seed, 3))
			o := empty.DeepCopyObject()
			filler{random}.fill(reflect.ValueOf(o).Elem(), 0)
			withoutManagedFields(t, o)
			data := encode(t, o)
			for range 20 {
				corrupt := slices.Clone(data)
				for range 1 + random.IntN(3) {
					at := len(magic) + random.IntN(len(corrupt)-len(magic))
					switch random.IntN(3) {
					case 0:
						corrupt[at] = byte(random.IntN(256))
					case 1:
						corrupt = corrupt[:at+1]
					case 2:
						corrupt = slices.Insert(corrupt, at, byte(random.IntN(256)))
					}
				}
				if hasManagedFields(corrupt) {
					continue
				}
				checkEqual(t, corrupt, nil)
			}
		}
	}
}

// hasManagedFields reports whether corruption has made managed fields of something else.
func hasManagedFields(data []byte) bool {
	_, raw, ok := openEnvelope(data)
	if !ok {
		return false
	}
	metadata, length := nextField(raw)
	return length > 0 && countFields(metadata.bytes, metadataManagedFields) > 0
}

// FuzzDecode compares the results for any input.
func FuzzDecode(f *testing.F) {
	for _, empty := range kinds() {
		for seed := range uint64(8) {
			o := empty.DeepCopyObject()
			filler{rand.New(rand.NewPCG(seed, 4))}.fill(reflect.ValueOf(o).Elem(), 0)
			if !meta.IsListType(o) {
				withoutManagedFields(f, o)
				f.Add(encode(f, o))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !hasManagedFields(data) {
			checkEqual(t, data, nil)
		}
	})
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}}}
	raw, err := slice.Marshal()
	require.NoError(t, err)
	raw = append(raw, 99<<3&0x7f|0x80|2, 99>>4, 2, 'h', 'i') // field 99, two bytes
	raw = append(raw, 15<<3|5, 1, 2, 3, 4)                   // field 15, a fixed 32-bit number
	raw = append(raw, 14<<3|1, 1, 2, 3, 4, 5, 6, 7, 8)       // field 14, a fixed 64-bit number
	raw = append(raw, 13<<3, 0xff, 1)                        // field 13, a varint
	data := envelope(t, "discovery.k8s.io/v1", "EndpointSlice", raw)
	require.True(t, checkEqual(t, data, nil))
}

// envelope returns the encoding of an object whose message is raw.
func envelope(t testing.TB, version, kind string, raw []byte) []byte {
	t.Helper()
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: version, Kind: kind}, Raw: raw}
	data, err := unknown.Marshal()
	require.NoError(t, err)
	return append([]byte(magic), data...)
}

func TestBookmarks(t *testing.T) {
	for _, o := range kinds()[:3] {
		m, err := meta.Accessor(o)
		require.NoError(t, err)
		m.SetResourceVersion("7")
		m.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
		require.True(t, checkEqual(t, encode(t, o), nil))
	}
}

func TestOtherObjectsAreLeftToTheSerializer(t *testing.T) {
	require.False(t, checkEqual(t, encode(t, &metav1.Status{Status: metav1.StatusFailure, Code: 410, Message: "too old"}), nil))
	require.False(t, checkEqual(t, encode(t, &corev1.Pod{}), nil))
	require.False(t, checkEqual(t, encode(t, &corev1.Service{}), &runtime.Unknown{}))
	require.False(t, checkEqual(t, envelope(t, "discovery.k8s.io/v1beta1", "EndpointSlice", nil), nil))
	require.False(t, checkEqual(t, []byte(`{"kind":"Service","apiVersion":"v1"}`), nil))
	require.False(t, checkEqual(t, nil, nil))
	o, _, err := protobufOf(t, NewSerializer()).Decode(encode(t, &corev1.Service{}), nil, &corev1.Node{})
	require.NoError(t, err)
	require.IsType(t, &corev1.Service{}, o, "the type of the target is not that of the object")
}

// TestEndpointsShareNoFields checks that values in one allocation do not overlap.
func TestEndpointsShareNoFields(t *testing.T) {
	o, _, err := protobufOf(t, NewSerializer()).Decode(encode(t, largeSlice()), nil, nil)
	require.NoError(t, err)
	slice := o.(*discoveryv1.EndpointSlice)
	first := &slice.Endpoints[0]
	first.Addresses = append(first.Addresses, "appended")
	first.Hints.ForZones = append(first.Hints.ForZones, discoveryv1.ForZone{Name: "appended"})
	want := largeSlice()
	want.Endpoints[0].Addresses = append(want.Endpoints[0].Addresses, "appended")
	want.Endpoints[0].Hints.ForZones = append(want.Endpoints[0].Hints.ForZones, discoveryv1.ForZone{Name: "appended"})
	require.Equal(t, want.Endpoints, slice.Endpoints)
}

func TestDecodingAllocatesLittle(t *testing.T) {
	decoder, data := protobufOf(t, NewSerializer()), encode(t, largeSlice())
	require.Less(t, testing.AllocsPerRun(10, func() { _, _, _ = decoder.Decode(data, nil, nil) }), 60.0)
}

// largeSlice returns a slice of 100 endpoints as the controller of EndpointSlices writes it.
func largeSlice() *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "web-abcde", GenerateName: "web-", UID: "5a4f0f6c-8f3c-4e5c-9c5d-000000000000", ResourceVersion: "123456",
			Labels:          map[string]string{discoveryv1.LabelServiceName: "web", discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "web", UID: "5a4f0f6c-8f3c-4e5c-9c5d-000000000000"}},
			ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "kube-controller-manager", FieldsV1: metav1.NewFieldsV1(strings.Repeat("x", 600))}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}},
	}
	for i := range 100 {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.0.0.%d", i)},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			NodeName:   new(fmt.Sprintf("node-%d.some-region.compute.internal", i)),
			Zone:       new("zone-a"),
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: fmt.Sprint("web-", i), UID: "5a4f0f6c-8f3c-4e5c-9c5d-000000000000"},
			Hints:      &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "zone-a"}}},
		})
	}
	return s
}

// BenchmarkDecode decodes a slice of 10 endpoints and a Service with the generated code, and
// with this package.
func BenchmarkDecode(b *testing.B) {
	slice := largeSlice()
	slice.Endpoints = slice.Endpoints[:10]
	service := &corev1.Service{ObjectMeta: slice.ObjectMeta, Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1", Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	for name, s := range map[string]runtime.Serializer{"generated": protobufOf(b, scheme.Codecs), "own": protobufOf(b, NewSerializer())} {
		for kind, o := range map[string]runtime.Object{"EndpointSlice": slice, "Service": service} {
			b.Run(kind+"/"+name, func(b *testing.B) {
				data := encode(b, o)
				b.ReportAllocs()
				for b.Loop() {
					if _, _, err := s.Decode(data, nil, nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

var _ runtime.NegotiatedSerializer = serializer{}

func TestNegotiatorDecodesWatchesAndLists(t *testing.T) {
	negotiator := runtime.NewClientNegotiator(NewSerializer(), schema.GroupVersion{Version: "v1"})
	objects, _, _, err := negotiator.StreamDecoder(runtime.ContentTypeProtobuf, map[string]string{"stream": "watch"})
	require.NoError(t, err)
	lists, err := negotiator.Decoder(runtime.ContentTypeProtobuf, nil)
	require.NoError(t, err)
	slice := largeSlice()
	for _, d := range []runtime.Decoder{objects, lists} {
		o, _, err := d.Decode(encode(t, slice.DeepCopy()), nil, nil)
		require.NoError(t, err)
		got := o.(*discoveryv1.EndpointSlice)
		require.Empty(t, got.ManagedFields, "this package has decoded it")
		require.Equal(t, slice.Endpoints, got.Endpoints)
		require.Empty(t, got.Kind)
	}
}
