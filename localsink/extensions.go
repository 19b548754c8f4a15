// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink

import (
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// Limits of the extensions of one object. What exceeds them is left out and reported, where
// cluster state enters a store and where a message is received.
const (
	// MaxExtensionKey is the maximum size of a key in bytes. It is that of the keys of
	// annotations: a prefix of 253 bytes, a slash and a name of 63 bytes.
	MaxExtensionKey = 253 + 1 + 63
	// MaxExtensionsSize is the maximum size of all keys and values of one object in bytes.
	// An EndpointSlice and its endpoints are one object.
	MaxExtensionsSize = 256 << 10
)

// An Extension is a vendor-specific property of an object: a key, such as the name of an
// annotation, and a value of any bytes. The library passes it from the source to the backend
// and does not interpret it.
type Extension struct{ Key, Value string }

// Extensions is an immutable list of extensions with different keys, ordered by key. The zero
// value is the empty list. Lists are compared with [Extensions.Equal], not with ==.
type Extensions struct{ list *extensionList }

type extensionList struct{ items []extensionItem }

type extensionItem struct {
	Extension
	decoded atomic.Pointer[decodedValue] // a linked list, one element per accessor
}

// NewExtensions returns the list of the given extensions, in any order. Of several with the
// same key, the last one counts.
func NewExtensions(extensions ...Extension) Extensions {
	if len(extensions) == 0 {
		return Extensions{}
	}
	sorted := slices.Clone(extensions)
	slices.Reverse(sorted)
	slices.SortStableFunc(sorted, func(a, b Extension) int { return strings.Compare(a.Key, b.Key) })
	sorted = slices.CompactFunc(sorted, func(a, b Extension) bool { return a.Key == b.Key })
	list := &extensionList{items: make([]extensionItem, len(sorted))}
	for i := range sorted {
		list.items[i].Extension = sorted[i]
	}
	return Extensions{list}
}

// ValidExtensionKey reports whether key can be the key of an extension: 1 to [MaxExtensionKey]
// bytes of UTF-8 without control characters.
func ValidExtensionKey(key string) bool {
	return key != "" && len(key) <= MaxExtensionKey && utf8.ValidString(key) && !strings.ContainsFunc(key, unicode.IsControl)
}

// Len returns the number of extensions.
func (x Extensions) Len() int {
	if x.list == nil {
		return 0
	}
	return len(x.list.items)
}

// Size returns the sum of the sizes of all keys and values in bytes.
func (x Extensions) Size() int {
	size := 0
	for i := range x.Len() {
		size += len(x.list.items[i].Key) + len(x.list.items[i].Value)
	}
	return size
}

// maxTextValue is the number of bytes of a value that texts contain.
const maxTextValue = 256

// String returns the extensions as text, such as `example.com/mode="fast", example.com/zone="a"`.
// Of a value longer than 256 bytes, it contains the start and the length.
func (x Extensions) String() string {
	var b strings.Builder
	for i := range x.Len() {
		if i > 0 {
			b.WriteString(", ")
		}
		e := &x.list.items[i].Extension
		if len(e.Value) > maxTextValue {
			fmt.Fprintf(&b, "%s=%q... (%d bytes)", e.Key, e.Value[:maxTextValue], len(e.Value))
			continue
		}
		fmt.Fprintf(&b, "%s=%q", e.Key, e.Value)
	}
	return b.String()
}

// All yields the extensions, ordered by key.
func (x Extensions) All() iter.Seq[Extension] {
	return func(yield func(Extension) bool) {
		for i := range x.Len() {
			if !yield(x.list.items[i].Extension) {
				return
			}
		}
	}
}

// Get returns the value of an extension, and whether the list has it.
func (x Extensions) Get(key string) (value string, found bool) {
	if item := x.item(key); item != nil {
		return item.Value, true
	}
	return "", false
}

func (x Extensions) item(key string) *extensionItem {
	if x.list == nil {
		return nil
	}
	items := x.list.items
	if i := sort.Search(len(items), func(i int) bool { return items[i].Key >= key }); i < len(items) && items[i].Key == key {
		return &items[i]
	}
	return nil
}

// Equal reports whether x and o have the same keys and values.
func (x Extensions) Equal(o Extensions) bool {
	if x.list == o.list {
		return true
	}
	if x.Len() != o.Len() {
		return false
	}
	for i := range x.list.items {
		if x.list.items[i].Extension != o.list.items[i].Extension {
			return false
		}
	}
	return true
}

// With returns the extensions of x and those of o whose keys x does not have.
func (x Extensions) With(o Extensions) Extensions {
	switch {
	case o.Len() == 0:
		return x
	case x.Len() == 0:
		return o
	}
	return NewExtensions(append(slices.Collect(o.All()), slices.Collect(x.All())...)...)
}

// An Accessor reads the extension with one key as a value of type T. A backend makes one
// Accessor per key and keeps it. All methods may be called concurrently.
type Accessor[T any] struct {
	key    string
	decode func(value string) (T, error)
}

// NewAccessor returns an accessor for a key. decode is called at most once for each value of
// each list; its result is kept with the list, returned to all callers, and must not be
// modified.
func NewAccessor[T any](key string, decode func(value string) (T, error)) *Accessor[T] {
	return &Accessor[T]{key: key, decode: decode}
}

// Key returns the key that the accessor reads.
func (a *Accessor[T]) Key() string { return a.key }

// Get returns the decoded value and true, the zero value and false if the list has no such
// key, or the error of decode and true.
func (a *Accessor[T]) Get(x Extensions) (value T, found bool, err error) {
	item := x.item(a.key)
	if item == nil {
		return value, false, nil
	}
	d := item.decodedBy(a)
	d.once.Do(func() {
		var v T
		v, d.err = a.decode(item.Value)
		d.value = v
	})
	value, _ = d.value.(T)
	return value, true, d.err
}

// Or returns the decoded value, or fallback if the list has no such key or its value cannot be
// decoded. It is for values that the source has checked; see [Accessor.Get] otherwise.
func (a *Accessor[T]) Or(x Extensions, fallback T) T {
	if value, found, err := a.Get(x); found && err == nil {
		return value
	}
	return fallback
}

// A decodedValue is the result of one accessor.
type decodedValue struct {
	accessor any
	next     *decodedValue
	once     sync.Once // guards value and err
	value    any
	err      error
}

// decodedBy returns the element of an accessor, and adds it if there is none.
func (item *extensionItem) decodedBy(accessor any) *decodedValue {
	var added *decodedValue
	for {
		head := item.decoded.Load()
		for d := head; d != nil; d = d.next {
			if d.accessor == accessor {
				return d
			}
		}
		if added == nil {
			added = &decodedValue{accessor: accessor}
		}
		added.next = head
		if item.decoded.CompareAndSwap(head, added) {
			return added
		}
	}
}
