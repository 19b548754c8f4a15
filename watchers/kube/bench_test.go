// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/apidecode"
	"sigs.k8s.io/kpng/watchers/internal/reflectors"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

const (
	benchServices  = 10_000
	benchEndpoints = 10 // of each Service
)

// encodedCluster returns the objects of a large cluster, encoded as protobuf.
func encodedCluster(b *testing.B) (services, endpoints [][]byte) {
	for i := range benchServices {
		name := fmt.Sprintf("service-%d", i)
		s := svc(name, func(s *corev1.Service) {
			s.Spec.ClusterIP = fmt.Sprintf("10.%d.%d.1", i/250, i%250)
			s.Spec.ClusterIPs, s.Spec.IPFamilies = []string{s.Spec.ClusterIP}, []corev1.IPFamily{corev1.IPv4Protocol}
			s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
		})
		e := slice(name+"-abcde", name)
		e.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}}
		e.Endpoints = nil
		for j := range benchEndpoints {
			e.Endpoints = append(e.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 100+i/250, i%250, j+2)},
				NodeName:  new(fmt.Sprintf("node-%d.some-region.compute.internal", (i+j)%1000)),
				Zone:      new("zone-a"),
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: fmt.Sprintf("%s-%d", name, j), UID: "5a4f0f6c-8f3c-4e5c-9c5d-000000000000"},
				Hints:     &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "zone-a"}}},
			})
		}
		services, endpoints = append(services, encode(b, s, "v1", "Service")), append(endpoints, encode(b, e, "discovery.k8s.io/v1", "EndpointSlice"))
	}
	return services, endpoints
}

// BenchmarkLoad measures the initial load of a large cluster: it decodes objects from
// protobuf one by one, as in a streamed list, and writes them into the store. The custom
// metrics are the heap memory that the store retains.
func BenchmarkLoad(b *testing.B) { benchmarkLoad(b, kubeapi.Converter{}) }

// BenchmarkLoadWithDetails keeps all details, here zone and target of each endpoint.
func BenchmarkLoadWithDetails(b *testing.B) {
	benchmarkLoad(b, kubeapi.Converter{Filter: kubeapi.Filter{Details: kubeapi.DetailsAll}})
}

func benchmarkLoad(b *testing.B, converter kubeapi.Converter) {
	services, endpoints := encodedCluster(b)
	var store *watchers.Store
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		store = watchers.NewStore()
		load(b, store, converter, watchers.KindService, services)
		load(b, store, converter, watchers.KindEndpointSlice, endpoints)
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Equal(b, 2*benchServices+1, store.Snapshot().Len())
	runtime.KeepAlive(services)
	runtime.KeepAlive(endpoints)
	retained := float64(after.HeapAlloc) - float64(before.HeapAlloc)
	b.ReportMetric(retained/(benchServices*benchEndpoints), "B/endpoint")
	b.ReportMetric(retained/(1<<20), "MiB")
}

// encode returns the protobuf encoding of an object.
func encode(b *testing.B, o apiruntime.Object, version, kind string) []byte {
	o.GetObjectKind().SetGroupVersionKind(schemaKind(version, kind))
	var data bytes.Buffer
	require.NoError(b, protobufSerializer(b).Encode(o, &data))
	return data.Bytes()
}

func protobufSerializer(b *testing.B) apiruntime.Serializer {
	info, ok := apiruntime.SerializerInfoForMediaType(apidecode.NewSerializer().SupportedMediaTypes(), apiruntime.ContentTypeProtobuf)
	require.True(b, ok)
	return info.Serializer
}

func load(b *testing.B, store *watchers.Store, converter kubeapi.Converter, kind watchers.Kind, objects [][]byte) {
	r := &reflectors.Resource{Kind: kind, Convert: converter.Object}
	s := r.Store(store, slog.New(slog.DiscardHandler))
	convert, decoder := s.Transformer(), protobufSerializer(b)
	list := make([]any, 0, len(objects))
	for _, data := range objects {
		o, _, err := decoder.Decode(data, nil, nil)
		require.NoError(b, err)
		c, err := convert(o)
		require.NoError(b, err)
		list = append(list, c)
	}
	require.NoError(b, s.Replace(list, "1"))
}
