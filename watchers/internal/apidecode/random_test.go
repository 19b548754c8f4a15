// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package apidecode

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A filler fills API objects with random values.
type filler struct{ *rand.Rand }

// maxDepth bounds the nesting of random values.
const maxDepth = 9

// fill sets v, and all that it consists of, to random values, often the zero value.
func (f filler) fill(v reflect.Value, depth int) {
	if depth > maxDepth || depth > 0 && f.IntN(5) == 0 {
		return
	}
	switch special := v.Addr().Interface().(type) {
	case *metav1.TypeMeta: // not part of the encoding
		return
	case *metav1.Time:
		*special = metav1.Unix(f.Int64N(4e9), 0)
		return
	case *metav1.MicroTime:
		*special = metav1.NewMicroTime(time.Unix(f.Int64N(4e9), 1000*f.Int64N(1e6)))
		return
	case *resource.Quantity:
		*special = *resource.NewQuantity(f.Int64N(1e6), resource.DecimalSI)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), depth+1)
	case reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				f.fill(field, depth+1)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), f.IntN(4), 4))
		for i := range v.Len() {
			f.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range f.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key, depth+1)
			f.fill(value, depth+1)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString([]string{"", "a", "zone-a", "10.0.0.1", "\x00\xff", fmt.Sprint(f.IntN(1e6))}[f.IntN(6)])
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Int32, reflect.Int64:
		v.SetInt([]int64{0, 1, -1, 80, 1<<31 - 1, -1 << 31}[f.IntN(6)])
	case reflect.Uint8:
		v.SetUint(f.Uint64N(256))
	}
}
