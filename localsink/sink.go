// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink

import (
	"context"
	"errors"
	"iter"
	"time"
)

// A Sink brings one node in line with what is wanted of it.
type Sink interface {
	// Sync brings the node in line with u.
	//
	// Returning nil accepts u: the next update is relative to it. Returning an
	// error accepts nothing: the next update again lists all that differs from
	// the last accepted one, and all that was listed since, even what is as it was
	// before. So a sink that keeps what it wrote by Service need not remember where it
	// stopped. Calls for one sink never overlap. The same update may come again, and newer states coalesce:
	// a sink need not see every state.
	//
	// Sync returns soon after ctx is done. The update belongs to nobody: it is
	// immutable and may be kept.
	Sync(ctx context.Context, u *Update) error
}

// An Update is the whole wanted state of a node, and its distance from the state
// that the sink accepted last.
type Update struct {
	// Node is what the node itself is.
	Node *Node
	// NodeChanged says that Node differs from the last accepted one, or did in an
	// update since; it is true in a first update.
	NodeChanged bool

	// All is every Service the node must serve. Simple sinks read only this.
	All State

	// Changed lists what All holds and the last accepted state did not, or held
	// differently, in name order. In a first update that is everything. After an
	// error it also lists what is equal again, see [Sink.Sync].
	Changed []*Service
	// Removed lists what All does not hold and the last accepted state did, or an
	// update since, in name order, with the value that was accepted if one was.
	Removed []*Service

	// TriggerTimes lists when the causes of this update were written to the API
	// server, as far as that is known: the start of the network programming
	// latency. It may be empty.
	TriggerTimes []time.Time
	// ObservedTime is when the first of the causes of this update reached this process; the
	// zero time when none is known, as in a first update or a repair.
	ObservedTime time.Time
}

// A State is an immutable set of Services, ordered by name.
type State interface {
	// Len is the number of Services.
	Len() int
	// Get returns the Service of that name, or nil.
	Get(name ServiceName) *Service
	// All yields every Service in name order.
	All() iter.Seq[*Service]
}

// A ResyncRequester is a Sink whose target may change under it (somebody flushes its
// rules). Whoever drives the sink listens to Damaged, and calls Sync again when
// it receives, with an update that may list no changes. A sink must not report its own
// writes: each report costs a Sync, ten a second at most.
type ResyncRequester interface {
	// ResyncRequested returns a channel that receives after the target was found to
	// differ from what was accepted. The channel is never closed.
	ResyncRequested() <-chan struct{}
}

// FeatureReporter is a Sink that cannot do everything. Whoever drives the sink reports
// each Service that needs what is lacking.
type FeatureReporter interface {
	// Unsupported returns the features that the sink does not have. It may be called
	// at any time and always answers the same.
	Unsupported() Features
}

// FailureReporter is a Sink that accepts an update even if it cannot bring single Services in
// line, so that these do not keep others from being served. It goes on to try them.
type FailureReporter interface {
	// NotProgrammed returns the Services that are not, or not wholly, as was last wanted of
	// the sink, and why; nil or empty when all are. It may be called at any time, from
	// any goroutine; the result belongs to the caller.
	NotProgrammed() map[ServiceName]error
}

// Func adapts a function to a [Sink].
type Func func(ctx context.Context, u *Update) error

// Sync calls f.
func (f Func) Sync(ctx context.Context, u *Update) error { return f(ctx, u) }

// Tee returns a sink that passes each update to all sinks in the order given.
//
// A sink that fails does not keep later ones from being called, and Sync then
// returns all errors joined. As nothing was accepted, the sinks that succeeded
// are told the same again, also what has changed back. Where one sink must not run
// ahead of another, as a health check must not run ahead of the rules, use [Chain].
func Tee(sinks ...Sink) Sink { return &group{sinks: sinks} }

// Chain is [Tee] that stops at the first sink that fails.
func Chain(sinks ...Sink) Sink { return &group{sinks: sinks, stop: true} }

type group struct {
	sinks []Sink
	stop  bool
}

func (g *group) Sync(ctx context.Context, u *Update) error {
	var errs []error
	for _, s := range g.sinks {
		if err := s.Sync(ctx, u); err != nil {
			errs = append(errs, err)
			if g.stop {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// Sinks lets [Walk] see inside.
func (g *group) Sinks() []Sink { return g.sinks }

// Walk yields s and every sink that it is made of, as far as wrappers tell: a
// wrapper has a method Sinks() []Sink. It is how optional interfaces such as
// [ResyncRequester] are found behind [Tee] and decorators.
func Walk(s Sink) iter.Seq[Sink] {
	return func(yield func(Sink) bool) { walk(s, yield) }
}

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
