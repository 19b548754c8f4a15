// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"testing"

	"sigs.k8s.io/kpng/watchers"
)

func needsAnnotation(h Harness) string {
	if h.Annotation == "" {
		return "Annotation"
	}
	return ""
}

func needsAllFields(h Harness) string {
	if !h.AllFields {
		return "AllFields"
	}
	return ""
}

// followsExtensions changes an annotation of an object of each kind.
func followsExtensions(t testing.TB, h Harness) {
	annotated := func(o APIObject, value string) APIObject {
		o.SetAnnotations(map[string]string{h.Annotation: value})
		return o
	}
	for _, kind := range []struct {
		name   string
		object func() APIObject
		of     func(watchers.Snapshot) (x watchers.Extensions, found bool)
	}{
		{name: "Service", object: func() APIObject { return service("web", "10.0.0.1") }, of: extensionsOfService},
		{name: "EndpointSlice", object: func() APIObject { return slice("web-x", "web", "10.1.0.1") }, of: extensionsOfSlice},
		{name: "Node", object: func() APIObject { return node("n", "here") }, of: extensionsOfNode},
	} {
		has := func(want ...string) condition {
			return func(s watchers.Snapshot) bool {
				x, found := kind.of(s)
				if !found || x.Len() != len(want) {
					return false
				}
				value, _ := x.Get(h.Annotation)
				return len(want) == 0 || value == want[0]
			}
		}
		h.Apply(annotated(kind.object(), "before"))
		r := start(t, h, watchers.NewStore())
		r.await("the extension of a "+kind.name+" that existed before Run", has("before"))
		h.Apply(annotated(kind.object(), "after"))
		r.await("a changed extension of a "+kind.name, has("after"))
		h.Apply(kind.object())
		r.await("the deletion of the extension of a "+kind.name, has())
		h.Apply(annotated(kind.object(), ""))
		r.await("an extension without a value of a "+kind.name, has(""))
		r.stop()
	}
}

func extensionsOfService(s watchers.Snapshot) (watchers.Extensions, bool) {
	if svc := s.Service(serviceName("web")); svc != nil {
		return svc.Extensions, true
	}
	return watchers.Extensions{}, false
}

func extensionsOfSlice(s watchers.Snapshot) (watchers.Extensions, bool) {
	for e := range s.EndpointSlices(serviceName("web")) {
		return e.Extensions, true
	}
	return watchers.Extensions{}, false
}

func extensionsOfNode(s watchers.Snapshot) (watchers.Extensions, bool) {
	if n := s.Node("n"); n != nil {
		return n.Extensions, true
	}
	return watchers.Extensions{}, false
}

// keepsAllFields sets random objects in the source, and in a store to compare with.
func keepsAllFields(t testing.TB, h Harness) {
	random := NewRandom(1, 3, 4)
	random.Extended = true
	want := watchers.NewStore()
	set := func() {
		for range 10 {
			objects := []watchers.Object{random.Service(), random.EndpointSlice(), random.Node()}
			h.Set(objects...)
			want.Update(func(tx *watchers.Tx) {
				tx.SetSynced()
				for _, o := range objects {
					tx.Set(o)
				}
			})
		}
	}
	set()
	r := start(t, h, watchers.NewStore())
	for range 20 {
		r.await("objects with all fields of those in the source", equal(want.Snapshot()))
		set()
	}
	var all []watchers.Object
	want.Update(func(tx *watchers.Tx) {
		for k, o := range want.Snapshot().All() {
			if k.Kind != watchers.KindSynced {
				all = append(all, o)
				tx.Delete(k)
			}
		}
	})
	h.Remove(all...)
	r.await("the deletion of all objects", equal(want.Snapshot()))
}

// equal reports whether a snapshot has the same objects as want, with the same content.
func equal(want watchers.Snapshot) condition {
	return func(s watchers.Snapshot) bool {
		if s.Len() != want.Len() {
			return false
		}
		copied := watchers.NewStore()
		before := copied.Update(func(tx *watchers.Tx) { replaceAll(tx, want) })
		// Setting an object with the same content is no change.
		after := copied.Update(func(tx *watchers.Tx) { replaceAll(tx, s) })
		return before.Snapshot == after.Snapshot
	}
}
