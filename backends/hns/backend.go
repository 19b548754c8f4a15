// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/kpng/backends/internal/drift"
	"sigs.k8s.io/kpng/localsink"
)

// A Backend programs the Services of one node into HNS. Its methods are safe for concurrent use,
// except that calls of Sync must not overlap.
type Backend struct {
	cfg         Config
	features    Features
	monitor     *drift.Monitor
	unsupported localsink.Features

	mu            sync.Mutex // guards the following fields
	closed        bool
	programmer    *programmer
	desired       *desiredState // nil if the state of HNS is unknown
	node          *localsink.Node
	syncs         uint64 // calls of Sync that began
	notProgrammed map[localsink.ServiceName]error
}

var (
	_ localsink.Sink            = (*Backend)(nil)
	_ localsink.ResyncRequester = (*Backend)(nil)
	_ localsink.FeatureReporter = (*Backend)(nil)
	_ localsink.FailureReporter = (*Backend)(nil)
	_ localsink.DriftReporter   = (*Backend)(nil)
)

// retryInterval is the delay after which failed operations are repeated, HNS is listed because of
// them, and local endpoints that do not exist yet are looked up again.
const retryInterval = 5 * time.Second

var errClosed = errors.New("hns: the backend is closed")

// New returns a backend. It asks cfg.HNS for the features of Windows; the first Sync changes what
// is programmed.
func New(ctx context.Context, cfg Config) (*Backend, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	features, err := cfg.HNS.Features(ctx)
	if err != nil {
		return nil, fmt.Errorf("hns: query features: %w", err)
	}
	if cfg.EnableDSR && !features.DSR {
		return nil, errors.New("hns: Config.EnableDSR: this version of Windows has no direct server return")
	}
	b := &Backend{cfg: cfg, features: features, unsupported: ^supported}
	if !features.IPv6DualStack {
		b.unsupported |= localsink.FeatureIPv6
	}
	if !features.SessionAffinity {
		b.unsupported |= localsink.FeatureAffinity
	}
	b.programmer = newProgrammer(&b.cfg, features.ModifyLoadBalancer)
	b.monitor = drift.NewMonitor(drift.Poll(cfg.PollInterval, cfg.Logger, b.checkDrift), cfg.Logger) //nolint:contextcheck // until Close
	return b, nil
}

// supported are the features that the backend has on all versions of Windows that have them.
const supported = localsink.FeatureIPv4 | localsink.FeatureIPv6 | localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureAffinity |
	localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP | localsink.FeatureLoadBalancer

// Unsupported returns the features that HNS or this version of Windows does not have.
func (b *Backend) Unsupported() localsink.Features { return b.unsupported }

// Sync brings HNS to the state of u; see [localsink.Sink].
//
// The first call lists what HNS has, adopts it and changes only what differs; so does a call after
// an error, after a change by another program or of the network. Other calls write what has
// changed.
func (b *Backend) Sync(ctx context.Context, u *localsink.Update) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	b.syncs++
	repair := b.monitor.Begin()
	network, err := b.network(ctx)
	if err != nil {
		if repair.NeedsRepair {
			b.desired = nil // the next call must repair
		}
		return err
	}
	isKnown := b.desired != nil && !repair.NeedsRepair && !(u.NodeChanged && nodeDiffers(b.node, u.Node)) &&
		b.desired.compiler.network.equal(network) && !b.programmer.mustList()
	b.programmer.isRelisted = false
	if isKnown {
		b.desired.update(u.Removed, u.Changed)
		err = b.programmer.apply(ctx, b.desired)
	}
	if !isKnown || errors.Is(err, errLost) {
		err = b.replace(ctx, u, network)
	}
	if err != nil {
		b.desired = nil
		return err
	}
	b.desired.forgetChanges()
	b.node = u.Node
	b.monitor.Succeeded(repair)
	b.noteFailures()
	return nil
}

// network returns the network of pods.
func (b *Backend) network(ctx context.Context) (*podNetwork, error) {
	n, err := b.cfg.HNS.Network(ctx, b.cfg.Network)
	if err != nil {
		return nil, fmt.Errorf("hns: find network %s: %w", b.cfg.Network, err)
	}
	network := newPodNetwork(n)
	if network.overlay && !b.features.RemoteSubnet {
		return nil, fmt.Errorf("hns: network %s: this version of Windows has no overlay networks", b.cfg.Network)
	}
	if network.overlay && !b.cfg.SourceVIP.IsValid() {
		return nil, fmt.Errorf("hns: Config.SourceVIP: required, because network %s is an overlay", b.cfg.Network)
	}
	return network, nil
}

// replace brings HNS, whatever it has, to the state of u.
func (b *Backend) replace(ctx context.Context, u *localsink.Update, network *podNetwork) error {
	mac := ""
	if network.overlay {
		if len(u.Node.IPs) == 0 {
			return fmt.Errorf("hns: node %s has no address", u.Node.Name)
		}
		found, err := b.cfg.HostMAC(u.Node.IPs[0])
		if err != nil {
			return fmt.Errorf("hns: find the MAC address of node %s: %w", u.Node.Name, err)
		}
		mac = canonicalMAC(found)
	}
	if err := b.programmer.read(ctx, network, mac); err != nil {
		return err
	}
	b.desired = newDesiredState(newCompiler(&b.cfg, b.features, network, u.Node), u.All.Len())
	b.desired.update(nil, slices.Collect(u.All.All()))
	for key := range b.programmer.observed.balancers {
		b.desired.changedKeys[key] = true
	}
	for addr := range b.programmer.observed.endpoints {
		b.desired.changedAddrs[addr] = true
	}
	return b.programmer.apply(ctx, b.desired)
}

// nodeDiffers reports whether a and b differ in what the backend programs.
func nodeDiffers(a, b *localsink.Node) bool {
	return !slices.Equal(a.IPs, b.IPs) || !slices.Equal(a.NodePortAddresses, b.NodePortAddresses)
}

// noteFailures notes and logs the Services that are not fully programmed. The mutex must be held.
func (b *Backend) noteFailures() {
	p := b.programmer
	failures := p.failures(b.desired)
	for name, err := range b.desired.invalid {
		failures[name] = errors.Join(err, failures[name])
	}
	for name, err := range failures {
		if known := b.notProgrammed[name]; known == nil || known.Error() != err.Error() {
			b.cfg.Logger.Warn("Service not fully programmed", "service", name, "err", err)
		}
	}
	b.notProgrammed = failures
	if p.isUncertain || len(p.refusedKeys)+len(p.refusedAddrs)+len(p.incomplete)+len(p.observed.stale) > 0 {
		b.monitor.ScheduleRetry(retryInterval)
	}
}

// NotProgrammed returns the Services that are not, or not fully, programmed; see
// [localsink.FailureReporter].
func (b *Backend) NotProgrammed() map[localsink.ServiceName]error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.notProgrammed)
}

// ResyncRequested returns a channel that receives after another program has changed what the
// backend programmed, or when the backend has to try again; see [localsink.ResyncRequester].
func (b *Backend) ResyncRequested() <-chan struct{} { return b.monitor.Requests() }

// DriftedSince returns when the backend detected the oldest change by another program that it has
// not undone; see [localsink.DriftReporter].
func (b *Backend) DriftedSince() time.Time { return b.monitor.DriftedSince() }

// Close stops the backend. What it programmed stays in effect; [Cleanup] removes it. Further calls
// have no effect.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.monitor.Close()
	return nil
}

// checkDrift reports whether other programs have changed what the backend programmed, or HNS has
// restarted. Listing is slow, so it does not hold the mutex; a Sync in the meantime makes the
// result worthless.
func (b *Backend) checkDrift(ctx context.Context) (bool, error) {
	known, hostMAC, syncs := b.noted()
	if known == nil {
		return false, nil
	}
	network, err := b.network(ctx)
	if err != nil {
		return false, err
	}
	isSame := known.equal(network)
	var now *observedState
	if isSame {
		if now, err = readState(ctx, &b.cfg, network, hostMAC); err != nil {
			return false, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.desired == nil || b.closed || b.syncs != syncs {
		return false, nil
	}
	if isSame {
		b.programmer.replaceEchoes(now)
	}
	return !isSame || b.programmer.observed.differs(now, b.desired), nil
}

// noted returns the network and the MAC address of the node, and the number of calls of Sync. The
// network is nil if the state of HNS is unknown, or a Sync is working.
func (b *Backend) noted() (network *podNetwork, hostMAC string, syncs uint64) {
	if !b.mu.TryLock() {
		return nil, "", 0
	}
	defer b.mu.Unlock()
	if b.desired == nil || b.closed {
		return nil, "", 0
	}
	return b.programmer.observed.network, b.programmer.observed.hostMAC, b.syncs
}
