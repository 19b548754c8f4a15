// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package apidecode

import (
	"bytes"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Numbers of fields in the envelope of an object, a runtime.Unknown.
const (
	envelopeType = 1
	envelopeRaw  = 2

	typeAPIVersion = 1
	typeKind       = 2
)

// magic begins each envelope.
const magic = "k8s\x00"

// A decoder decodes objects of the supported kinds, and leaves all others to the serializer.
type decoder struct{ runtime.Serializer }

// Decode implements [runtime.Decoder].
func (d decoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if kind, raw, ok := openEnvelope(data); ok {
		if o := decodeKind(kind, raw, into); o != nil {
			o.GetObjectKind().SetGroupVersionKind(kind)
			return o, &kind, nil
		}
	}
	return d.Serializer.Decode(data, defaults, into)
}

// openEnvelope returns the kind of an object, and the object.
func openEnvelope(data []byte) (kind schema.GroupVersionKind, raw []byte, ok bool) {
	data, ok = bytes.CutPrefix(data, []byte(magic))
	for ok && len(data) > 0 {
		f, length := nextField(data)
		if ok = length > 0 && f.wire == wireBytes; !ok {
			break
		}
		data = data[length:]
		switch f.number {
		case envelopeType:
			kind, ok = decodeType(f.bytes)
		case envelopeRaw:
			raw = f.bytes
		}
	}
	return kind, raw, ok
}

// decodeType decodes a runtime.TypeMeta of a supported group, version and kind. It
// does not allocate.
func decodeType(data []byte) (kind schema.GroupVersionKind, ok bool) {
	for len(data) > 0 {
		f, length := nextField(data)
		if length == 0 || f.wire != wireBytes {
			return kind, false
		}
		data = data[length:]
		switch f.number {
		case typeAPIVersion:
			switch string(f.bytes) {
			case "v1":
				kind.Version = "v1"
			case "discovery.k8s.io/v1":
				kind.Group, kind.Version = discoveryv1.GroupName, "v1"
			default:
				return kind, false
			}
		case typeKind:
			for _, known := range [...]string{"EndpointSlice", "EndpointSliceList", "Service", "ServiceList", "Node", "NodeList"} {
				if string(f.bytes) == known {
					kind.Kind = known
				}
			}
		}
	}
	return kind, kind.Kind != "" && kind.Version != ""
}

// decodeKind decodes an object of a kind, into a given one unless that is nil. It returns nil
// if it cannot.
func decodeKind(kind schema.GroupVersionKind, data []byte, into runtime.Object) runtime.Object {
	switch kind.Group + " " + kind.Kind {
	case " Service":
		return decodeInto(data, into, decodeService)
	case " Node":
		return decodeInto(data, into, decodeNode)
	case discoveryv1.GroupName + " EndpointSlice":
		return decodeInto(data, into, decodeEndpointSlice)
	case " ServiceList":
		return decodeInto(data, into, func(data []byte, l *corev1.ServiceList) bool {
			return decodeList(data, &l.ListMeta, &l.Items, decodeService)
		})
	case " NodeList":
		return decodeInto(data, into, func(data []byte, l *corev1.NodeList) bool {
			return decodeList(data, &l.ListMeta, &l.Items, decodeNode)
		})
	case discoveryv1.GroupName + " EndpointSliceList":
		return decodeInto(data, into, func(data []byte, l *discoveryv1.EndpointSliceList) bool {
			return decodeList(data, &l.ListMeta, &l.Items, decodeEndpointSlice)
		})
	}
	return nil
}

// decodeInto decodes data into an object of type T: the given one, or a new one.
func decodeInto[T any, P interface {
	*T
	runtime.Object
}](data []byte, into runtime.Object, decode func([]byte, P) bool) runtime.Object {
	target, ok := into.(P)
	if into == nil {
		target, ok = new(T), true
	}
	if !ok || target == nil {
		return nil
	}
	*target = *new(T)
	if !decode(data, target) {
		return nil
	}
	return target
}
