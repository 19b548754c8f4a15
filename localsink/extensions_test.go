// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func ext(keysAndValues ...string) localsink.Extensions {
	var list []localsink.Extension
	for pair := range slices.Chunk(keysAndValues, 2) {
		list = append(list, localsink.Extension{Key: pair[0], Value: pair[1]})
	}
	return localsink.NewExtensions(list...)
}

func TestExtensionsAreOrderedAndTheLastValueCounts(t *testing.T) {
	x := ext("b", "1", "a", "2", "b", "3")
	require.Equal(t, []localsink.Extension{{Key: "a", Value: "2"}, {Key: "b", Value: "3"}}, slices.Collect(x.All()))
	require.Equal(t, 2, x.Len())
	value, found := x.Get("b")
	require.True(t, found)
	require.Equal(t, "3", value)
	_, found = x.Get("c")
	require.False(t, found)
	for range x.All() { // the iterator can stop
		break
	}

	var none localsink.Extensions
	require.Zero(t, none.Len())
	require.Empty(t, slices.Collect(none.All()))
	_, found = none.Get("a")
	require.False(t, found)
	require.True(t, none.Equal(localsink.NewExtensions()))
}

func TestExtensionsEqualComparesContent(t *testing.T) {
	all := []localsink.Extensions{ext(), ext("a", ""), ext("a", "1"), ext("b", "1"), ext("a", "1", "b", "1")}
	for i, x := range all {
		for j, y := range all {
			require.Equal(t, i == j, x.Equal(y), "%d, %d", i, j)
		}
	}
	require.True(t, ext("a", "1", "b", "2").Equal(ext("b", "2", "a", "1")))
}

func TestExtensionsWithKeepsItsOwnValues(t *testing.T) {
	x, y := ext("a", "own"), ext("a", "other", "b", "other")
	require.True(t, x.With(y).Equal(ext("a", "own", "b", "other")))
	require.True(t, x.With(ext()).Equal(x))
	require.True(t, ext().With(x).Equal(x))
}

func TestValidExtensionKey(t *testing.T) {
	longest := strings.Repeat("p", 253) + "/" + strings.Repeat("n", 63)
	for _, key := range []string{"a", "acme.example/mode", "schlüssel:ä b", longest} {
		require.True(t, localsink.ValidExtensionKey(key), key)
	}
	for _, key := range []string{"", longest + "x", "a\nb", "a\x00", "\x7f", "\u0085", "\xff", "a\xc3"} {
		require.False(t, localsink.ValidExtensionKey(key), "%q", key)
	}
}

func TestExtensionsSize(t *testing.T) {
	require.Equal(t, len("a1b")+len("key2x"), ext("a1", "b", "key2", "x").Size())
	require.Zero(t, ext().Size())
}

func TestExtensionsAsText(t *testing.T) {
	require.Equal(t, `a="1", b="\x00"`, ext("b", "\x00", "a", "1").String())
	require.Empty(t, ext().String())
	require.Equal(t, `a="`+strings.Repeat("x", 256)+`"... (257 bytes), b=""`, ext("a", strings.Repeat("x", 257), "b", "").String())
}

func TestAccessorDecodesOnce(t *testing.T) {
	var calls atomic.Int32
	number := localsink.NewAccessor("n", func(value string) (int, error) {
		calls.Add(1)
		return strconv.Atoi(value)
	})
	text := localsink.NewAccessor("n", func(value string) (string, error) { return value + "!", nil })
	x := ext("m", "x", "n", "7")
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			n, found, err := number.Get(x)
			if n != 7 || !found || err != nil {
				t.Errorf("got %d, %v, %v", n, found, err)
			}
			s, _, _ := text.Get(x)
			if s != "7!" {
				t.Errorf("got %q", s)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 1, calls.Load())

	_, found, err := number.Get(ext("m", "1"))
	require.False(t, found)
	require.NoError(t, err)
	invalid := ext("n", "many")
	for range 2 {
		_, found, err = number.Get(invalid)
		require.True(t, found)
		require.ErrorIs(t, err, strconv.ErrSyntax)
	}
	require.EqualValues(t, 2, calls.Load(), "an error is kept too")
	require.Equal(t, "n", number.Key())
}

func TestAccessorOrReturnsTheFallback(t *testing.T) {
	number := localsink.NewAccessor("n", strconv.Atoi)
	require.Equal(t, 7, number.Or(ext("n", "7"), 1))
	require.Equal(t, 0, number.Or(ext("n", "0"), 1), "a zero value is a value")
	require.Equal(t, 1, number.Or(ext("n", "9223372036854775808"), 1), "out of range; the decoder returns a value as well")
	require.Equal(t, 1, number.Or(ext("m", "7"), 1))
}

func TestAccessorOfInterfaceType(t *testing.T) {
	accessor := localsink.NewAccessor("e", func(value string) (error, error) {
		if value == "" {
			return nil, nil
		}
		return errors.New(value), nil
	})
	value, found, err := accessor.Get(ext("e", ""))
	require.True(t, found)
	require.NoError(t, err)
	require.NoError(t, value)
	value, _, _ = accessor.Get(ext("e", "text"))
	require.EqualError(t, value, "text")
}

func BenchmarkAccessor(b *testing.B) {
	accessor := localsink.NewAccessor("n", strconv.Atoi)
	x := ext("l", "1", "m", "2", "n", "3")
	b.ReportAllocs()
	for b.Loop() {
		if n, _, _ := accessor.Get(x); n != 3 {
			b.Fatal(n)
		}
	}
}

// A backend reads an annotation that the source attached.
func ExampleAccessor() {
	type mode string
	loadBalancerMode := localsink.NewAccessor("acme.example/load-balancer-mode", func(value string) (mode, error) {
		if value != "dsr" && value != "nat" {
			return "", fmt.Errorf("%q is not dsr or nat", value)
		}
		return mode(value), nil
	})
	web := &localsink.Service{Extensions: localsink.NewExtensions(
		localsink.Extension{Key: "acme.example/load-balancer-mode", Value: "dsr"},
	)}
	m, found, err := loadBalancerMode.Get(web.Extensions)
	fmt.Println(m, found, err)
	// Output: dsr true <nil>
}
