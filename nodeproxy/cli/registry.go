// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/pipeline"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// A Source is something that --from names, as NAME or NAME:ARGUMENT. Either Watcher or Node is set.
type Source struct {
	// Name is the word in the command line.
	Name string
	// Argument is the placeholder of the argument in the help, such as "DIR", or "[DIR]" if it may
	// be left out; empty if the source takes none.
	Argument string
	// Help is one line about the source.
	Help string
	// Includes is the name of a source whose objects this one has too; both in one command line are
	// an error.
	Includes string
	// Watcher returns a source of cluster state.
	Watcher func(ctx context.Context, env *Env, argument string) (watchers.Watcher, error)
	// Node returns a source of the state of one node.
	Node func(ctx context.Context, env *Env, argument string) (NodeSource, error)
}

// A NodeSource delivers the desired state of one node; node.Client of package remote/node is one.
type NodeSource interface {
	// Run delivers to sink until ctx is done.
	Run(ctx context.Context, sink localsink.Sink) error
}

// A Sink is something that --to names, as NAME or NAME:ARGUMENT. Either Node or Cluster is set.
type Sink struct {
	// Name, Argument and Help are as in [Source]. A sink whose argument may contain commas is the
	// last one of its --to.
	Name, Argument, Help string
	// Commas reports whether the argument may contain commas.
	Commas bool
	// Requires is what the sink needs of the cluster state beside what a proxy does: Details, and
	// AllProxies; and what it does without: NoClusterIPEndpoints, which has an effect if all sinks
	// have it. ProxyName has no effect.
	Requires kubeapi.Filter
	// ManyClients reports whether the sink serves many clients at once, so that the process uses
	// more memory to collect garbage less often.
	ManyClients bool
	// Node returns a sink for the state of one node.
	Node func(ctx context.Context, env *Env, argument string) (NodeSink, error)
	// Cluster returns a consumer of cluster state, such as a server.
	Cluster func(ctx context.Context, env *Env, argument string) (ClusterSink, error)
}

// A ClusterSink consumes cluster state: it follows a store until ctx is done.
type ClusterSink func(ctx context.Context, store *watchers.Store) error

// A NodeSink is a sink for one node with what belongs to it. At least one of Sink, Flows and
// HealthChecks is set.
type NodeSink struct {
	// Sink programs the node.
	Sink localsink.Sink
	// Flows is called after all sinks and health checks of the same --to.
	Flows localsink.Sink
	// HealthChecks serves the health checks of Services, and --health and --metrics, for the other
	// sinks of the same --to.
	HealthChecks bool
	// Takeover, NoLoopbackListeners and InterfaceAddrs are those of pipeline.Config. They need
	// HealthChecks.
	Takeover            pipeline.Takeover
	NoLoopbackListeners bool
	InterfaceAddrs      func() ([]net.Addr, error)
	// Repairs is the number of conntrack.Config, for the sink conntrack. nil means that it is not
	// known when Sink repairs what other programs have changed.
	Repairs func() uint64
	// Collectors are served at --metrics.
	Collectors []prometheus.Collector
}

// A Registry has the sources and sinks of a command line. Its zero value is empty. See [Standard].
type Registry struct {
	Sources []Source
	Sinks   []Sink
}

// A Plugin adds to a registry: a [Source], a [Sink] or a [Registry].
type Plugin interface{ addTo(r *Registry) }

func (s Source) addTo(r *Registry) { r.Sources = append(r.Sources, s) }

func (s Sink) addTo(r *Registry) { r.Sinks = append(r.Sinks, s) }

func (r Registry) addTo(o *Registry) {
	o.Sources, o.Sinks = append(o.Sources, r.Sources...), append(o.Sinks, r.Sinks...)
}

// With returns a registry with plugins added. A later source or sink replaces an earlier one of the
// same name.
func (r Registry) With(plugins ...Plugin) Registry {
	out := Registry{Sources: slices.Clone(r.Sources), Sinks: slices.Clone(r.Sinks)}
	for _, p := range plugins {
		p.addTo(&out)
	}
	out.Sources = lastOfEach(out.Sources, func(s Source) string { return s.Name })
	out.Sinks = lastOfEach(out.Sinks, func(s Sink) string { return s.Name })
	return out
}

// lastOfEach keeps the last element of each name, in the place of the first.
func lastOfEach[T any](all []T, name func(T) string) []T {
	var out []T
	for _, x := range all {
		if i := slices.IndexFunc(out, func(o T) bool { return name(o) == name(x) }); i >= 0 {
			out[i] = x
			continue
		}
		out = append(out, x)
	}
	return out
}

// A reference is a source or sink of the command line with its argument.
type reference[T any] struct {
	what     T
	text     string // as in the command line
	argument string
}

// source returns the source that a --from names.
func (r Registry) source(text string) (reference[Source], error) {
	name, argument, _ := strings.Cut(text, ":")
	i := slices.IndexFunc(r.Sources, func(s Source) bool { return s.Name == name })
	if i < 0 {
		return reference[Source]{}, fmt.Errorf("%w: --from %q: want one of %s", command.ErrUsage, text, strings.Join(r.sourceWords(), ", "))
	}
	s := r.Sources[i]
	return reference[Source]{s, text, argument}, checkArgument("--from", text, s.Name, s.Argument, argument)
}

// sinks returns the sinks that a --to names, separated by commas.
func (r Registry) sinks(text string) ([]reference[Sink], error) {
	var all []reference[Sink]
	for rest := text; rest != ""; {
		item, after, _ := strings.Cut(rest, ",")
		name, argument, _ := strings.Cut(item, ":")
		i := slices.IndexFunc(r.Sinks, func(s Sink) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%w: --to %q: want one of %s", command.ErrUsage, item, strings.Join(r.sinkWords(), ", "))
		}
		s := r.Sinks[i]
		if s.Commas { // the rest is the argument
			item, after = rest, ""
			_, argument, _ = strings.Cut(item, ":")
		}
		if err := checkArgument("--to", item, s.Name, s.Argument, argument); err != nil {
			return nil, err
		}
		all = append(all, reference[Sink]{s, item, argument})
		rest = after
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: --to: empty", command.ErrUsage)
	}
	return all, nil
}

func checkArgument(flag, text, name, placeholder, argument string) error {
	switch {
	case placeholder == "" && text != name:
		return fmt.Errorf("%w: %s %q: %s takes no argument", command.ErrUsage, flag, text, name)
	case placeholder != "" && argument == "" && !isOptional(placeholder):
		return fmt.Errorf("%w: %s %q: want %s", command.ErrUsage, flag, text, word(name, placeholder))
	}
	return nil
}

// word returns a source or sink as the help prints it.
func word(name, placeholder string) string {
	switch {
	case placeholder == "":
		return name
	case isOptional(placeholder):
		return name + "[:" + placeholder[1:]
	}
	return name + ":" + placeholder
}

func isOptional(placeholder string) bool { return strings.HasPrefix(placeholder, "[") }

func (r Registry) sourceWords() (words []string) {
	for _, s := range r.Sources {
		words = append(words, word(s.Name, s.Argument))
	}
	return words
}

func (r Registry) sinkWords() (words []string) {
	for _, s := range r.Sinks {
		words = append(words, word(s.Name, s.Argument))
	}
	return words
}

// help returns the list of sources and sinks.
func (r Registry) help() string {
	var b strings.Builder
	b.WriteString("Sources:\n")
	for _, s := range r.Sources {
		fmt.Fprintf(&b, "  %-20s %s\n", word(s.Name, s.Argument), s.Help)
	}
	b.WriteString("\nSinks:\n")
	for _, s := range r.Sinks {
		fmt.Fprintf(&b, "  %-20s %s\n", word(s.Name, s.Argument), s.Help)
	}
	return b.String()
}
