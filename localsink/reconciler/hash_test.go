// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// TestHashCoversEveryField changes each field of a Service in turn, which must change the
// content hash.
func TestHashCoversEveryField(t *testing.T) {
	svc := func() *localsink.Service {
		return &localsink.Service{
			Ports: []localsink.Port{{
				Frontends:          []localsink.Frontend{{SourceRanges: []netip.Prefix{{}}, Routes: []localsink.Route{{}}}},
				Pools:              []localsink.Pool{{Endpoints: []localsink.Endpoint{{}}}},
				Draining:           []netip.AddrPort{{}},
				EndpointExtensions: map[netip.AddrPort]localsink.Extensions{},
			}},
			HealthCheck: &localsink.HealthCheck{},
			Problems:    []localsink.Problem{{}},
		}
	}
	n := 0
	mutate(reflect.ValueOf(svc()), func(path []int) {
		n++
		tracker, changed := NewTracker(nil), svc()
		name := change(reflect.ValueOf(changed), path)
		for _, s := range []*localsink.Service{svc(), changed} {
			tracker.Update(func(tx *Tx) { tx.Set(s) })
		}
		require.EqualValues(t, 2, tracker.services.Snapshot().Revision(), "%s is not hashed", name)
	}, nil)
	require.GreaterOrEqual(t, n, 20)
}

// mutate visits the path of each leaf in v: field indexes, -1 for a pointer and -2 for the
// first element of a slice.
func mutate(v reflect.Value, visit func(path []int), path []int) {
	switch v.Type() {
	case reflect.TypeFor[netip.AddrPort](), reflect.TypeFor[netip.Prefix](), reflect.TypeFor[localsink.Extensions](),
		reflect.TypeFor[map[netip.AddrPort]localsink.Extensions]():
		visit(path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		mutate(v.Elem(), visit, append(path, -1))
	case reflect.Slice:
		mutate(v.Index(0), visit, append(path, -2))
	case reflect.Struct:
		for i := range v.NumField() {
			mutate(v.Field(i), visit, append(slices.Clip(path), i))
		}
	default:
		visit(path)
	}
}

// change sets the leaf at path to another value and returns its name.
func change(v reflect.Value, path []int) string {
	name := ""
	for _, i := range path {
		switch i {
		case -1:
			v = v.Elem()
		case -2:
			v = v.Index(0)
		default:
			name += "." + v.Type().Field(i).Name
			v = v.Field(i)
		}
	}
	switch v.Interface().(type) {
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("10.0.0.1:80")))
		return name
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("10.0.0.0/8")))
		return name
	case localsink.Extensions:
		v.Set(reflect.ValueOf(localsink.NewExtensions(localsink.Extension{Key: "a"})))
		return name
	case map[netip.AddrPort]localsink.Extensions:
		v.Set(reflect.ValueOf(map[netip.AddrPort]localsink.Extensions{{}: localsink.NewExtensions(localsink.Extension{Key: "a"})}))
		return name
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(1)
	default:
		panic(name + ": " + v.Kind().String())
	}
	return name
}
