// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package vectors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// A Reference is the implementation of this module: a nodelocal.Resolver, whose desired state
// sinktest.Trace evaluates. It is an [Implementation] and a [Describer].
type Reference struct {
	host     sinktest.Host
	clients  map[string]sinktest.Packet // by name; with source address and interface
	store    *watchers.Store
	resolver *nodelocal.Resolver // of the latest Configure; nil before
}

// NewReference returns an implementation whose cluster is empty. It must be closed.
func NewReference() *Reference {
	return &Reference{clients: map[string]sinktest.Packet{}, store: watchers.NewStore()}
}

// Close implements [Implementation].
func (r *Reference) Close() error {
	if r.resolver == nil {
		return nil
	}
	resolver := r.resolver
	r.resolver = nil
	return resolver.Close()
}

// Configure implements [Implementation].
func (r *Reference) Configure(_ context.Context, settings []string) error {
	if err := r.Close(); err != nil {
		return err
	}
	var cfg nodelocal.Config
	for _, line := range settings {
		if err := r.setting(&cfg, strings.Fields(line)); err != nil {
			return fmt.Errorf("setting %q: %w", line, err)
		}
	}
	resolver, err := nodelocal.NewResolver(r.store, cfg)
	r.resolver = resolver
	return err
}

// setting applies one line of a .config file.
func (r *Reference) setting(cfg *nodelocal.Config, w []string) (err error) {
	name, values := w[0], w[1:]
	if isFlag := slices.Contains([]string{"node-cidr", "masquerade-all", "ignore-external-ips", "pass-external"}, name); !isFlag && len(values) == 0 {
		return errors.New("a value is required")
	}
	switch name {
	case "node":
		cfg.NodeName = values[0]
	case "node-ip":
		cfg.NodeIP, err = netip.ParseAddr(values[0])
	case "cluster-cidr":
		cfg.LocalPods.ClusterCIDRs, err = parseAll(values, netip.ParsePrefix)
	case "proxy-name":
		cfg.ProxyName = values[0]
	case "node-cidr":
		cfg.LocalPods.NodeCIDR = true
	case "pod-interface":
		cfg.LocalPods.Interface = values[0]
	case "pod-interface-prefix":
		cfg.LocalPods.InterfacePrefix = values[0]
	case "masquerade-all":
		cfg.MasqueradeAll = true
	case "assumed-ips":
		var ips []netip.Addr
		ips, err = parseAll(values, netip.ParseAddr)
		cfg.KnownNode = &nodelocal.KnownNode{}
		cfg.KnownNode.Remember(&watchers.Node{IPs: ips})
	case "ignore-external-ips":
		cfg.IgnoreExternalIPs = true
	case "no-masquerade":
		cfg.NoMasquerade, err = parseAll(values, netip.ParsePrefix)
	case "pass-external":
		cfg.Policy = func(_ *watchers.Service, port *nodelocal.PolicyPort) error {
			port.PassExternal = true
			return nil
		}
	case "nodeport-addresses":
		cfg.NodePortAddresses = values
	case "host":
		r.host = sinktest.Host{}
		r.host.Addrs, err = parseAll(values, netip.ParseAddr)
	case "client": // client NAME ADDRESS [INTERFACE]
		err = r.client(values)
	default:
		err = errors.New("unknown setting")
	}
	return err
}

func (r *Reference) client(values []string) error {
	if len(values) != 2 && len(values) != 3 {
		return errors.New("want client NAME ADDRESS [INTERFACE]")
	}
	from, err := netip.ParseAddr(values[1])
	p := sinktest.Packet{From: from}
	if len(values) > 2 {
		p.Interface = values[2]
	}
	r.clients[values[0]] = p
	return err
}

func parseAll[T any](words []string, parse func(string) (T, error)) ([]T, error) {
	var all []T
	for _, w := range words {
		value, err := parse(w)
		if err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	return all, nil
}

// Apply implements [Implementation]. Objects before an erroneous one are applied.
func (r *Reference) Apply(_ context.Context, objects []json.RawMessage) (err error) {
	r.store.Update(func(tx *watchers.Tx) {
		for _, o := range objects {
			if err = apply(tx, o); err != nil {
				return
			}
		}
	})
	return err
}

// Delete implements [Implementation].
func (r *Reference) Delete(_ context.Context, names []string) (err error) {
	r.store.Update(func(tx *watchers.Tx) {
		for _, line := range names {
			w := strings.Fields(line)
			namespace, name, namespaced := strings.Cut(w[1], "/")
			if !namespaced {
				namespace, name = "", w[1]
			}
			origin := ""
			if len(w) > 2 {
				origin = w[2]
			}
			if !remove(tx, w[0], namespace, name, origin) {
				err = fmt.Errorf("%s: unknown kind %q", line, w[0])
				return
			}
		}
	})
	return err
}

// State implements [Describer].
func (r *Reference) State(context.Context) (string, error) {
	u, err := r.refreshed()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for svc := range u.All.All() {
		b.WriteString(svc.Text())
	}
	return b.String(), nil
}

// refreshed returns the complete desired state.
func (r *Reference) refreshed() (*localsink.Update, error) {
	if r.resolver == nil {
		return nil, errors.New("no node is configured")
	}
	r.resolver.Refresh()
	return r.resolver.FullUpdate(), nil
}

// Probe implements [Implementation].
func (r *Reference) Probe(_ context.Context, probes []string) ([]string, error) {
	u, err := r.refreshed()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, probe := range probes {
		p, err := r.packet(strings.Fields(probe))
		if err != nil {
			return nil, fmt.Errorf("probe %q: %w", probe, err)
		}
		all = append(all, fmt.Sprint(sinktest.Trace(u.Node, u.All, r.host, p)))
	}
	return all, nil
}

// packet returns the first packet of a probe.
func (r *Reference) packet(w []string) (p sinktest.Packet, err error) {
	if len(w) != 3 {
		return p, errors.New("want CLIENT PROTOCOL ADDRESS:PORT")
	}
	p, known := r.clients[w[0]]
	if !known {
		return p, fmt.Errorf("client %q: want one of %q", w[0], slices.Sorted(maps.Keys(r.clients)))
	}
	switch w[1] {
	case "tcp":
		p.Protocol = localsink.ProtocolTCP
	case "udp":
		p.Protocol = localsink.ProtocolUDP
	case "sctp":
		p.Protocol = localsink.ProtocolSCTP
	default:
		return p, fmt.Errorf("protocol %q: want tcp, udp or sctp", w[1])
	}
	p.To, err = netip.ParseAddrPort(w[2])
	return p, err
}
