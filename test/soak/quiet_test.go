// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/test/controlplane"
	"sigs.k8s.io/kpng/test/soak/oracle"
)

// quietLimit is the maximum time from the last operation until all is equal.
const quietLimit = 90 * time.Second

// maxDifferences is the number of differences that a report has.
const maxDifferences = 20

// quiet waits until, on each node, the kernel, the acknowledged state and what the oracle computes from
// the objects are equal. Then it checks traffic, certificates and that no process has ended, and
// measures the processes.
func (f *fixture) quiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quietLimit)
	defer cancel()
	objects, err := f.objects(ctx)
	if err != nil {
		return err
	}
	for _, m := range f.machines {
		if err := poll(ctx, func() error { return f.compare(ctx, objects, m) }); err != nil {
			return fmt.Errorf("%s, %v after the last operation: %w", m.Name, quietLimit, err)
		}
	}
	for _, p := range f.processes {
		if err := p.Exited(); err != nil {
			return err
		}
		if p.grpcPort != 0 {
			if err := p.servesNewestCertificate(ctx, f); err != nil && time.Since(p.certified) > certificateLimit {
				return fmt.Errorf("%v after the certificate changed: %w", time.Since(p.certified).Round(time.Second), err)
			}
		}
		if err := f.resources.measure(ctx, p); err != nil {
			return err
		}
	}
	return f.traffic.check()
}

// objects reads the objects that matter to proxies from the API server.
func (f *fixture) objects(ctx context.Context) (*oracle.Cluster, error) {
	services, err := f.client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	endpointSlices, err := f.client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	all, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return &oracle.Cluster{Services: services.Items, Slices: endpointSlices.Items, Nodes: all.Items, ServiceNetworks: serviceNetworks()}, nil
}

func serviceNetworks() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix(controlplane.ServiceCIDR4), netip.MustParsePrefix(controlplane.ServiceCIDR6)}
}

// acknowledged returns the acknowledged state of a node.
func (f *fixture) acknowledged(ctx context.Context, objects *oracle.Cluster, m *machine) (*oracle.Model, error) {
	p := f.process(proxyName(m.number))
	page, err := p.get(ctx, p.metricsPort, "/state?output=json")
	if err != nil {
		return nil, err
	}
	return objects.Acknowledged(&m.Node, page)
}

// compare returns an error with the differences of a node.
func (f *fixture) compare(ctx context.Context, objects *oracle.Cluster, m *machine) error {
	acknowledged, err := f.acknowledged(ctx, objects, m)
	if err != nil {
		return err
	}
	rules, err := m.rules(ctx)
	if err != nil {
		return err
	}
	differences, err := oracle.Compare(objects.Desired(&m.Node), acknowledged, rules)
	if err != nil {
		return err
	}
	if len(differences) == 0 {
		return nil
	}
	shown := differences[:min(len(differences), maxDifferences)]
	return fmt.Errorf("%d differences:\n%s", len(differences), strings.Join(shown, "\n"))
}

// rules reads the rules from the kernel.
func (m *machine) rules(ctx context.Context) (*oracle.Ruleset, error) {
	data, err := m.listing(ctx)
	if err != nil {
		return nil, err
	}
	return oracle.ParseRuleset(data, "kpng")
}

// listing returns all rules as JSON, without the warnings of nft.
func (m *machine) listing(ctx context.Context) ([]byte, error) {
	out, err := m.Output(ctx, "nft", "-j", "list", "ruleset")
	if err != nil {
		return nil, err
	}
	begin, end := strings.IndexByte(out, '{'), strings.LastIndexByte(out, '}')
	if begin < 0 || end < begin {
		return nil, errors.New("nft lists no JSON: " + out)
	}
	return []byte(out[begin : end+1]), nil
}
