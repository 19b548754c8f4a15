// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns

import (
	"context"
	"errors"
)

// The errors of an [HNS] that the backend distinguishes. Others may be wrapped in any form.
var (
	// ErrNotFound means that the object, or one that a request refers to, does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists means that another object has the frontend, or the address of an endpoint.
	ErrExists = errors.New("already exists")
	// ErrNotImplemented means that this version of Windows does not have the call.
	ErrNotImplemented = errors.New("not implemented")
)

// HNS is the Host Networking Service of a Windows node. Module sigs.k8s.io/kpng/backends/hns/hcn
// has the real one, package hnstest a strict fake.
//
// A call returns soon after its context is done, even if the request is still in progress: then it
// is unknown whether it has an effect. Errors name the operation, not the object. Calls of one
// backend never overlap.
type HNS interface {
	// Features returns the abilities of this version of Windows.
	Features(ctx context.Context) (Features, error)
	// Network returns the network with a name, or ErrNotFound.
	Network(ctx context.Context, name string) (*Network, error)

	// ListEndpoints lists the endpoints of the network with an ID.
	ListEndpoints(ctx context.Context, network string) ([]Endpoint, error)
	// CreateEndpoint creates an endpoint and returns it with its ID.
	CreateEndpoint(ctx context.Context, e *Endpoint) (*Endpoint, error)
	// ModifyEndpoint replaces the policies of an endpoint.
	ModifyEndpoint(ctx context.Context, id string, policies []EndpointPolicy) error
	DeleteEndpoint(ctx context.Context, id string) error

	// ListLoadBalancers lists all load balancers of the node.
	ListLoadBalancers(ctx context.Context) ([]LoadBalancer, error)
	// CreateLoadBalancer creates a load balancer and returns it with its ID.
	CreateLoadBalancer(ctx context.Context, lb *LoadBalancer) (*LoadBalancer, error)
	// ModifyLoadBalancer replaces the load balancer with an ID and returns the result.
	ModifyLoadBalancer(ctx context.Context, id string, lb *LoadBalancer) (*LoadBalancer, error)
	DeleteLoadBalancer(ctx context.Context, id string) error
}
