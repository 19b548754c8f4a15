// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A kind is a type of resources. Responses are sent in this order, so that a client has a cluster
// before a route to it.
type kind uint8

const (
	kindCluster kind = iota
	kindEndpoints
	kindListener
	kindRoute
	kinds
)

const typePrefix = "type.googleapis.com/"

// url returns the type URL.
func (k kind) url() string {
	return typePrefix + [...]string{
		"envoy.config.cluster.v3.Cluster", "envoy.config.endpoint.v3.ClusterLoadAssignment",
		"envoy.config.listener.v3.Listener", "envoy.config.route.v3.RouteConfiguration",
	}[k]
}

// String returns the name of the type.
func (k kind) String() string {
	return [...]string{"Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"}[k]
}

// complete reports whether a response of the SotW protocol lists all resources that the
// client has subscribed to: those that it does not list do not exist.
func (k kind) complete() bool { return k == kindCluster || k == kindListener }

// kindOf returns the kind with a type URL.
func kindOf(url string) (kind, bool) {
	for k := range kinds {
		if k.url() == url {
			return k, true
		}
	}
	return 0, false
}

// A resource is an encoded resource. It is immutable, and all streams share it.
type resource struct {
	// delta is an element of DeltaDiscoveryResponse.resources with its tag. It ends with the field
	// resource, number 2, which is also the number of DiscoveryResponse.resources: so this end, from
	// tail on, is an element of the latter.
	delta []byte
	tail  int
	// version identifies the content, also across restarts of the server.
	version string
}

// Numbers of fields of the discovery service.
const (
	fieldResources        = 2 // of DiscoveryResponse and DeltaDiscoveryResponse
	fieldResource         = 2 // of Resource
	fieldResourceVersion  = 1
	fieldResourceName     = 3
	fieldAnyType          = 1
	fieldAnyValue         = 2
	fieldVersionInfo      = 1 // of DiscoveryResponse
	fieldTypeURL          = 4
	fieldNonce            = 5
	fieldSystemVersion    = 1 // of DeltaDiscoveryResponse
	fieldRemovedResources = 6
)

// newResource encodes a resource.
func newResource(k kind, name string, m proto.Message) (*resource, error) {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("xds: encode %s %s: %w", k, name, err)
	}
	content := appendText(nil, fieldAnyType, k.url())
	content = appendBytes(content, fieldAnyValue, value)
	r := &resource{version: fmt.Sprintf("%016x", xxhash.Sum64(content))}
	head := appendText(nil, fieldResourceName, name)
	head = appendText(head, fieldResourceVersion, r.version)
	tail := appendBytes(nil, fieldResource, content)
	r.delta = protowire.AppendTag(make([]byte, 0, len(head)+len(tail)+2*binary.MaxVarintLen32), fieldResources, protowire.BytesType)
	r.delta = protowire.AppendVarint(r.delta, uint64(len(head)+len(tail)))
	r.delta = append(r.delta, head...)
	r.tail = len(r.delta)
	r.delta = append(r.delta, tail...)
	return r, nil
}

// complete returns the element of DiscoveryResponse.resources.
func (r *resource) complete() []byte { return r.delta[r.tail:] }

func appendText(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendBytes(b []byte, field protowire.Number, s []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), s)
}
