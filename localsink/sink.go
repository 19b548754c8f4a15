// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink

import (
	"context"
	"time"
)

// A Sink programs the desired state of one node into a dataplane. Its optional abilities
// are the interfaces [FeatureReporter], [FailureReporter], [ResyncRequester],
// [DriftReporter] and [ConnectionCounter].
type Sink interface {
	// Sync programs the desired state u.
	//
	// Returning nil acknowledges u: the delta of the next update is relative to it.
	// Returning an error acknowledges nothing: the delta of the next update contains all
	// differences from the last acknowledged state, and every Service listed by updates
	// since then, even if it is equal to the acknowledged one again. A sink that stores its
	// output by Service can therefore stop at any point without recording where.
	//
	// Sync is called again after an error, with increasing delays. It may receive the same
	// update repeatedly, and need not receive every state: newer states replace older ones.
	// Calls for one sink never overlap. The first call comes once the cluster state is
	// complete.
	//
	// Sync returns soon after ctx is done. It may keep u, which is immutable.
	Sync(ctx context.Context, u *Update) error
}

// Func adapts a function to a [Sink].
type Func func(ctx context.Context, u *Update) error

// Sync calls f.
func (f Func) Sync(ctx context.Context, u *Update) error { return f(ctx, u) }

// A FeatureReporter is a [Sink] that does not support all [Features]. A Service that
// requires an unsupported feature still reaches the sink, with a [Problem] that is reported
// to users; see [Service.WithUnsupported].
//
// A sink should return the complement of what it supports:
//
//	func (*mySink) Unsupported() localsink.Features {
//		return ^(localsink.FeatureIPv4 | localsink.FeatureTCP | localsink.FeatureClusterIP)
//	}
//
// A list of what is missing is complete only until a later version of this package adds a
// feature: the sink would then ignore it without a Problem. The bits of the complement that
// are no features have no effect.
type FeatureReporter interface {
	// Unsupported returns the features that the sink does not support. The result is
	// constant. It may be called concurrently with Sync.
	Unsupported() Features
}

// A FailureReporter is a [Sink] that acknowledges an update even if it cannot program some
// of its Services, so that these do not block the others. The sink must retry them itself.
type FailureReporter interface {
	// NotProgrammed returns an error for each Service that is not, or not fully,
	// programmed as in the last update; nil or empty if there is none. It may be called
	// concurrently with Sync. The caller owns the map.
	NotProgrammed() map[ServiceName]error
}

// A DriftReporter is a [Sink] that reports drift which it has detected and not repaired yet.
// A proxy is not healthy in the meantime.
type DriftReporter interface {
	// DriftedSince returns when the oldest drift that is not repaired was detected; zero if
	// there is none. Only a Sync that returned nil repairs drift. It may be called
	// concurrently with Sync.
	DriftedSince() time.Time
}

// A ResyncRequester is a [Sink] that detects drift: external changes to its dataplane, such
// as flushed rules. After a request, the caller of Sync calls it again, and at last with an update
// whose delta is empty. Sync must then compare the dataplane with [Update.All]. In a [Chain], the
// other sinks receive that update too: what depends on the dataplane, such as connection tracking,
// may have suffered from its drift.
//
// A sink must not request a resync because of its own writes: each request costs one Sync,
// limited to ten per second.
type ResyncRequester interface {
	// ResyncRequested returns a channel that receives after drift was detected. It is
	// never closed, and the result is constant.
	ResyncRequested() <-chan struct{}
}
