// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// maxRefused is the number of refused operations above which the cause is unlikely to be the
// Services.
const maxRefused = 100

// errLost means that HNS does not have what the programmer noted, so that it must be listed again.
var errLost = errors.New("hns: the state of HNS is not the noted one")

// A programmer executes operations, and notes what HNS has.
type programmer struct {
	cfg       *Config
	canModify bool
	observed  *observedState
	// refused are the frontends and addresses whose operation failed, with the reason.
	refusedKeys  map[frontendKey]error
	refusedAddrs map[netip.Addr]error
	// incomplete are the frontends some of whose endpoints do not exist.
	incomplete map[frontendKey]error
	// echoes are the load balancers that HNS returns in another form than requested.
	echoes map[frontendKey]echo
	// isUncertain reports whether a call failed that may have had an effect. listed is when HNS was
	// listed, which ends that.
	isUncertain bool
	listed      time.Time
	// isRelisted reports whether HNS was listed in the present call of Sync, so that what it does
	// not find is not lost.
	isRelisted bool
}

// An echo is a request, and the form in which HNS returned it.
type echo struct{ requested, returned hostBalancer }

func newProgrammer(cfg *Config, canModify bool) *programmer {
	return &programmer{
		cfg: cfg, canModify: canModify, echoes: map[frontendKey]echo{}, refusedKeys: map[frontendKey]error{},
		refusedAddrs: map[netip.Addr]error{}, incomplete: map[frontendKey]error{},
	}
}

// read lists what HNS has.
func (p *programmer) read(ctx context.Context, network *podNetwork, hostMAC string) error {
	o, err := readState(ctx, p.cfg, network, hostMAC)
	if err != nil {
		return err
	}
	p.observed, p.isRelisted, p.isUncertain, p.listed = o, true, false, time.Now()
	p.replaceEchoes(o)
	clear(p.refusedKeys)
	clear(p.refusedAddrs)
	clear(p.incomplete)
	return nil
}

// mustList reports whether HNS must be listed because a call failed that may have had an effect.
func (p *programmer) mustList() bool {
	return p.isUncertain && time.Since(p.listed) >= retryInterval
}

// replaceEchoes replaces load balancers that HNS returned in another form by what was requested.
func (p *programmer) replaceEchoes(o *observedState) {
	for key, e := range p.echoes {
		if b := o.balancers[key]; b == nil {
			delete(p.echoes, key)
		} else if b.same(e.returned.settings, e.returned.endpoints) {
			b.settings, b.endpoints = e.requested.settings, e.requested.endpoints
		}
	}
}

// apply executes the operations for the changes of d, and those that failed before. Operations of
// one Service that fail do not prevent the others.
func (p *programmer) apply(ctx context.Context, d *desiredState) error {
	for key := range p.refusedKeys {
		d.changedKeys[key] = true
	}
	for key := range p.incomplete {
		d.changedKeys[key] = true
	}
	for addr := range p.refusedAddrs {
		d.changedAddrs[addr] = true
	}
	if err := p.findLocalEndpoints(ctx, d); err != nil {
		return err
	}
	for key := range d.changedKeys {
		delete(p.refusedKeys, key)
		delete(p.incomplete, key)
	}
	for addr := range d.changedAddrs {
		delete(p.refusedAddrs, addr)
	}
	for _, op := range plan(d, p.observed, p.canModify) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.execute(ctx, d, op); err != nil {
			return err
		}
	}
	p.noteIncomplete(d)
	return nil
}

// findLocalEndpoints lists endpoints again if one of a changed local address is not known, because
// the CNI plugin creates them.
func (p *programmer) findLocalEndpoints(ctx context.Context, d *desiredState) error {
	isMissing := false
	for addr := range d.changedAddrs {
		isMissing = isMissing || p.lacksLocal(d, target{addr, true})
	}
	for key := range p.incomplete {
		if b := d.balancers[key].balancer; b != nil {
			for _, t := range b.targets {
				isMissing = isMissing || p.lacksLocal(d, t)
			}
		}
	}
	if !isMissing || p.isRelisted {
		return nil
	}
	now := &observedState{network: p.observed.network, hostMAC: p.observed.hostMAC}
	if err := now.readEndpoints(ctx, p.cfg); err != nil {
		return err
	}
	if p.observed.endpointsDiffer(now, d) {
		return errLost
	}
	p.observed.endpoints, p.observed.surplus, p.observed.named = now.endpoints, now.surplus, now.named
	return nil
}

// lacksLocal reports whether a target is a local endpoint that is not known.
func (p *programmer) lacksLocal(d *desiredState, t target) bool {
	return t.local && d.needs[t.addr].local > 0 && p.observed.endpointOf(t) == ""
}

// noteIncomplete notes the changed frontends some of whose endpoints do not exist.
func (p *programmer) noteIncomplete(d *desiredState) {
	for key := range d.changedKeys {
		b := d.balancers[key].balancer
		if b == nil {
			continue
		}
		var errs []error
		for _, t := range b.targets {
			if p.observed.endpointOf(t) != "" {
				continue
			}
			if err := p.refusedAddrs[t.addr]; err != nil {
				errs = append(errs, err)
			} else if t.addr.IsValid() {
				errs = append(errs, fmt.Errorf("endpoint %v does not exist in network %s", t.addr, p.cfg.Network))
			} else {
				errs = append(errs, fmt.Errorf("Config.HealthCheckEndpoint: no endpoint has the name %q", p.cfg.HealthCheckEndpoint))
			}
		}
		if len(errs) > 0 {
			p.incomplete[key] = errors.Join(errs...)
		}
	}
}

// execute executes an operation and notes its result. It returns an error if Sync must end.
func (p *programmer) execute(ctx context.Context, d *desiredState, op operation) error {
	var err error
	switch op.action {
	case createEndpoint:
		err = p.createEndpoint(ctx, d, op)
	case modifyEndpoint:
		err = p.modifyEndpoint(ctx, d, op)
	case deleteEndpoint:
		err = p.deleteEndpoint(ctx, op)
	case deleteBalancer:
		err = p.deleteBalancer(ctx, op)
	case modifyBalancer, createBalancer:
		err = p.writeBalancer(ctx, d, op)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("hns: %v: %w", op, err)
	if ctx.Err() != nil {
		return err
	}
	if (errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists)) && !p.isRelisted {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	p.refuse(op, err)
	if len(p.refusedKeys)+len(p.refusedAddrs) > maxRefused {
		return fmt.Errorf("hns: more than %d operations are refused: %w", maxRefused, err)
	}
	if op.action == createEndpoint && !op.remote {
		return err // without the source VIP, no Service works
	}
	return nil
}

// refuse notes that an operation failed.
func (p *programmer) refuse(op operation, err error) {
	p.cfg.Logger.Debug("Operation failed", "operation", op.String(), "err", err)
	p.isUncertain = p.isUncertain || op.action != deleteEndpoint && op.action != deleteBalancer
	if op.addr.IsValid() {
		p.refusedAddrs[op.addr] = err
		return
	}
	keys := op.keys
	if keys == nil {
		keys = []frontendKey{op.key}
	}
	isIPv6 := false
	for _, key := range keys {
		p.refusedKeys[key] = err
		isIPv6 = key.vip.Is6()
	}
	kind := map[action]Operation{deleteBalancer: OperationDelete, modifyBalancer: OperationModify, createBalancer: OperationCreate}[op.action]
	p.cfg.OnFailure(Failure{kind, isIPv6, err})
}

func (p *programmer) createEndpoint(ctx context.Context, d *desiredState, op operation) error {
	kind := d.needs[op.addr].kind()
	e := &Endpoint{
		Network: p.observed.network.id, IPConfigurations: []IPConfig{{IPAddress: op.addr.String()}},
		MACAddress: endpointMAC(op.addr), SchemaVersion: schemaVersion(),
	}
	if op.remote {
		e.Flags = EndpointRemote
	}
	if p.observed.network.overlay {
		e.Policies = providerPolicy(d.compiler.providerOf(op.addr, kind))
		if kind != endpointPod {
			e.MACAddress = p.observed.hostMAC
		}
	}
	created, err := p.cfg.HNS.CreateEndpoint(ctx, e)
	if err != nil {
		return err
	}
	p.observed.endpoints[op.addr] = &hostEndpoint{
		id: canonicalID(created.ID), remote: op.remote, owned: op.remote, provider: d.compiler.providerOf(op.addr, kind),
	}
	return nil
}

func providerPolicy(provider netip.Addr) []EndpointPolicy {
	if !provider.IsValid() {
		return nil
	}
	return []EndpointPolicy{{PolicyProviderAddress, ProviderAddress{provider.String()}}}
}

func (p *programmer) modifyEndpoint(ctx context.Context, d *desiredState, op operation) error {
	provider := d.compiler.providerOf(op.addr, d.needs[op.addr].kind())
	if err := p.cfg.HNS.ModifyEndpoint(ctx, op.id, providerPolicy(provider)); err != nil {
		return err
	}
	p.observed.endpoints[op.addr].provider = provider
	return nil
}

func (p *programmer) deleteEndpoint(ctx context.Context, op operation) error {
	if err := p.cfg.HNS.DeleteEndpoint(ctx, op.id); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	delete(p.observed.surplus, op.id)
	if e := p.observed.endpoints[op.addr]; e != nil && e.id == op.id {
		delete(p.observed.endpoints, op.addr)
	}
	return nil
}

// deleteBalancer deletes a load balancer. After a failure it still has its frontends.
func (p *programmer) deleteBalancer(ctx context.Context, op operation) error {
	if err := p.cfg.HNS.DeleteLoadBalancer(ctx, op.id); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if op.keys != nil {
		delete(p.observed.stale, op.id)
		return nil
	}
	delete(p.observed.balancers, op.key)
	delete(p.echoes, op.key)
	return nil
}

// writeBalancer modifies or creates a load balancer. Without an endpoint it does nothing. It does
// not create one whose frontend is locked by one that could not be deleted.
func (p *programmer) writeBalancer(ctx context.Context, d *desiredState, op operation) error {
	b := d.balancers[op.key].balancer
	ids, _ := p.observed.resolve(b.targets)
	if len(ids) == 0 {
		return nil
	}
	if op.action == createBalancer {
		if err := p.refusedKeys[op.key]; err != nil {
			return err
		}
		return p.write(op.key, b, ids, func(lb *LoadBalancer) (*LoadBalancer, error) { return p.cfg.HNS.CreateLoadBalancer(ctx, lb) })
	}
	err := p.write(op.key, b, ids, func(lb *LoadBalancer) (*LoadBalancer, error) { return p.cfg.HNS.ModifyLoadBalancer(ctx, op.id, lb) })
	if !errors.Is(err, ErrNotImplemented) {
		return err
	}
	p.canModify = false
	p.cfg.Logger.Warn("This version of Windows does not modify load balancers; they are deleted and created", "err", err)
	if err := p.deleteBalancer(ctx, operation{action: deleteBalancer, key: op.key, id: op.id}); err != nil {
		return err
	}
	op.action = createBalancer
	return p.writeBalancer(ctx, d, op)
}

// write writes a load balancer by call, and notes what HNS returned.
func (p *programmer) write(key frontendKey, b *balancer, ids []string, call func(*LoadBalancer) (*LoadBalancer, error)) error {
	written, err := call(newLoadBalancer(key, b, ids))
	if err != nil {
		return err
	}
	p.observed.balancers[key] = &hostBalancer{id: canonicalID(written.ID), settings: b.settings, endpoints: ids}
	delete(p.echoes, key)
	if len(written.PortMappings) != 1 {
		return nil
	}
	if _, returned := parseBalancer(written); !returned.same(b.settings, ids) {
		p.cfg.Logger.Debug("HNS returned a load balancer in another form", "loadBalancer", key.String(), "id", written.ID)
		p.echoes[key] = echo{*p.observed.balancers[key], *returned}
	}
	return nil
}

// newLoadBalancer returns the document of a load balancer.
func newLoadBalancer(key frontendKey, b *balancer, ids []string) *LoadBalancer {
	lb := &LoadBalancer{
		Endpoints: ids, Flags: b.flags, SchemaVersion: schemaVersion(),
		PortMappings: []PortMapping{{
			Protocol: uint32(key.protocol), InternalPort: b.internalPort, ExternalPort: key.port, Distribution: b.distribution, Flags: b.mapping,
		}},
	}
	if !key.vip.IsUnspecified() {
		lb.FrontendVIPs = []string{key.vip.String()}
	}
	if b.sourceVIP.IsValid() {
		lb.SourceVIP = b.sourceVIP.String()
	}
	return lb
}

// failures returns what failed, by Service.
func (p *programmer) failures(d *desiredState) map[localsink.ServiceName]error {
	all := map[localsink.ServiceName]error{}
	for _, errs := range []map[frontendKey]error{p.refusedKeys, p.incomplete} {
		for key, err := range errs {
			if c := d.balancers[key]; c.balancer != nil {
				all[c.owner] = errors.Join(all[c.owner], err)
			}
		}
	}
	return all
}
