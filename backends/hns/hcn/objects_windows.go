// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hcn

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/Microsoft/hcsshim/hcn"

	"sigs.k8s.io/kpng/backends/hns"
)

// ListEndpoints implements [hns.HNS].
func (h *Host) ListEndpoints(ctx context.Context, network string) ([]hns.Endpoint, error) {
	return do(ctx, h, func() ([]hns.Endpoint, error) {
		listed, err := hcn.ListEndpointsOfNetwork(network)
		if err != nil {
			return nil, err
		}
		list := make([]hns.Endpoint, 0, len(listed))
		for i := range listed {
			e, err := fromEndpoint(&listed[i])
			if err != nil {
				return nil, err
			}
			list = append(list, *e)
		}
		return list, nil
	})
}

// fromEndpoint converts an endpoint with the policies that package hns reads.
func fromEndpoint(e *hcn.HostComputeEndpoint) (*hns.Endpoint, error) {
	read := *e
	read.Policies = slices.DeleteFunc(slices.Clone(e.Policies), func(p hcn.EndpointPolicy) bool { return string(p.Type) != hns.PolicyProviderAddress })
	return convert[hns.Endpoint](&read)
}

// CreateEndpoint implements [hns.HNS].
func (h *Host) CreateEndpoint(ctx context.Context, e *hns.Endpoint) (*hns.Endpoint, error) {
	return do(ctx, h, func() (*hns.Endpoint, error) {
		document, err := convert[hcn.HostComputeEndpoint](e)
		if err != nil {
			return nil, err
		}
		created, err := document.Create()
		if err != nil {
			return nil, err
		}
		return fromEndpoint(created)
	})
}

// ModifyEndpoint implements [hns.HNS].
func (h *Host) ModifyEndpoint(ctx context.Context, id string, policies []hns.EndpointPolicy) error {
	return run(ctx, h, func() error {
		settings, err := json.Marshal(map[string]any{"Policies": policies})
		if err != nil {
			return err
		}
		return hcn.ModifyEndpointSettings(id, &hcn.ModifyEndpointSettingRequest{
			ResourceType: hcn.EndpointResourceTypePolicy, RequestType: hcn.RequestTypeUpdate, Settings: settings,
		})
	})
}

// DeleteEndpoint implements [hns.HNS].
func (h *Host) DeleteEndpoint(ctx context.Context, id string) error {
	return run(ctx, h, func() error { return (&hcn.HostComputeEndpoint{Id: id}).Delete() })
}

// ListLoadBalancers implements [hns.HNS].
func (h *Host) ListLoadBalancers(ctx context.Context) ([]hns.LoadBalancer, error) {
	return do(ctx, h, func() ([]hns.LoadBalancer, error) {
		listed, err := hcn.ListLoadBalancers()
		if err != nil {
			return nil, err
		}
		list, err := convert[[]hns.LoadBalancer](listed)
		if err != nil {
			return nil, err
		}
		return *list, nil
	})
}

// CreateLoadBalancer implements [hns.HNS].
func (h *Host) CreateLoadBalancer(ctx context.Context, lb *hns.LoadBalancer) (*hns.LoadBalancer, error) {
	return h.write(ctx, lb, (*hcn.HostComputeLoadBalancer).Create)
}

// ModifyLoadBalancer implements [hns.HNS].
func (h *Host) ModifyLoadBalancer(ctx context.Context, id string, lb *hns.LoadBalancer) (*hns.LoadBalancer, error) {
	return h.write(ctx, lb, func(document *balancer) (*balancer, error) { return document.Update(id) })
}

type balancer = hcn.HostComputeLoadBalancer

func (h *Host) write(ctx context.Context, lb *hns.LoadBalancer, call func(*balancer) (*balancer, error)) (*hns.LoadBalancer, error) {
	return do(ctx, h, func() (*hns.LoadBalancer, error) {
		document, err := convert[balancer](lb)
		if err != nil {
			return nil, err
		}
		written, err := call(document)
		if err != nil {
			return nil, err
		}
		return convert[hns.LoadBalancer](written)
	})
}

// DeleteLoadBalancer implements [hns.HNS].
func (h *Host) DeleteLoadBalancer(ctx context.Context, id string) error {
	return run(ctx, h, func() error { return (&hcn.HostComputeLoadBalancer{Id: id}).Delete() })
}
