// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/kpng/backends/internal/drift"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// A Backend is a localsink.Sink that translates addresses of Services at the sockets of clients.
// Create it with New.
type Backend struct {
	cfg      Config
	kernel   kernel
	monitor  *drift.Monitor
	closer   *closer      // nil if sockets remain open
	rewrites *rewriteTail // nil if rewrites are not recorded
	cancel   context.CancelFunc
	running  sync.WaitGroup
	now      func() time.Time

	closing sync.RWMutex // held while the kernel is read outside of mu; guards closed
	closed  bool

	mu       sync.Mutex // guards the following fields
	state    *state     // nil before the first Sync, and after an error
	counters counters   // of the last state, if there is none at present
	version  uint64     // of the last pool
	drifted  bool       // the maps must be loaded again
	checks   int        // number of calls of check
	devices  string     // the last error of attachDevices
	node     *localsink.Node
	allAddrs []netip.Addr // of the node
}

var (
	_ localsink.Sink            = (*Backend)(nil)
	_ localsink.FeatureReporter = (*Backend)(nil)
	_ localsink.FailureReporter = (*Backend)(nil)
	_ localsink.ResyncRequester = (*Backend)(nil)
	_ localsink.DriftReporter   = (*Backend)(nil)
)

// frontendChecks is how many checks of the programs there are for one of all frontends.
const frontendChecks = 10

// newBackend returns a Backend with a checked configuration.
func newBackend(cfg Config, k kernel) *Backend {
	ctx, cancel := context.WithCancel(context.Background())
	b := &Backend{cfg: cfg, kernel: k, cancel: cancel, now: time.Now}
	b.version = uint64(time.Now().UnixNano())
	b.monitor = drift.NewMonitor(drift.Poll(cfg.CheckInterval, cfg.Logger, b.check), cfg.Logger)
	if !cfg.KeepSockets {
		b.closer = &closer{kernel: k, jobs: make(chan []removedSockets, 1), failed: func(err error) {
			cfg.Logger.Warn("UDP sockets of removed endpoints are not closed", "err", err)
		}}
		b.running.Go(func() { b.closer.run(ctx) })
	}
	if cfg.RecentRewrites > 0 {
		b.rewrites = &rewriteTail{size: cfg.RecentRewrites}
		b.running.Go(func() {
			if err := k.readRewrites(ctx, b.rewrites.add); ctx.Err() == nil {
				cfg.Logger.Warn("Rewrites are not recorded any more", "err", err)
			}
		})
	}
	return b
}

// Unsupported implements localsink.FeatureReporter. Combined with another backend nothing is
// unsupported, because that one does what this one leaves alone.
func (b *Backend) Unsupported() localsink.Features {
	if b.cfg.Combined {
		return 0
	}
	return ^(localsink.FeatureIPv4 | localsink.FeatureIPv6 | localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureAffinity |
		localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP | localsink.FeatureLoadBalancer |
		localsink.FeatureWeights | localsink.FeaturePass | localsink.FeatureRefusedShare)
}

// ResyncRequested implements localsink.ResyncRequester.
func (b *Backend) ResyncRequested() <-chan struct{} { return b.monitor.Requests() }

// Repairs returns how often a Sync has repaired what other programs have changed, or may have. It may
// be called at any time, and does not wait for Sync. See conntrack.Config.Repairs.
func (b *Backend) Repairs() uint64 { return b.monitor.Repairs() }

// DriftedSince implements localsink.DriftReporter.
func (b *Backend) DriftedSince() time.Time { return b.monitor.DriftedSince() }

// NotProgrammed implements localsink.FailureReporter: it returns the Services with frontends that
// violate the contract of localsink.
func (b *Backend) NotProgrammed() map[localsink.ServiceName]error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil {
		return nil
	}
	all := map[localsink.ServiceName]error{}
	for name, s := range b.state.services {
		if s.violation != "" {
			all[name] = fmt.Errorf("ebpf: Service %s: %s", name, s.violation)
		}
	}
	return all
}

// Sync implements localsink.Sink. A change of endpoints takes effect for each frontend at once.
func (b *Backend) Sync(ctx context.Context, u *localsink.Update) error {
	repair := b.monitor.Begin()
	if err := b.sync(ctx, u); err != nil {
		return err
	}
	b.monitor.Succeeded(repair)
	return nil
}

func (b *Backend) sync(ctx context.Context, u *localsink.Update) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if addrs, err := b.listAddresses(); err == nil {
		b.allAddrs = addrs
	} else {
		b.cfg.Logger.Warn("Cannot list addresses of the node, the previous ones are kept", "err", err)
	}
	if b.state == nil || b.drifted {
		return b.load(ctx, u)
	}
	err := b.apply(ctx, u)
	if err == nil {
		b.closeRemoved()
		return nil
	}
	if errors.Is(err, errFull) {
		b.cfg.Logger.Info("Loading the state into larger maps", "reason", err)
		if err = b.load(ctx, u); err != nil && b.state != nil {
			b.drop() // a part of u is in the state, and would not be applied again
		}
		return err
	}
	b.drop()
	return fmt.Errorf("ebpf: %w", err)
}

// apply writes the delta of u.
func (b *Backend) apply(ctx context.Context, u *localsink.Update) error {
	if err := errors.Join(b.setAddrs(u.Node), b.state.setPods(&u.Node.LocalPods)); err != nil {
		return err
	}
	if !b.node.Equal(u.Node) {
		b.node, b.state.compiler.node = u.Node, u.Node
		for svc := range u.All.All() {
			if err := b.state.setService(svc.Name, svc); err != nil {
				return err
			}
		}
	}
	for _, svc := range u.Removed {
		if err := b.state.setService(svc.Name, nil); err != nil {
			return err
		}
	}
	for _, svc := range u.Changed {
		if err := b.state.setService(svc.Name, svc); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.state.commit()
}

// attachDevices attaches the program for packets from outside. After an error the packet path serves
// the connections that arrive through the device.
func (b *Backend) attachDevices() {
	message := ""
	if err := b.kernel.attachDevices(&b.node.LocalPods); err != nil {
		message = err.Error()
	}
	if message != "" && message != b.devices {
		b.cfg.Logger.Warn("Connections from outside are left to the packet path", "err", message)
	}
	b.devices = message
}

// load writes the whole state into new maps, and then replaces the programs by ones that use
// these. Until then the previous ones are unchanged.
func (b *Backend) load(ctx context.Context, u *localsink.Update) error {
	need := b.need(u)
	size := need.withRoom()
	m, err := b.kernel.load(size)
	if err != nil {
		return fmt.Errorf("ebpf: load programs and maps: %w", err)
	}
	old := b.state
	next := newState(m, size, &compiler{node: u.Node, combined: b.cfg.Combined, packets: len(b.cfg.Devices) > 0}, b.cfg.CountConnections, &b.version, b.now)
	if old != nil {
		next.counters = old.counters.carry(b.counts(old), size.counters)
	} else {
		next.counters = b.counters.carry(nil, size.counters)
	}
	if err := next.fill(ctx, u); err != nil {
		return errors.Join(fmt.Errorf("ebpf: %w", err), m.close())
	}
	b.state, b.node = next, u.Node
	err = errors.Join(b.setAddrs(u.Node), next.setPods(&u.Node.LocalPods))
	if err == nil {
		err = b.kernel.attach(m)
	}
	if err != nil {
		// Some programs may use the new maps already, others the old ones.
		b.state = nil
		b.counters = next.counters
		return errors.Join(fmt.Errorf("ebpf: attach programs: %w", err), m.close(), old.close())
	}
	b.drifted = false
	b.attachDevices()
	if old != nil {
		next.removed = append(next.removed, old.removedIn(next)...)
	}
	b.closeRemoved()
	return old.close()
}

// fill writes all Services.
func (s *state) fill(ctx context.Context, u *localsink.Update) error {
	for svc := range u.All.All() {
		if err := s.setService(svc.Name, svc); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return s.commit()
}

// removedIn returns the sockets that the replacement of a state must close.
func (s *state) removedIn(next *state) []removedSockets {
	for name, svc := range s.services {
		after := next.services[name]
		if after == nil {
			after = &service{}
		}
		s.noteRemovedSockets(svc, after)
	}
	return s.removed
}

func (s *state) close() error {
	if s == nil {
		return nil
	}
	return s.maps.close()
}

// drop forgets the state after an error, because the maps may contain a part of a change. The
// programs continue to use them until the next Sync.
func (b *Backend) drop() {
	b.counters = b.state.counters.carry(b.counts(b.state), 0)
	_ = b.state.close()
	b.state = nil
}

// counts returns the values of all counters.
func (b *Backend) counts(s *state) []uint64 {
	if !s.counting {
		return nil
	}
	values := make([]uint64, s.counters.next)
	for i := range values {
		var err error
		if values[i], err = s.maps.readCounter(uint32(i)); err != nil {
			b.cfg.Logger.Warn("Cannot read the counts of connections", "err", err)
			break
		}
	}
	return values
}

func (b *Backend) closeRemoved() {
	removed := b.state.removed
	b.state.removed = nil
	if b.closer != nil && len(removed) > 0 {
		b.closer.add(removed)
	}
}

// need returns how many elements the maps need for u.
func (b *Backend) need(u *localsink.Update) sizes {
	need := sizes{addrs: uint32(len(b.allAddrs)), ranges: uint32(len(u.Node.LocalPods.Networks) + 1)}
	records := uint32(2) // of a frontend: for the node, for its pods
	if len(b.cfg.Devices) > 0 {
		records++ // for clients outside
	}
	for svc := range u.All.All() {
		for i := range svc.Ports {
			p := &svc.Ports[i]
			frontends := uint32(len(p.Frontends))
			need.frontends += frontends + uint32(len(u.Node.LoopbackNodePorts))
			need.records += records * (frontends + uint32(len(u.Node.LoopbackNodePorts)))
			for _, fe := range p.Frontends {
				need.ranges += uint32(len(fe.SourceRanges))
			}
			for _, pool := range p.Pools {
				need.slots += uint32(len(pool.Endpoints) + len(p.Draining))
				if b.cfg.CountConnections {
					need.counters += uint32(len(pool.Endpoints))
				}
				if isConsistent(p.Selection) {
					need.cells += uint32(consistent.Size(len(pool.Endpoints)))
				}
			}
			if b.cfg.CountConnections {
				need.counters += frontends
			}
		}
	}
	return need
}

// setAddrs writes the addresses that accept node ports.
func (b *Backend) setAddrs(node *localsink.Node) error {
	var addrs []netip.Addr
	for _, a := range localsink.AddressesIn(node.NodePortAddresses, b.allAddrs) {
		if !a.IsLoopback() {
			addrs = append(addrs, a.WithZone(""))
		}
	}
	return b.state.setAddrs(addrs)
}

// listAddresses returns the addresses of the node.
func (b *Backend) listAddresses() ([]netip.Addr, error) {
	addrs, err := b.cfg.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("ebpf: list addresses of the node: %w", err)
	}
	var all []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr())
		}
	}
	return localsink.AddressesIn([]netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}, all), nil
}

// check reports whether the addresses of the node or the programs and frontends in the kernel
// differ from those of the last Sync.
func (b *Backend) check(context.Context) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil || b.drifted {
		return false, nil // nothing to compare, or reported already
	}
	addrs, err := b.listAddresses()
	if err != nil {
		return false, err
	}
	if !slices.Equal(addrs, b.allAddrs) {
		return true, nil
	}
	b.attachDevices()
	intact, err := b.kernel.intact()
	if b.checks++; err == nil && intact && b.checks%frontendChecks == 0 {
		intact, err = b.state.intact()
	}
	if err != nil || intact {
		return false, err
	}
	b.drifted = true
	return true, nil
}

// intact reports whether the frontends in the kernel are those of s.
func (s *state) intact() (bool, error) {
	present, err := s.maps.readFrontends()
	if err != nil {
		return false, err
	}
	for k, p := range s.frontends {
		if value, ok := present[k]; !ok || value != p.value {
			return false, nil
		}
	}
	return len(present) == len(s.frontends), nil
}

// Close frees the resources of the backend. The programs remain attached; see Cleanup.
func (b *Backend) Close() error {
	b.cancel()
	b.monitor.Close()
	b.running.Wait()
	b.closing.Lock()
	defer b.closing.Unlock()
	b.closed = true
	b.mu.Lock()
	defer b.mu.Unlock()
	err := errors.Join(b.state.close(), b.kernel.close())
	b.state = nil
	return err
}
