// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/nodelocal/nodeports"
)

// Keywords that [Config.NodePortAddresses] accepts beside networks, see package nodeports.
const (
	KeywordPrimary   = nodeports.KeywordPrimary
	KeywordLocalhost = nodeports.KeywordLocalhost
	KeywordAll       = nodeports.KeywordAll
)

// A Config configures a [Resolver]: the node, and how Services are resolved for it.
type Config struct {
	// NodeName is the name of the node. Required.
	NodeName string
	// NodeIP, when it is a specific address, replaces the Node object's address of its
	// family and makes its family the primary one. When it is the zero Addr or
	// unspecified, the addresses of the Node object are used.
	NodeIP netip.Addr
	// KnownNode completes the Node object while the store does not have it, or while it has
	// no addresses; the caller may let it remember assumed addresses. The Resolver remembers
	// the last Node object in it. nil means a new, empty one.
	KnownNode *KnownNode
	// Unsupported are the features that the sink does not have. A Service that requires
	// one of them gets a Problem. [Run] and [Follow] add the features that the sink reports.
	Unsupported localsink.Features

	// ProxyName selects Services by the label service.kubernetes.io/service-proxy-name;
	// "" selects the Services without the label.
	ProxyName string
	// LocalPods describes how packets from pods of the node are recognised.
	LocalPods PodDetection
	// NodePortAddresses are the networks and keywords ([KeywordPrimary], [KeywordLocalhost],
	// [KeywordAll]) that select the addresses of the node on which node ports are served;
	// none means [KeywordPrimary].
	NodePortAddresses []string
	// MasqueradeAll masquerades all traffic to cluster IPs.
	MasqueradeAll bool
	// IgnoreExternalIPs ignores spec.externalIPs of all Services. A Service that has any
	// gets a Problem. It is kube-proxy's feature gate AllowServiceExternalIPs=false.
	IgnoreExternalIPs bool
	// NoMasquerade are the networks of clients that are not masqueraded, except for hairpin
	// connections and those to loopback node ports: the network returns their packets to this
	// node by itself. (KEP-6246)
	NoMasquerade []netip.Prefix
	// Scope limits what is served.
	Scope Scope
	// Policy decides how connections are distributed; nil leaves that to the objects.
	Policy Policy

	// MinInterval is the minimum time between the end of one Sync and the start of the
	// next; changes in between are combined. 0 means no delay.
	MinInterval time.Duration
	// MaxBackoff is the maximum time between attempts of a Sync that fails. The time
	// starts at 100 ms and doubles; while there are new changes it is at most 1 s. 0 means
	// 30 s.
	MaxBackoff time.Duration
	// Logger receives warnings about invalid objects and failed syncs; nil is silent.
	Logger *slog.Logger

	nodePorts nodeports.Selection
}

// A MultiNodeConfig configures a [MultiNodeResolver]. Its fields are those of [Config] that
// all nodes share.
type MultiNodeConfig struct {
	ProxyName         string
	LocalPods         PodDetection
	NodePortAddresses []string
	MasqueradeAll     bool
	IgnoreExternalIPs bool
	NoMasquerade      []netip.Prefix
	Scope             Scope
	Policy            Policy
	// Logger receives warnings about invalid objects; nil is silent.
	Logger *slog.Logger
}

// ForNode returns the configuration of the named node.
func (cfg MultiNodeConfig) ForNode(name string) Config {
	return Config{
		NodeName:          name,
		ProxyName:         cfg.ProxyName,
		LocalPods:         cfg.LocalPods,
		NodePortAddresses: cfg.NodePortAddresses,
		MasqueradeAll:     cfg.MasqueradeAll,
		IgnoreExternalIPs: cfg.IgnoreExternalIPs,
		NoMasquerade:      cfg.NoMasquerade,
		Scope:             cfg.Scope,
		Policy:            cfg.Policy,
		Logger:            cfg.Logger,
	}
}

// Validate returns an error that names each invalid field.
func (cfg MultiNodeConfig) Validate() error {
	node := cfg.anyNode()
	return node.complete()
}

// anyNode returns the configuration of an arbitrary node, for code that ignores the name.
func (cfg MultiNodeConfig) anyNode() Config { return cfg.ForNode("any") }

// complete validates cfg and sets defaults. The error names each invalid field.
func (cfg *Config) complete() error {
	var nameErr error
	if cfg.NodeName == "" {
		nameErr = errors.New("NodeName: required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.KnownNode == nil {
		cfg.KnownNode = &KnownNode{}
	}
	pace := cfg.pace()
	selection, selectionErr := nodeports.Parse(cfg.NodePortAddresses)
	cfg.nodePorts = selection
	noMasquerade, noMasqueradeErr := validNetworks(cfg.NoMasquerade, "NoMasquerade")
	cfg.NoMasquerade = noMasquerade
	if err := errors.Join(nameErr, pace.Validate(), selectionErr, noMasqueradeErr, cfg.LocalPods.validate(), cfg.Scope.validate()); err != nil {
		return fmt.Errorf("nodelocal: invalid Config: %w", err)
	}
	return nil
}

// options returns the part of cfg that the resolution of a Service depends on.
func (cfg *Config) options() resolveOptions {
	return resolveOptions{
		masqueradeAll: cfg.MasqueradeAll, ignoreExternalIPs: cfg.IgnoreExternalIPs, omitted: cfg.Scope.omitted(), policy: cfg.Policy,
	}
}

// pace returns the part of cfg that the reconciler uses.
func (cfg *Config) pace() reconciler.Config {
	return reconciler.Config{MinInterval: cfg.MinInterval, MaxBackoff: cfg.MaxBackoff, Logger: cfg.Logger}
}
