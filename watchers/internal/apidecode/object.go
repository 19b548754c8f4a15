// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package apidecode

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An object is an API object that the generated code decodes.
type object interface{ Unmarshal(data []byte) error }

// Numbers of fields in messages of Kubernetes.
const (
	objectMetadata        = 1 // of any object
	metadataManagedFields = 17
	listMetadata          = 1
	listItems             = 2
)

// decodeService decodes a Service into s, which is empty, and reports whether it succeeded.
func decodeService(data []byte, s *corev1.Service) bool { return decodeObject(data, &s.ObjectMeta, s) }

// decodeNode does the same with a Node.
func decodeNode(data []byte, n *corev1.Node) bool { return decodeObject(data, &n.ObjectMeta, n) }

// decodeObject decodes an object, and its metadata without the managed fields.
func decodeObject(data []byte, metadata *metav1.ObjectMeta, o object) bool {
	rest, ok := cutMetadata(data, metadata)
	return ok && o.Unmarshal(rest) == nil
}

// cutMetadata decodes the metadata that an object begins with, and returns the rest.
func cutMetadata(data []byte, metadata *metav1.ObjectMeta) (rest []byte, ok bool) {
	if len(data) == 0 {
		return data, true
	}
	first, length := nextField(data)
	if length == 0 || first.number != objectMetadata || first.wire != wireBytes {
		return nil, false
	}
	return data[length:], decodeMetadata(first.bytes, metadata)
}

// decodeMetadata decodes metadata without the managed fields: the generated code decodes what
// is before, between and after them.
func decodeMetadata(data []byte, m *metav1.ObjectMeta) bool {
	begin := 0
	for at := 0; at < len(data); {
		f, length := nextField(data[at:])
		if length == 0 {
			return false
		}
		if f.number == metadataManagedFields && f.wire == wireBytes {
			if m.Unmarshal(data[begin:at]) != nil {
				return false
			}
			begin = at + length
		}
		at += length
	}
	return m.Unmarshal(data[begin:]) == nil
}

// decodeList decodes a list into its metadata and items, and reports whether it succeeded.
func decodeList[T any](data []byte, metadata *metav1.ListMeta, items *[]T, decode func([]byte, *T) bool) bool {
	*metadata, *items = metav1.ListMeta{}, nil
	count := countFields(data, listItems)
	for len(data) > 0 {
		f, length := nextField(data)
		data = data[length:]
		switch {
		case length == 0, f.wire != wireBytes:
			return false
		case f.number == listMetadata:
			if metadata.Unmarshal(f.bytes) != nil {
				return false
			}
		case f.number == listItems:
			if *items == nil {
				*items = make([]T, 0, count)
			}
			*items = append(*items, *new(T))
			if !decode(f.bytes, &(*items)[len(*items)-1]) {
				return false
			}
		}
	}
	return true
}

// countFields returns how often a message has a field.
func countFields[T bytestring](message T, number int32) (count int) {
	for len(message) > 0 {
		f, length := nextField(message)
		if length == 0 {
			return count
		}
		if f.number == number {
			count++
		}
		message = message[length:]
	}
	return count
}

// decodeEndpointSlice decodes an EndpointSlice into s, which is empty, and reports whether it
// succeeded.
func decodeEndpointSlice(data []byte, s *discoveryv1.EndpointSlice) bool {
	rest, ok := cutMetadata(data, &s.ObjectMeta)
	if !ok {
		return false
	}
	d := sliceDecoder{text: string(rest)}
	return d.decode(s)
}
