// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dnscli is the sink dns of the command line: kpng run --to dns:ADDR. It has the
// options; package dns answers the queries.
package dnscli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/kpng/export/dns"
	"sigs.k8s.io/kpng/nodeproxy/cli"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// Sink returns the sink dns:ADDR. ADDR is the host:port of UDP and TCP. Options follow, each behind a
// comma.
func Sink() cli.Sink {
	return cli.Sink{
		Name: "dns", Argument: "ADDR", Commas: true,
		Help:     "DNS for the names of the cluster; options: ,listen=ADDR ,domain=cluster.local ,ttl=5s ,ns=IP ,pods ,max-udp=1232",
		Requires: kubeapi.Filter{AllProxies: true, Details: dns.Details, NoClusterIPEndpoints: true},
		Cluster:  start,
	}
}

// start listens, and returns what answers queries.
func start(ctx context.Context, env *cli.Env, argument string) (cli.ClusterSink, error) {
	addresses, cfg, err := parse(argument)
	if err != nil {
		return nil, err
	}
	cfg.Logger = env.Logger
	if _, err := dns.New(watchers.NewStore(), cfg); err != nil { // before anything starts
		return nil, fmt.Errorf("%w: %w", command.ErrUsage, err)
	}
	var listeners []*dns.Listener
	for _, address := range addresses {
		l, err := dns.Listen(ctx, address)
		if err != nil {
			return nil, err
		}
		env.OnClose(func() error {
			_ = l.Close() // what serves it may have closed it
			return nil
		})
		env.Logger.InfoContext(ctx, "Serving DNS", "address", l.Addr().String())
		listeners = append(listeners, l)
	}
	return func(ctx context.Context, store *watchers.Store) (err error) {
		server, err := dns.New(store, cfg)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		return server.Run(ctx, listeners...)
	}, nil
}

// parse parses ADDR[,OPTION]...
func parse(argument string) (addresses []string, cfg dns.Config, err error) {
	options := strings.Split(argument, ",")
	addresses = options[:1:1]
	for _, option := range options[1:] {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "listen":
			addresses = append(addresses, value)
		case "domain":
			cfg.Domain = value
		case "ttl":
			cfg.TTL, err = time.ParseDuration(value)
		case "ns":
			var ip netip.Addr
			ip, err = netip.ParseAddr(value)
			cfg.NameserverIPs = append(cfg.NameserverIPs, ip)
		case "pods":
			cfg.PodRecords = true
		case "max-udp":
			cfg.MaxUDP, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("%q is not one of listen, domain, ttl, ns, pods, max-udp", name)
		}
		if err != nil {
			return nil, cfg, fmt.Errorf("%w: option %q: %w", command.ErrUsage, option, err)
		}
	}
	return addresses, cfg, nil
}
