// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/kpng/backends/internal/drift"
	"sigs.k8s.io/kpng/localsink"
)

// A Backend programs the Services of one node into the network namespace in which it was created.
// Its methods are safe for concurrent use, except that calls of Sync must not overlap. Sync must
// be called on a thread in that namespace.
type Backend struct {
	cfg         Config
	kernel      kernel
	release     func() error // closes what New opened
	monitor     *drift.Monitor
	unsupported localsink.Features

	mu            sync.Mutex // guards the following fields
	closed        bool
	programmer    *programmer
	desired       *desiredState // nil if the kernel's state is unknown
	node          *localsink.Node
	verified      []serverKey // whose destinations the next checks of drift verify
	notProgrammed map[localsink.ServiceName]error
}

var (
	_ localsink.Sink            = (*Backend)(nil)
	_ localsink.ResyncRequester = (*Backend)(nil)
	_ localsink.FeatureReporter = (*Backend)(nil)
	_ localsink.FailureReporter = (*Backend)(nil)
	_ localsink.DriftReporter   = (*Backend)(nil)
)

const (
	// pollInterval is how often the backend looks for changes by other programs.
	pollInterval = time.Second
	// drainInterval is how often the backend looks whether connections to destinations without
	// weight have ended.
	drainInterval = 5 * time.Second
	// refusedRetryInterval is the delay after which refused virtual servers are retried.
	refusedRetryInterval = 30 * time.Second
)

var errClosed = errors.New("ipvs: the backend is closed")

// newBackend returns a backend that programs k.
func newBackend(cfg Config, k kernel, release func() error, poll time.Duration) *Backend {
	b := &Backend{cfg: cfg, kernel: k, release: release}
	b.programmer = &programmer{kernel: k, cfg: &b.cfg}
	b.monitor = drift.NewMonitor(drift.Poll(poll, cfg.Logger, b.checkDrift), cfg.Logger)
	return b
}

// Sync brings the kernel to the state of u; see [localsink.Sink].
//
// The first call reads what the kernel has, adopts it and changes only what differs; so does a
// call after an error, after a change by another program or of the node's addresses. Other calls
// write what has changed. Virtual servers precede the addresses and rules that lead to them.
func (b *Backend) Sync(ctx context.Context, u *localsink.Update) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	repair := b.monitor.Begin()
	isKnown := b.desired != nil && !repair.NeedsRepair && !(u.NodeChanged && nodeDiffers(b.node, u.Node))
	var err error
	if isKnown {
		err = b.update(ctx, u)
	} else {
		err = b.replace(ctx, u)
	}
	if err != nil {
		b.desired = nil
		return err
	}
	b.desired.forgetChanges()
	b.node = u.Node
	b.monitor.Succeeded(repair)
	b.noteFailures()
	if len(b.programmer.draining) > 0 {
		b.monitor.ScheduleRetry(drainInterval)
	}
	if len(b.programmer.refused)+len(b.programmer.refusedAddresses) > 0 {
		b.monitor.ScheduleRetry(refusedRetryInterval)
	}
	return nil
}

// replace brings a kernel whose state is unknown to that of u.
func (b *Backend) replace(ctx context.Context, u *localsink.Update) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.programmer.read(); err != nil {
		return err
	}
	b.desired = newDesiredState(newCompiler(&b.cfg, newMarks(b.cfg.ServiceMarks), u.Node, b.programmer.nodeAddrs))
	for svc := range u.All.All() {
		b.desired.update(svc.Name, svc)
	}
	b.verified = nil
	return b.programmer.replace(ctx, b.desired, u.Node)
}

// update brings the kernel to the state of u by its delta.
func (b *Backend) update(ctx context.Context, u *localsink.Update) error {
	for _, svc := range u.Removed {
		b.desired.update(svc.Name, nil)
	}
	for _, svc := range u.Changed {
		b.desired.update(svc.Name, svc)
	}
	return b.programmer.update(ctx, b.desired)
}

// nodeDiffers reports whether a and b differ in what the backend programs.
func nodeDiffers(a, b *localsink.Node) bool {
	programmed := func(n *localsink.Node) *localsink.Node {
		return &localsink.Node{
			LocalPods: n.LocalPods, NodePortAddresses: n.NodePortAddresses, ServiceNetworks: n.ServiceNetworks, NoMasquerade: n.NoMasquerade,
		}
	}
	return !programmed(a).Equal(programmed(b))
}

// noteFailures notes and logs the Services that are not programmed. The mutex must be held.
func (b *Backend) noteFailures() {
	failures := b.programmer.errRefused(b.desired)
	maps.Copy(failures, b.desired.invalid)
	for name, err := range failures {
		if known := b.notProgrammed[name]; known == nil || known.Error() != err.Error() {
			b.cfg.Logger.Error("Service not programmed", "service", name, "err", err)
		}
	}
	b.notProgrammed = failures
}

// Repairs returns how often a Sync has repaired what other programs have changed, or may have. It may
// be called at any time, and does not wait for Sync. See conntrack.Config.Repairs.
func (b *Backend) Repairs() uint64 { return b.monitor.Repairs() }

// NotProgrammed returns the Services that are not, or not fully, programmed; see
// [localsink.FailureReporter].
func (b *Backend) NotProgrammed() map[localsink.ServiceName]error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.notProgrammed)
}

// supported are the features that the backend has. IPVS selects consistently, but by another
// algorithm than that of package localsink/consistent; and an address of the dummy interface
// cannot be left to others for some packets.
const supported = localsink.FeatureIPv4 | localsink.FeatureIPv6 | localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureSCTP |
	localsink.FeatureAffinity | localsink.FeatureSourceRanges |
	localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP | localsink.FeatureLoadBalancer |
	localsink.FeatureWeights | localsink.FeatureSelectionLeastConnections | localsink.FeatureNoMasquerade

// Unsupported returns the features that the backend or this kernel does not have.
func (b *Backend) Unsupported() localsink.Features { return b.unsupported | ^supported }

// ResyncRequested returns a channel that receives after another program has changed what the
// backend programmed, or when the backend has to look again; see [localsink.ResyncRequester].
func (b *Backend) ResyncRequested() <-chan struct{} { return b.monitor.Requests() }

// DriftedSince returns when the backend detected the oldest change by another program that it has
// not undone; see [localsink.DriftReporter].
func (b *Backend) DriftedSince() time.Time { return b.monitor.DriftedSince() }

// Close stops the backend and frees its resources. What it programmed stays in effect; [Cleanup]
// removes it. Further calls have no effect.
func (b *Backend) Close() error {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	b.mu.Unlock()
	if closed {
		return nil
	}
	b.monitor.Close()
	return b.release()
}

// verifiedServers is the number of virtual servers whose destinations one check of drift compares.
const verifiedServers = 50

// checkDrift reports whether other programs have changed what the backend programmed.
func (b *Backend) checkDrift(ctx context.Context) (bool, error) {
	if !b.mu.TryLock() {
		return false, nil // Sync is working
	}
	defer b.mu.Unlock()
	if b.desired == nil || b.closed {
		return false, nil
	}
	for _, check := range []func(context.Context) (bool, error){b.addressesDrifted, b.setsDrifted, b.serversDrifted} {
		if drifted, err := check(ctx); drifted || err != nil {
			b.verified = nil
			return drifted, err
		}
	}
	return false, nil
}

// addressesDrifted compares the addresses of the dummy interface. If those of the node have
// changed, it requests a resync.
func (b *Backend) addressesDrifted(context.Context) (bool, error) {
	if !b.kernel.AddressesChanged() {
		return false, nil
	}
	device, node, err := b.kernel.Addresses()
	if err != nil {
		return false, err
	}
	if !slices.Equal(node, b.programmer.nodeAddrs) {
		b.monitor.ReportMissed()
		return false, nil
	}
	return len(device) != len(b.programmer.addresses) ||
		slices.ContainsFunc(device, func(a netip.Addr) bool { return !b.programmer.addresses[a] }), nil
}

// setsDrifted compares the sizes of the sets, and whether the rules still use them.
func (b *Backend) setsDrifted(context.Context) (bool, error) {
	sizes, err := b.kernel.SetSizes()
	if err != nil {
		return false, err
	}
	for _, set := range setNames() {
		if sizes[set] != (setSize{b.desired.sizes[set], b.programmer.references[set]}) {
			return true, nil
		}
	}
	return false, nil
}

// serversDrifted compares the virtual servers, and the destinations of some, in turns.
func (b *Backend) serversDrifted(ctx context.Context) (bool, error) {
	all, err := b.kernel.Servers()
	if err != nil {
		return false, err
	}
	found := 0
	for key, options := range all {
		s := b.programmer.servers[key]
		if s != nil && s.sameInKernel(options) {
			found++
		} else if b.programmer.owns(key) {
			return true, nil
		}
	}
	if found != len(b.programmer.servers) {
		return true, nil
	}
	if len(b.verified) == 0 {
		b.verified = slices.Collect(maps.Keys(b.programmer.servers))
	}
	for range min(verifiedServers, len(b.verified)) {
		key := b.verified[0]
		b.verified = b.verified[1:]
		if s := b.programmer.servers[key]; s != nil && ctx.Err() == nil {
			list, err := b.kernel.Destinations(key)
			if err != nil {
				return false, err
			}
			if !s.hasExactly(list) {
				return true, nil
			}
		}
	}
	return false, nil
}

// sameInKernel reports whether o, as the kernel returns it, are these options. The kernel's library
// does not return the timeout of the affinity.
func (o serverOptions) sameInKernel(k serverOptions) bool {
	if k.affinity == unknownAffinity && o.affinity > 0 {
		k.affinity = o.affinity
	}
	return o == k
}

// hasExactly reports whether list are the destinations of the server.
func (s *programmedServer) hasExactly(list []destinationState) bool {
	return len(list) == len(s.destinations) && !slices.ContainsFunc(list, func(d destinationState) bool {
		weight, found := s.destinations[d.addr]
		return !found || weight != d.weight
	})
}
