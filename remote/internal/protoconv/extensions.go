// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package protoconv

import (
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

// FromExtensions converts messages to extensions.
func FromExtensions(in []*kpng.Extension) localsink.Extensions {
	if len(in) == 0 {
		return localsink.Extensions{}
	}
	list := make([]localsink.Extension, len(in))
	for i, e := range in {
		list[i] = localsink.Extension{Key: e.GetKey(), Value: string(e.GetValue())}
	}
	return localsink.NewExtensions(list...)
}
