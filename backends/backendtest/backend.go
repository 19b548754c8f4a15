// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Namespace is a network namespace of a test.
type Namespace interface {
	// Run runs f on a new thread in the namespace and returns its error. Sockets that f
	// opens and processes that it starts stay in the namespace; goroutines that it starts
	// do not run there.
	Run(f func() error) error
}

// A NodeNamespace is the namespace of the node, for sinks that act in those of its pods too.
type NodeNamespace interface {
	Namespace
	// LocalPods returns the namespaces of the pods on the node.
	LocalPods() []Namespace
}

// A Backend describes the sink under test. The kit calls Sync, Close and all functions of
// Backend on a thread in the namespace of the node.
type Backend struct {
	// Name appears in the report.
	Name string
	// New returns a sink for the namespace of the node, which is that of the calling
	// thread; node is a NodeNamespace. It is called for each behaviour in a new namespace; several sinks exist at a
	// time. ctx is canceled after the sink is closed. If the sink has a method Close, with
	// or without an error result, the kit calls it at the end and to simulate a restart;
	// otherwise it calls Close of the sinks inside, see localsink.Walk. After Close,
	// programmed Services must keep working until the next sink takes over.
	New func(ctx context.Context, node Namespace) (localsink.Sink, error)
	// Unsupported lists features that the sink does not support, in addition to those that
	// it reports as a localsink.FeatureReporter.
	Unsupported localsink.Features
	// LoopbackNodePorts reports whether TCP node ports answer on the addresses in
	// Node.LoopbackNodePorts. If false, the behaviours about it are unsupported.
	LoopbackNodePorts bool
	// Proxy reports whether connections end in a process of the node, such as that of the sink,
	// which connects to endpoints. What a proxy cannot do is then expected or unsupported:
	//
	//   - Endpoints see an address of the node, whatever the route requires.
	//   - A refused TCP connection may be reset after it was accepted.
	//   - A UDP client that must be refused may get no answer, if the frontend serves other
	//     clients or has established flows.
	//   - Connections and affinity entries end with Close.
	//   - It does not know through which interface a client's packets arrived.
	//   - It cannot listen where another process does; clients reach that process.
	Proxy bool
	// Sockets reports whether addresses of Services are translated at the sockets of processes on
	// the node and in its pods, before there are packets. Three things are then different:
	//
	//   - An endpoint that connects to its own Service and reaches itself sees its own address.
	//   - Instead of leading to another endpoint, connected UDP sockets are closed soon after
	//     Sync, and the client connects again.
	//   - The interface through which packets of a pod would arrive is unknown.
	Sockets bool
	// MaxServices is the number of Services above which the backend is documented to be
	// unusable; zero means no limit. Behaviours with more Services are unsupported.
	MaxServices int
	// AffinityPerFrontend reports whether each frontend of a port has affinity entries of its
	// own. If true, the behaviour that they share them is unsupported.
	AffinityPerFrontend bool
	// Exceptions lists what the dataplane cannot do by nature: the reason, by the ID of a
	// behaviour ("DP-41"), or by ID and variant ("DP-41 IPv4 UDP"). It is reported as
	// unsupported.
	Exceptions map[string]string
	// Drift makes an external change to what the sink programs, such as flushing all
	// rules. If it is nil, or the sink is no localsink.ResyncRequester, behaviour OP-16 is
	// untested.
	Drift func() error
	// TimeLimits are how long the kit waits; zero fields have the defaults.
	TimeLimits TimeLimits
}

// TimeLimits are how long the kit waits. A slow machine, or a dataplane that applies a
// change after Sync has returned, needs higher ones.
type TimeLimits struct {
	// Answer limits a connection, an exchange of data, and a request for a resync; zero
	// means 3 s.
	Answer time.Duration
	// Refusal is how soon a refused connection must be refused; zero means 1 s.
	Refusal time.Duration
	// Silence is after which time a connection counts as dropped; zero means 300 ms. A
	// lower value than the dataplane's delay lets wrong answers pass.
	Silence time.Duration
	// Sync limits one call of New, Sync or Close; zero means one minute. A call that has not
	// returned five seconds later is abandoned and ends the behaviour.
	Sync time.Duration
}

func (l TimeLimits) withDefaults() TimeLimits {
	return TimeLimits{
		Answer:  cmp.Or(l.Answer, 3*time.Second),
		Refusal: cmp.Or(l.Refusal, time.Second),
		Silence: cmp.Or(l.Silence, 300*time.Millisecond),
		Sync:    cmp.Or(l.Sync, time.Minute),
	}
}

// DialIn returns a function that connects from a network namespace, for parts of a backend
// that open connections themselves, such as the Dial of package localhost.
func DialIn(ns Namespace) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = ns.Run(func() error {
			c, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}
}

// validate returns an error for an incomplete Backend or an unknown behaviour ID.
func (b Backend) validate(ids []string) error {
	if b.New == nil {
		return errors.New("backendtest: Backend.New: required")
	}
	for _, limit := range []struct {
		name  string
		value time.Duration
	}{
		{"Answer", b.TimeLimits.Answer}, {"Refusal", b.TimeLimits.Refusal}, {"Silence", b.TimeLimits.Silence}, {"Sync", b.TimeLimits.Sync},
	} {
		if limit.value < 0 {
			return fmt.Errorf("backendtest: Backend.TimeLimits.%s: %v is negative", limit.name, limit.value)
		}
	}
	for key, reason := range b.Exceptions {
		id, of, hasVariant := strings.Cut(key, " ")
		known := slices.ContainsFunc(allVariants(), func(v variant) bool { return v.String() == of })
		if !slices.Contains(IDs(), id) || hasVariant && !known {
			return fmt.Errorf("backendtest: Backend.Exceptions: %q is neither a behaviour nor a behaviour and a variant", key)
		}
		if reason == "" {
			return fmt.Errorf("backendtest: Backend.Exceptions: %q: the reason is empty", key)
		}
	}
	for _, id := range ids {
		if !slices.Contains(IDs(), id) {
			return fmt.Errorf("backendtest: unknown behaviour ID %q, see IDs", id)
		}
	}
	return nil
}
