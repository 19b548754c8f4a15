// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// Cleanup removes all load balancers of the node that have ports, as kube-proxy does, and the
// remote endpoints that this backend or kube-proxy created in the network of cfg. It continues
// after errors and returns all of them.
func Cleanup(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	return errors.Join(removeBalancers(ctx, &cfg), removeEndpoints(ctx, &cfg))
}

func removeBalancers(ctx context.Context, cfg *Config) error {
	list, err := cfg.HNS.ListLoadBalancers(ctx)
	if err != nil {
		return fmt.Errorf("hns: list load balancers: %w", err)
	}
	var errs []error
	for i := range list {
		if len(list[i].PortMappings) == 0 {
			continue
		}
		if err := cfg.HNS.DeleteLoadBalancer(ctx, list[i].ID); err != nil && !errors.Is(err, ErrNotFound) {
			errs = append(errs, fmt.Errorf("hns: delete load balancer %s: %w", list[i].ID, err))
		}
	}
	return errors.Join(errs...)
}

func removeEndpoints(ctx context.Context, cfg *Config) error {
	n, err := cfg.HNS.Network(ctx, cfg.Network)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hns: find network %s: %w", cfg.Network, err)
	}
	o := &observedState{network: newPodNetwork(n)}
	list, err := cfg.HNS.ListEndpoints(ctx, o.network.id)
	if err != nil {
		return fmt.Errorf("hns: list endpoints of network %s: %w", cfg.Network, err)
	}
	o.hostMAC = sourceMAC(list, cfg.SourceVIP)
	var errs []error
	for i := range list {
		if !o.parseEndpoint(&list[i]).owned {
			continue
		}
		if err := cfg.HNS.DeleteEndpoint(ctx, list[i].ID); err != nil && !errors.Is(err, ErrNotFound) {
			errs = append(errs, fmt.Errorf("hns: delete endpoint %s: %w", list[i].ID, err))
		}
	}
	return errors.Join(errs...)
}

// sourceMAC returns the MAC address of the endpoint with the source VIP, which is that of the node.
func sourceMAC(list []Endpoint, sourceVIP netip.Addr) string {
	for i := range list {
		for _, ip := range list[i].IPConfigurations {
			if addr, err := netip.ParseAddr(ip.IPAddress); err == nil && addr == sourceVIP {
				return canonicalMAC(list[i].MACAddress)
			}
		}
	}
	return ""
}
