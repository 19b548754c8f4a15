// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package bisect_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/bisect"
	"sigs.k8s.io/kpng/localsink"
)

var errRefused = errors.New("refused")

// services returns n Services, named "s0", "s1" and so on.
func services(n int) []*localsink.Service {
	all := make([]*localsink.Service, n)
	for i := range all {
		all[i] = &localsink.Service{Name: named(i)}
	}
	return all
}

func named(i int) localsink.ServiceName {
	return localsink.ServiceName{Namespace: "test", Name: fmt.Sprint("s", i)}
}

// refuse returns a check that refuses these Services, and counts its calls.
func refuse(calls *int, numbers ...int) func([]*localsink.Service) error {
	return func(all []*localsink.Service) error {
		*calls++
		for _, s := range all {
			for _, n := range numbers {
				if s.Name == named(n) {
					return fmt.Errorf("%w: %s", errRefused, s.Name.Name)
				}
			}
		}
		return nil
	}
}

func TestFindReturnsEachRefusedService(t *testing.T) {
	for _, numbers := range [][]int{nil, {0}, {999}, {0, 1, 2, 3, 500, 998, 999}} {
		calls := 0
		s := bisect.Search{Check: refuse(&calls, numbers...)}
		found, err := s.Find(services(1000))
		require.NoError(t, err)
		require.Len(t, found, len(numbers))
		for _, n := range numbers {
			require.EqualError(t, found[named(n)], fmt.Sprint("refused: s", n))
		}
		require.LessOrEqual(t, calls, 2+len(numbers)*20, "two checks for each halving")
	}
}

func TestFindWithoutServices(t *testing.T) {
	calls := 0
	found, err := (&bisect.Search{Check: refuse(&calls)}).Find(nil)
	require.NoError(t, err)
	require.Empty(t, found)
}

// A cause outside of the Services must not make each of them look refused.
func TestFindFailsIfNothingIsAccepted(t *testing.T) {
	s := bisect.Search{Check: func([]*localsink.Service) error { return errRefused }}
	found, err := s.Find(services(10))
	require.ErrorIs(t, err, errRefused)
	require.ErrorContains(t, err, "even without Services")
	require.Empty(t, found)
}

func TestFindFailsAboveTheLimit(t *testing.T) {
	calls := 0
	s := bisect.Search{Check: refuse(&calls, 1, 3, 5, 7), Limit: 3}
	found, err := s.Find(services(10))
	require.ErrorContains(t, err, "more than 3 Services are refused")
	require.ErrorIs(t, err, errRefused)
	require.Empty(t, found)
	s.Limit = 4
	found, err = s.Find(services(10))
	require.NoError(t, err)
	require.Len(t, found, 4)
}

func TestFindEndsWithAnErrorThatIsNoRefusal(t *testing.T) {
	failed := errors.New("no reply")
	calls := 0
	s := bisect.Search{
		Check: func(all []*localsink.Service) error {
			if calls++; len(all) > 0 {
				return failed
			}
			return nil
		},
		IsRefusal: func(err error) bool { return errors.Is(err, errRefused) },
	}
	found, err := s.Find(services(10))
	require.ErrorIs(t, err, failed)
	require.Empty(t, found)
	require.Equal(t, 2, calls)
}

// Services that are refused only together are not refused by themselves.
func TestFindReturnsNothingForACombination(t *testing.T) {
	s := bisect.Search{Check: func(all []*localsink.Service) error {
		if len(all) > 8 {
			return errRefused
		}
		return nil
	}}
	found, err := s.Find(services(10))
	require.NoError(t, err)
	require.Empty(t, found)
}
