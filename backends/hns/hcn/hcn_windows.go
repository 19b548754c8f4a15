// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hcn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/Microsoft/hcsshim/hcn"
	"golang.org/x/sys/windows"

	"sigs.k8s.io/kpng/backends/hns"
)

// A Host is the HNS of this node. Its methods may be called concurrently; the calls of Windows are
// made one after the other, on a goroutine that the Host owns. A call of Windows cannot be
// cancelled: it continues after its context has ended, and those after it wait.
type Host struct {
	calls  chan func()
	closed chan struct{} // closed by Close
	done   chan struct{} // closed when the goroutine has ended
	once   sync.Once
}

var _ hns.HNS = (*Host)(nil)

var errClosed = errors.New("hcn: the host is closed")

// Open returns the HNS of this node. It must be closed.
func Open() *Host {
	h := &Host{calls: make(chan func()), closed: make(chan struct{}), done: make(chan struct{})}
	go h.run()
	return h
}

func (h *Host) run() {
	defer close(h.done)
	for {
		select {
		case f := <-h.calls:
			f()
		case <-h.closed:
			return
		}
	}
}

// Close waits for the present call of Windows. Further calls have no effect.
func (h *Host) Close() error {
	h.once.Do(func() { close(h.closed) })
	<-h.done
	return nil
}

// do calls f on the goroutine of h and returns its result, or the error of ctx if that ends first.
func do[T any](ctx context.Context, h *Host, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	var none T
	select {
	case h.calls <- func() {
		value, err := f()
		results <- result{value, translate(err)}
	}:
	case <-ctx.Done():
		return none, ctx.Err()
	case <-h.closed:
		return none, errClosed
	}
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// run calls f on the goroutine of h.
func run(ctx context.Context, h *Host, f func() error) error {
	_, err := do(ctx, h, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// translate returns err, wrapped in the error of package hns that it is.
func translate(err error) error {
	has := func(codes ...hcn.ErrorCode) bool {
		for _, code := range codes {
			if hcn.CheckErrorWithCode(err, code) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return nil
	case hcn.IsNotFoundError(err), has(hcn.ERROR_NOT_FOUND, hcn.ErrorCode(windows.HCN_E_NETWORK_NOT_FOUND), hcn.ErrorCode(windows.HCN_E_ENDPOINT_NOT_FOUND)):
		return fmt.Errorf("%w: %w", hns.ErrNotFound, err)
	case has(hcn.HCN_E_PORT_ALREADY_EXISTS, hcn.ErrorCode(windows.ERROR_ALREADY_EXISTS)):
		return fmt.Errorf("%w: %w", hns.ErrExists, err)
	case has(hcn.HCN_E_NOTIMPL):
		return fmt.Errorf("%w: %w", hns.ErrNotImplemented, err)
	}
	return err
}

// convert converts a document between the types of hcsshim and of package hns, which have the same
// JSON.
func convert[T any](from any) (*T, error) {
	data, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	to := new(T)
	return to, json.Unmarshal(data, to)
}

// Features implements [hns.HNS].
func (h *Host) Features(ctx context.Context) (hns.Features, error) {
	return do(ctx, h, func() (hns.Features, error) {
		f, err := hcn.GetCachedSupportedFeatures()
		if err == nil && !f.Api.V2 {
			err = errors.New("this version of Windows has not version 2 of the API of HNS")
		}
		return hns.Features{
			DSR: f.DSR, SessionAffinity: f.SessionAffinity, IPv6DualStack: f.IPv6DualStack, RemoteSubnet: f.RemoteSubnet,
			ModifyLoadBalancer: f.ModifyLoadbalancer,
		}, err
	})
}

// Network implements [hns.HNS].
func (h *Host) Network(ctx context.Context, name string) (*hns.Network, error) {
	return do(ctx, h, func() (*hns.Network, error) {
		n, err := hcn.GetNetworkByName(name)
		if err != nil {
			return nil, err
		}
		network := &hns.Network{ID: n.Id, Name: n.Name, Type: string(n.Type)}
		for _, p := range n.Policies {
			if string(p.Type) != hns.PolicyRemoteSubnet {
				continue
			}
			subnet := hns.NetworkPolicy{Type: hns.PolicyRemoteSubnet}
			if err := json.Unmarshal(p.Settings, &subnet.Settings); err != nil {
				return nil, fmt.Errorf("policy %s of network %s: %w", p.Type, name, err)
			}
			network.Policies = append(network.Policies, subnet)
		}
		return network, nil
	})
}
