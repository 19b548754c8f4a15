// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/remoteflags"
	"sigs.k8s.io/kpng/nodeproxy/servertier"
	"sigs.k8s.io/kpng/remote/cluster"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// An Env is what the sources and sinks of one kpng run share. It is valid until the command ends.
type Env struct {
	// NodeName is the name of the node.
	NodeName string
	// Node is how Services are resolved. Its ProxyName selects Services.
	Node nodelocal.Config
	// Filter selects the objects of sources, and the properties that are kept.
	Filter kubeapi.Filter
	// Extend attaches extensions to objects; nil attaches none.
	Extend kubeapi.Extend
	// Stdout receives the output of sinks that print.
	Stdout io.Writer
	// Stderr receives the standard error of programs.
	Stderr io.Writer
	// Logger receives what operators need to know.
	Logger *slog.Logger

	allNodes   bool // a sink serves other nodes
	client     kubeclient.Config
	upstream   *remoteflags.Client
	server     *remoteflags.Server
	readiness  *readinessFlags
	servers    map[string]*servertier.Services // by address
	addresses  []string                        // the keys of servers in the order of --to
	upstreams  []func() cluster.Status         // of the sources that are clients of ClusterService
	background []func(ctx context.Context) error
	closers    []func() error

	countConnections, usesEBPF         bool
	recentRewrites                     int
	devices                            []string  // of the sink ebpf
	usesAPIServer, usesServers, serves bool      // whether flags of clients and servers have an effect
	progress                           *progress // nil without a terminal
	repairs                            repairs   // of all sinks
}

// Client returns a client of the API server that the flags select.
func (e *Env) Client() (kubernetes.Interface, error) { return e.newClient(e.client) }

func (e *Env) newClient(cfg kubeclient.Config) (kubernetes.Interface, error) {
	e.usesAPIServer = true
	return kubeclient.New(cfg)
}

// Dial connects to the servers of a comma-separated list, with the credentials of the flags. The
// connections are closed when the command ends.
func (e *Env) Dial(addresses string) (*remoteflags.Connections, error) {
	e.usesServers = true
	conns, err := e.upstream.DialAddresses(addresses)
	if err != nil {
		return nil, err
	}
	e.OnClose(conns.Close)
	e.Go(conns.Run)
	return conns, nil
}

// collectors returns the metrics of the connections to servers of the cluster state. One server that
// is lost makes the state incomplete: of several, it is the one that is lost for the longest time.
func (e *Env) collectors() []prometheus.Collector {
	if len(e.upstreams) == 0 {
		return nil
	}
	return servertier.NewUpstream(func() cluster.Status {
		all := cluster.Status{Synced: true}
		for _, status := range e.upstreams {
			if s := status(); !s.Synced && (all.Synced || s.Since.Before(all.Since)) {
				all = s
			}
		}
		return all
	})
}

// Listen opens a socket for a sink that serves gRPC, with the credentials, permissions and limits of the
// flags of servers. It is closed when the command ends.
func (e *Env) Listen(ctx context.Context, address string) (*remoteflags.Listener, error) {
	e.serves = true
	client, err := e.reviewer()
	if err != nil {
		return nil, err
	}
	l, err := e.server.Listen(ctx, address, client, e.Logger)
	if err != nil {
		return nil, err
	}
	e.OnClose(func() error {
		_ = l.Socket.Close() // what serves on it may have closed it
		return nil
	})
	e.Go(l.Run)
	return l, nil
}

// reviewer returns a client that reviews tokens, or nil without --token-review.
func (e *Env) reviewer() (kubernetes.Interface, error) {
	if !e.server.TokenReview() {
		return nil, nil
	}
	cfg := e.client
	cfg.QPS = remoteflags.ReviewQPS
	return e.newClient(cfg)
}

// require adds what a sink requires to the filter of sources. The node's Services are still those of
// --proxy-name: they are selected when they are resolved.
func (e *Env) require(f kubeapi.Filter) {
	e.Filter.Details |= f.Details
	if f.AllProxies {
		e.Filter.AllProxies, e.Filter.ProxyName = true, ""
	}
}

// Go runs a function beside the sources and sinks. An error ends the command.
func (e *Env) Go(part func(ctx context.Context) error) { e.background = append(e.background, part) }

// OnClose calls a function when the command ends, in reverse order.
func (e *Env) OnClose(closer func() error) { e.closers = append(e.closers, closer) }

func (e *Env) close() error {
	var errs []error
	for _, closer := range slices.Backward(e.closers) {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
}

// clientName identifies this program to servers.
func clientName() string { return "kpng " + command.Version() }
