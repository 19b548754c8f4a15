// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodeproxy puts the sinks of one node proxy into the order in which they must
// run; it is independent of packet filters, flags and servers.
//
// A proxy is assembled by a main function from this package and the packages below it.
// Each can be used alone and has no global state, so that one process can run several
// proxies:
//
//	kubeproxy         a whole replacement of kube-proxy, around any backend
//	nodeagent         a whole node agent, around any backend
//	pipeline          the sinks of both around the backend, and what observes them
//	command           flags, exit codes and the concurrent parts of a process
//	kubeproxyconfig   kube-proxy's configuration file and flags -> Configs of the library
//	kubeclient        a client of the API server
//	metrics           kube-proxy's Prometheus metrics
//	dataplane         the backend of a proxy mode, with its metrics
//	backendmetrics    those of the backends for Linux
//	clientmetrics     those of client-go, for main functions
//	logging           a log with the settings of Kubernetes components
//	health            /healthz and /livez
//	problems          Services that are not programmed as specified, and why
//	events            Kubernetes events about Services and the node
//	status            /state: desired state, applied state and failures
//	httpserver        the HTTP servers of these endpoints, and the limit of their connections
//	nodeips           the addresses of the node while its Node object is absent
//	sysctl            the kernel's connection tracking parameters
//	takeover          removal of what kube-proxy left
//	tuning            the Go runtime and the timers of the process
//	printer           a sink that prints changes, for tests and demonstrations
//	remoteflags       flags of clients and servers of the gRPC API
//	servertier        one server of the gRPC API: a state server or a relay
//
// The programs in examples/ show complete assemblies.
package nodeproxy

import (
	"context"

	"sigs.k8s.io/kpng/localsink"
)

// Sinks are the sinks of one node proxy, in the order in which they run. Any of them may
// be nil.
type Sinks struct {
	// Problems reports what is wrong with Services, before any sink can fail.
	Problems localsink.Sink
	// Rules programs the packet path, with the decorators that observe it.
	Rules localsink.Sink
	// HealthChecks answers load balancers. It runs after Rules, so that no load balancer
	// announces an endpoint that packets cannot reach yet.
	HealthChecks localsink.Sink
	// Loopback serves node ports on loopback addresses.
	Loopback localsink.Sink
	// Flows deletes stale connection tracking entries. It runs after Rules, which would
	// otherwise create them again.
	Flows localsink.Sink
	// AfterFirstSync is called once, when all sinks have applied a first update. It must
	// not block.
	AfterFirstSync func()
}

// Chain returns a sink that runs the sinks in order and stops at the first that fails:
// no sink runs ahead of the rules.
func (s Sinks) Chain() localsink.Sink {
	var sinks []localsink.Sink
	for _, sink := range []localsink.Sink{s.Problems, s.Rules, s.HealthChecks, s.Loopback, s.Flows} {
		if sink != nil {
			sinks = append(sinks, sink)
		}
	}
	if s.AfterFirstSync != nil {
		sinks = append(sinks, onceSink(s.AfterFirstSync))
	}
	return localsink.Chain(sinks...)
}

// onceSink returns a sink that calls fn in its first Sync. Calls of Sync never overlap.
func onceSink(fn func()) localsink.Sink {
	called := false
	return localsink.Func(func(context.Context, *localsink.Update) error {
		if !called {
			called = true
			fn()
		}
		return nil
	})
}
