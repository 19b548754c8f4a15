// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package protoconv

import (
	"fmt"
	"net/netip"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
)

// Extensions converts extensions to messages.
func Extensions(x localsink.Extensions) []*kpng.Extension {
	if x.Len() == 0 {
		return nil
	}
	out := make([]*kpng.Extension, 0, x.Len())
	for e := range x.All() {
		out = append(out, &kpng.Extension{Key: Text(e.Key), Value: []byte(e.Value)})
	}
	return out
}

// An ExtensionReader parses the extensions of one object. It rejects invalid and repeated keys,
// and more than Max bytes of all keys and values together. The store of a server leaves out what
// exceeds the limits of an object, so only a hostile peer sends it.
type ExtensionReader struct {
	Max int

	size int
	last localsink.Extensions
}

// Read parses one list. Consecutive equal lists share memory. The error starts with the path
// within the list.
func (r *ExtensionReader) Read(in []*kpng.Extension) (localsink.Extensions, error) {
	if len(in) == 0 {
		return localsink.Extensions{}, nil
	}
	list := make([]localsink.Extension, 0, min(len(in), 64))
	for i, e := range in {
		if !localsink.ValidExtensionKey(e.GetKey()) {
			return localsink.Extensions{}, fmt.Errorf("[%d].key: %.400q is empty, longer than %d bytes, or has control characters",
				i, e.GetKey(), localsink.MaxExtensionKey)
		}
		if r.size += len(e.GetKey()) + len(e.GetValue()); r.size > r.Max {
			return localsink.Extensions{}, fmt.Errorf("[%d]: the extensions of the object are larger than %d bytes", i, r.Max)
		}
		list = append(list, localsink.Extension{Key: e.GetKey(), Value: string(e.GetValue())})
	}
	out := localsink.NewExtensions(list...)
	if out.Len() < len(in) {
		return localsink.Extensions{}, fmt.Errorf(": a key is repeated in a list of %d", len(in))
	}
	if out.Equal(r.last) {
		return r.last, nil
	}
	r.last = out
	return out, nil
}

// ReadEndpoints parses the extensions of endpoints; nil if there are none. empty reports whether
// lists may be empty. The error starts with the path within the list.
func (r *ExtensionReader) ReadEndpoints(in []*kpng.EndpointExtensions, empty bool) (map[netip.AddrPort]localsink.Extensions, error) {
	if len(in) == 0 {
		return nil, nil
	}
	out := map[netip.AddrPort]localsink.Extensions{}
	for i, group := range in {
		x, err := r.Read(group.GetExtensions())
		switch {
		case err != nil:
			return nil, fmt.Errorf("[%d].extensions%w", i, err)
		case x.Len() == 0 && !empty:
			return nil, fmt.Errorf("[%d].extensions: required", i)
		case len(group.GetEndpoints()) == 0:
			return nil, fmt.Errorf("[%d].endpoints: required", i)
		}
		for j, e := range group.GetEndpoints() {
			a, err := AddrPort(e.GetAddress(), e.GetPort())
			if err != nil {
				return nil, fmt.Errorf("[%d].endpoints[%d].%w", i, j, err)
			}
			if _, repeated := out[a]; repeated {
				return nil, fmt.Errorf("[%d].endpoints[%d]: %s is repeated", i, j, a)
			}
			out[a] = x
		}
	}
	return out, nil
}
