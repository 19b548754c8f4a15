// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bisect finds the Services that a dataplane refuses, so that a backend can program the
// others.
package bisect

import (
	"errors"
	"fmt"

	"sigs.k8s.io/kpng/localsink"
)

// DefaultLimit is a limit above which the cause of refusals is unlikely to be the Services
// themselves.
const DefaultLimit = 100

// A Search finds refused Services by bisection: for one among n Services it calls Check about
// 2 log n times.
type Search struct {
	// Check returns the error with which the dataplane would refuse these Services. It must
	// not change the dataplane.
	Check func([]*localsink.Service) error
	// IsRefusal reports whether an error of Check is a refusal. Other errors end the search.
	// If it is nil, all errors are refusals.
	IsRefusal func(error) bool
	// Limit is the maximum number of refused Services. Zero means DefaultLimit.
	Limit int
}

// Find returns the Services that Check refuses by themselves, with its errors. It returns none if
// Check accepts all, or refuses only some together. It returns an error if Check refuses even
// no Services, refuses more Services than the limit, or fails.
func (s *Search) Find(services []*localsink.Service) (map[localsink.ServiceName]error, error) {
	if err := s.Check(nil); err != nil {
		return nil, fmt.Errorf("refused even without Services: %w", err)
	}
	found := map[localsink.ServiceName]error{}
	if err := s.search(services, found); err != nil {
		return nil, err
	}
	return found, nil
}

func (s *Search) search(services []*localsink.Service, found map[localsink.ServiceName]error) error {
	if len(services) == 0 {
		return nil
	}
	err := s.Check(services)
	switch {
	case err == nil:
		return nil
	case s.IsRefusal != nil && !s.IsRefusal(err):
		return fmt.Errorf("search for refused Services: %w", err)
	case len(services) == 1:
		return s.note(services[0].Name, err, found)
	}
	half := len(services) / 2
	if err := s.search(services[:half], found); err != nil {
		return err
	}
	return s.search(services[half:], found)
}

// note adds a refused Service to found.
func (s *Search) note(name localsink.ServiceName, refusal error, found map[localsink.ServiceName]error) error {
	limit := s.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if len(found) == limit {
		return errors.Join(fmt.Errorf("more than %d Services are refused", limit), refusal)
	}
	found[name] = refusal
	return nil
}
