// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"strings"
	"sync"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/watchers"
)

// A objectKey names a fact as the protocol does: a slice by its own name only, so that one
// which moves to another Service is one change.
type objectKey struct {
	kind            kpng.ObjectKind
	namespace, name string
}

func (k objectKey) compare(o objectKey) int {
	return cmp.Or(cmp.Compare(k.kind, o.kind), strings.Compare(k.namespace, o.namespace), strings.Compare(k.name, o.name))
}

// String names the object as Problems do.
func (k objectKey) String() string {
	kind := map[kpng.ObjectKind]string{
		kpng.ObjectKind_OBJECT_KIND_NODE: "Node", kpng.ObjectKind_OBJECT_KIND_SERVICE: "Service",
		kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE: "EndpointSlice", kpng.ObjectKind_OBJECT_KIND_SERVICE_CIDR: "ServiceCIDR",
	}[k.kind]
	if kind == "" {
		kind = k.kind.String()
	}
	if k.namespace != "" {
		return kind + " " + k.namespace + "/" + k.name
	}
	return kind + " " + k.name
}

// objectKeyOf returns the key of a fact, and false for what is none.
func objectKeyOf(k watchers.Key) (objectKey, bool) {
	switch k.Kind {
	case watchers.KindNode:
		return objectKey{kpng.ObjectKind_OBJECT_KIND_NODE, "", k.Name}, true
	case watchers.KindService:
		return objectKey{kpng.ObjectKind_OBJECT_KIND_SERVICE, k.Namespace, k.Name}, true
	case watchers.KindEndpointSlice:
		return objectKey{kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE, k.Namespace, k.Slice}, true
	case watchers.KindServiceCIDR:
		return objectKey{kpng.ObjectKind_OBJECT_KIND_SERVICE_CIDR, "", k.Name}, true
	}
	return objectKey{}, false
}

// hasNames says that a fact has all its names; who makes others makes no sense to anybody.
func hasNames(k watchers.Key) bool {
	namespaced := k.Kind == watchers.KindService || k.Kind == watchers.KindEndpointSlice
	return k.Name != "" && (k.Namespace != "") == namespaced && (k.Slice != "") == (k.Kind == watchers.KindEndpointSlice)
}

// An objectItem is a fact as streams are told of it. Whose a slice is depends on its Service,
// so there may be several items of one value of a fact; they share what is told.
type objectItem struct {
	key      objectKey
	sequence uint64
	owner    string
	encoded  *encodedObject
}

// encodedObject is a fact with its encoding, which is made when somebody is told of it.
type encodedObject struct {
	object   watchers.Object
	once     sync.Once
	encoding *fanout.Encoding
}

// Sequence implements fanout.Item.
func (i *objectItem) Sequence() uint64 { return i.sequence }

// For implements fanout.Item.
func (i *objectItem) For(class string) *fanout.Encoding {
	if !selects(class, i.owner, i.key.namespace) {
		return nil
	}
	i.encoded.once.Do(func() { i.encoded.encoding = encode(i.key, i.encoded.object) })
	return i.encoded.encoding
}
