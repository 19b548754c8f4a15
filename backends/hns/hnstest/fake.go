// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hnstest has a fake of the Host Networking Service of Windows, for tests on any system.
//
// A [Fake] is strict: it refuses what Windows refuses, and does what public reports about
// kube-proxy describe. It keeps everything in memory.
//
//   - A load balancer needs endpoints, each of which exists, of the family of its frontend.
//   - No two load balancers have a frontend in common.
//   - An endpoint cannot be deleted as long as a load balancer has it; two have no address in
//     common.
//   - IDs are returned in lower case by the calls that create, and in upper case by lists, which
//     also have IPv6 addresses in their long form.
//   - A listed load balancer can be without port mappings; see [Fake.AddLoadBalancer].
//   - All IDs change when HNS restarts; see [Fake.Restart].
//
// Each call can fail before or after its effect, and be slow; see [Config].
package hnstest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/kpng/backends/hns"
)

// A Config configures a [Fake].
type Config struct {
	Network  hns.Network // ID is assigned
	Features hns.Features
}

// AllFeatures are those of a recent version of Windows.
func AllFeatures() hns.Features {
	return hns.Features{DSR: true, SessionAffinity: true, IPv6DualStack: true, RemoteSubnet: true, ModifyLoadBalancer: true}
}

// A Call is a call of a [Fake].
type Call struct {
	// Name is that of the method, such as "CreateLoadBalancer".
	Name string
	// Object describes what the call writes, without IDs; empty for one that reads.
	Object string
}

// Writes reports whether the call changes something.
func (c Call) Writes() bool { return c.Object != "" }

// String returns the name and the object.
func (c Call) String() string { return strings.TrimSpace(c.Name + " " + c.Object) }

// Faults change how a [Fake] responds. A function that is nil has no effect.
type Faults struct {
	// Fail is called before the effect of a call, which returns the error instead.
	Fail func(Call) error
	// Lose is called after the effect of a call, which returns the error nevertheless.
	Lose func(Call) error
	// Latency is how long a call takes. If its context ends in the meantime, a call that writes
	// has its effect if CancelApplies.
	Latency       func(Call) time.Duration
	CancelApplies bool
}

// A Fake is an HNS in memory. Its methods may be called concurrently.
type Fake struct {
	mu        sync.Mutex // guards the following fields
	features  hns.Features
	network   hns.Network
	lastID    int
	endpoints map[string]*hns.Endpoint // by ID
	balancers map[string]*hns.LoadBalancer
	faults    Faults
	writes    []string // since the last TakeWrites
	reads     int
}

var _ hns.HNS = (*Fake)(nil)

// New returns a fake without endpoints.
func New(cfg Config) *Fake {
	f := &Fake{features: cfg.Features, network: cfg.Network, endpoints: map[string]*hns.Endpoint{}, balancers: map[string]*hns.LoadBalancer{}}
	f.network.ID = f.newID()
	return f
}

func (f *Fake) newID() string {
	f.lastID++
	return fmt.Sprintf("aabbccdd-0000-4000-8000-%012x", f.lastID)
}

// SetFaults replaces the faults.
func (f *Fake) SetFaults(faults Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

// SetNetwork replaces the type, the policies or the name of the network, but not its ID.
func (f *Fake) SetNetwork(n hns.Network) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n.ID = f.network.ID
	f.network = n
}

// SetFeatures replaces the features.
func (f *Fake) SetFeatures(features hns.Features) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.features = features
}

// AddEndpoint adds an endpoint without any check, as a CNI plugin and a fault of Windows do.
func (f *Fake) AddEndpoint(e hns.Endpoint) (id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.ID, e.Network = f.newID(), f.network.ID
	f.endpoints[e.ID] = &e
	return e.ID
}

// AddLocalEndpoints adds the endpoints of pods of this node.
func (f *Fake) AddLocalEndpoints(addrs ...netip.Addr) {
	for _, a := range addrs {
		f.AddEndpoint(hns.Endpoint{IPConfigurations: []hns.IPConfig{{IPAddress: a.String()}}, MACAddress: "00-15-5D-00-00-01"})
	}
}

// RemoveEndpoint removes the endpoints with an address without any check.
func (f *Fake) RemoveEndpoint(addr netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, e := range f.endpoints {
		if slices.Contains(addressesOf(e), addr) {
			delete(f.endpoints, id)
		}
	}
}

// AddLoadBalancer adds a load balancer without any check, also a half created one.
func (f *Fake) AddLoadBalancer(lb hns.LoadBalancer) (id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lb.ID = f.newID()
	f.balancers[lb.ID] = &lb
	return lb.ID
}

// RemoveLoadBalancers removes the load balancers that selects returns true for.
func (f *Fake) RemoveLoadBalancers(selects func(hns.LoadBalancer) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, lb := range f.balancers {
		if selects(*lb) {
			delete(f.balancers, id)
		}
	}
}

// Restart changes all IDs. If forgets, load balancers and remote endpoints are lost.
func (f *Fake) Restart(forgets bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.network.ID = f.newID()
	endpoints, balancers, renamed := f.endpoints, f.balancers, map[string]string{}
	f.endpoints, f.balancers = map[string]*hns.Endpoint{}, map[string]*hns.LoadBalancer{}
	for old, e := range endpoints {
		if forgets && e.Flags&hns.EndpointRemote != 0 {
			continue
		}
		e.ID, e.Network = f.newID(), f.network.ID
		renamed[old] = e.ID
		f.endpoints[e.ID] = e
	}
	for _, lb := range balancers {
		if forgets {
			continue
		}
		lb.ID = f.newID()
		for i, id := range lb.Endpoints {
			lb.Endpoints[i] = renamed[strings.ToLower(id)]
		}
		f.balancers[lb.ID] = lb
	}
}

// TakeWrites returns the calls that changed something since the last call, in order.
func (f *Fake) TakeWrites() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	writes := f.writes
	f.writes = nil
	return writes
}

// Reads returns the number of calls that read.
func (f *Fake) Reads() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

// call executes a call with its faults; effect is called with the mutex.
func (f *Fake) call(ctx context.Context, c Call, effect func() error) error {
	f.mu.Lock()
	faults := f.faults
	f.mu.Unlock()
	cancelled := wait(ctx, faults, c)
	if cancelled != nil && !(faults.CancelApplies && c.Writes()) {
		return cancelled
	}
	if faults.Fail != nil {
		if err := faults.Fail(c); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := effect(); err != nil {
		return err
	}
	if c.Writes() {
		f.writes = append(f.writes, c.String())
	} else {
		f.reads++
	}
	if cancelled != nil {
		return cancelled
	}
	if faults.Lose != nil {
		return faults.Lose(c)
	}
	return nil
}

// wait waits as long as a call takes. It returns the error of ctx if that ends first.
func wait(ctx context.Context, faults Faults, c Call) error {
	if faults.Latency == nil {
		return ctx.Err()
	}
	timer := time.NewTimer(faults.Latency(c))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errInvalid means that Windows refuses a document.
var errInvalid = errors.New("invalid document")
