// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"strings"
	"sync"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/watchers"
)

// An objectKey identifies an object in the protocol. The key of an EndpointSlice does not
// contain its Service, so that a slice that moves to another Service is one change.
type objectKey struct {
	kind            kpng.ObjectKind
	namespace, name string
	origin          string // of a Service or the Service of a slice; see watchers.ServiceName
}

func (k objectKey) compare(o objectKey) int {
	return cmp.Or(cmp.Compare(k.kind, o.kind), strings.Compare(k.namespace, o.namespace), strings.Compare(k.name, o.name),
		strings.Compare(k.origin, o.origin))
}

// String returns kind and name in the form of Problem.Object.
func (k objectKey) String() string {
	kind := map[kpng.ObjectKind]string{
		kpng.ObjectKind_OBJECT_KIND_NODE: "Node", kpng.ObjectKind_OBJECT_KIND_SERVICE: "Service",
		kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE: "EndpointSlice", kpng.ObjectKind_OBJECT_KIND_SERVICE_CIDR: "ServiceCIDR",
	}[k.kind]
	switch {
	case kind == "":
		kind = k.kind.String()
	case k.kind == kpng.ObjectKind_OBJECT_KIND_SERVICE && k.namespace != "":
		return k.service().Object()
	}
	if k.namespace != "" {
		return kind + " " + k.namespace + "/" + k.name
	}
	return kind + " " + k.name
}

// service returns the name of a Service.
func (k objectKey) service() watchers.ServiceName {
	return watchers.ServiceName{Namespace: k.namespace, Name: k.name, Origin: k.origin}
}

// objectKeyOf converts a key of the store. It returns false for keys that are not of
// objects, such as the mark that the store is synced.
func objectKeyOf(k watchers.Key) (objectKey, bool) {
	switch k.Kind {
	case watchers.KindNode:
		return objectKey{kind: kpng.ObjectKind_OBJECT_KIND_NODE, name: k.Name}, true
	case watchers.KindService:
		return objectKey{kpng.ObjectKind_OBJECT_KIND_SERVICE, k.Namespace, k.Name, k.Origin}, true
	case watchers.KindEndpointSlice:
		return objectKey{kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE, k.Namespace, k.Slice, k.Origin}, true
	case watchers.KindServiceCIDR:
		return objectKey{kind: kpng.ObjectKind_OBJECT_KIND_SERVICE_CIDR, name: k.Name}, true
	case watchers.KindSynced: // not an object
	}
	return objectKey{}, false
}

// hasNames reports whether a key has exactly the names that its kind requires. Clients
// reject other keys, and several names with invalid UTF-8 would become one, so the server
// does not send them.
func hasNames(k watchers.Key) bool {
	namespaced := k.Kind == watchers.KindService || k.Kind == watchers.KindEndpointSlice
	has := func(name string, required bool) bool {
		return required && localsink.ValidName(name) || !required && name == ""
	}
	return has(k.Name, true) && has(k.Namespace, namespaced) && has(k.Slice, k.Kind == watchers.KindEndpointSlice) &&
		localsink.ValidOrigin(k.Origin)
}

// An objectItem is one version of an object in the hub. The owner of an EndpointSlice
// depends on its Service, so several items may exist for one version of a slice; they share
// its encoding.
type objectItem struct {
	key      objectKey
	sequence uint64 // unique per server
	owner    string // see selector.go
	encoded  *encodedObject
}

// An encodedObject is an object with its encoding, which is computed when it is first sent.
type encodedObject struct {
	object   watchers.Object
	once     sync.Once
	encoding *fanout.Encoding
}

// Version implements fanout.Item.
func (i *objectItem) Version() uint64 { return i.sequence }

// EncodingFor implements fanout.Item. The class of a stream is its selector.
func (i *objectItem) EncodingFor(selector string) *fanout.Encoding {
	if !selects(selector, i.owner, i.key) {
		return nil
	}
	i.encoded.once.Do(func() { i.encoded.encoding = encode(i.key, i.encoded.object) })
	return i.encoded.encoding
}
