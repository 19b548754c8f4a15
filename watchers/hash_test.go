// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"cmp"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
)

// TestHashCoversEveryField changes each field of each kind of object in turn, which must
// change the content.
func TestHashCoversEveryField(t *testing.T) {
	notContent := map[string]bool{"EndpointSlice.TriggerTime": true} // as documented
	for _, c := range []struct {
		zero   Object
		fields int // a lower bound, in case the walk misses some
	}{
		{&Service{}, 28},
		{&EndpointSlice{}, 21},
		{&Node{}, 8},
		{&ServiceCIDR{}, 5},
	} {
		typ := reflect.TypeOf(c.zero).Elem()
		before, after := filled(typ), filled(typ)
		require.True(t, sameContent(before, after), "%s: two equal objects differ", typ)
		n := 0
		mutateEach(t, typ.Name(), reflect.ValueOf(after).Elem(), func(path string) {
			n++
			require.Equal(t, notContent[path], sameContent(before, after), "%s: wrong effect on the content", path)
		})
		require.True(t, sameContent(before, after), "%s: a mutation was not undone", typ)
		require.GreaterOrEqual(t, n, c.fields, typ)
	}
}

// TestHashIsUnambiguous compares objects that have the same values in different fields.
func TestHashIsUnambiguous(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.1")
	empty := ""
	hints := func(h *Hints) Object { return &EndpointSlice{Endpoints: []Endpoint{{Hints: h}}} }
	for name, pair := range map[string][2]Object{
		"no hints, empty hints":  {hints(nil), hints(&Hints{})},
		"zones, nodes":           {hints(&Hints{Zones: []string{"x"}}), hints(&Hints{Nodes: []string{"x"}})},
		"addresses":              {&Service{ClusterIPs: []netip.Addr{a}}, &Service{ExternalIPs: []netip.Addr{a}}},
		"no label, an empty one": {&Service{}, &Service{ProxyName: &empty}},
		"order":                  {&Service{IPFamilies: []IPFamily{4, 6}}, &Service{IPFamilies: []IPFamily{6, 4}}},
	} {
		require.False(t, sameContent(pair[0], pair[1]), name)
		require.True(t, sameContent(pair[0], pair[0]), name)
	}
}

// sameContent reports whether a and b have the same content hash.
func sameContent(a, b Object) (same bool) {
	s := diffstore.New(cmp.Compare[int], func(h *diffstore.Hash, o Object) { o.hash(h) })
	s.Update(func(tx *diffstore.Tx[int, Object]) {
		tx.Set(0, a)
		same = !tx.Set(0, b)
	})
	return same
}

// filled returns an object of a type in which each list has one element and no pointer is
// nil.
func filled(typ reflect.Type) Object {
	v := reflect.New(typ)
	fill(v.Elem())
	return v.Interface().(Object)
}

func fill(v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1000, 0)))
		return
	case netip.Addr, netip.Prefix, Extensions:
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	}
}

// mutateEach changes each value below v in turn, calls check with the path of the changed
// value, and restores it.
func mutateEach(t *testing.T, path string, v reflect.Value, check func(path string)) {
	old := reflect.New(v.Type()).Elem()
	old.Set(v)
	try := func(suffix string, value any) {
		v.Set(reflect.ValueOf(value).Convert(v.Type()))
		check(path + suffix)
		v.Set(old)
	}
	switch value := v.Interface().(type) {
	case time.Time:
		try("", value.Add(time.Nanosecond))
		return
	case netip.Addr:
		try("", netip.MustParseAddr("10.0.0.1"))
		return
	case netip.Prefix:
		try("", netip.MustParsePrefix("10.0.0.0/8"))
		return
	case Extensions:
		try("", localsink.NewExtensions(localsink.Extension{Key: "a"}))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			require.True(t, field.IsExported(), "%s.%s is not exported", path, field.Name)
			mutateEach(t, path+"."+field.Name, v.Field(i), check)
		}
	case reflect.Slice:
		try("[none]", reflect.Zero(v.Type()).Interface())
		try("[twice]", reflect.Append(v, v.Index(0)).Interface())
		mutateEach(t, path+"[0]", v.Index(0), check)
	case reflect.Pointer:
		try("[nil]", reflect.Zero(v.Type()).Interface())
		mutateEach(t, path, v.Elem(), check)
	case reflect.String:
		try("", v.String()+"x")
	case reflect.Bool:
		try("", !v.Bool())
	case reflect.Int64:
		try("", v.Int()+1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		try("", v.Uint()+1)
	default:
		require.Fail(t, "unknown kind", "%s: add a case for %s", path, v.Kind())
	}
}
