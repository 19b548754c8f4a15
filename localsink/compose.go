// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink

import (
	"context"
	"errors"
	"iter"
)

// Tee returns a sink that passes each update to all given sinks, in order.
//
// All sinks are called even if one of them fails; Sync then returns the joined errors. Such
// an update is not acknowledged, so the sinks that succeeded receive its delta again. Use
// [Chain] if a sink must not apply an update before the previous sink has: a health check
// must not announce endpoints before the rules exist.
func Tee(sinks ...Sink) Sink { return &composite{sinks: sinks} }

// Chain is like [Tee], but stops at the first sink that fails and returns its error.
func Chain(sinks ...Sink) Sink { return &composite{sinks: sinks, stopAtError: true} }

type composite struct {
	sinks       []Sink
	stopAtError bool
}

func (c *composite) Sync(ctx context.Context, u *Update) error {
	var errs []error
	for _, s := range c.sinks {
		if err := s.Sync(ctx, u); err != nil {
			errs = append(errs, err)
			if c.stopAtError {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// Sinks implements the interface that [Walk] looks for.
func (c *composite) Sinks() []Sink { return c.sinks }

// Walk yields s and all sinks inside it, depth first. It finds optional interfaces such as
// [ResyncRequester] behind [Tee], [Chain] and decorators. A decorator exposes the sinks
// inside it with a method Sinks() []Sink.
func Walk(s Sink) iter.Seq[Sink] {
	return func(yield func(Sink) bool) { walk(s, yield) }
}

// walk returns false once yield has returned false.
func walk(s Sink, yield func(Sink) bool) bool {
	if !yield(s) {
		return false
	}
	if w, ok := s.(interface{ Sinks() []Sink }); ok {
		for _, inner := range w.Sinks() {
			if !walk(inner, yield) {
				return false
			}
		}
	}
	return true
}
