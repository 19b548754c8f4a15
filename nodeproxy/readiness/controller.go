// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"slices"
	"time"

	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

const (
	// interval is the minimum time between two looks at the progress of nodes: a revision has an
	// acknowledgement of each node.
	interval = 100 * time.Millisecond
	// recheck is the time between two looks while pods or nodes wait, for what the server does not
	// announce, such as a node that has disconnected.
	recheck = time.Second
)

// A Controller removes startup taints and sets conditions of pods.
type Controller struct {
	cfg  Config
	work work

	// Owned by Run.
	cluster watchers.Snapshot // whose changes nodes and pods have
	nodes   *nodes
	pods    pods
}

// New returns a Controller. An error names the invalid field of cfg.
func New(cfg Config) (*Controller, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Quantile = cmp.Or(cfg.Quantile, defaultQuantile)
	return &Controller{cfg: cfg}, nil
}

// Run follows the server until ctx is done; then it returns nil. It may be called again. Calls must
// not overlap.
func (c *Controller) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.cfg.Server.Ready():
	}
	c.cluster, c.nodes, c.pods = watchers.Snapshot{}, &nodes{}, pods{}
	c.work.start(ctx, c.process)
	defer c.work.stop()
	for {
		progress, _ := c.cfg.Server.Progress() // complete, since the server is ready
		c.follow(progress)
		c.decide(time.Now())
		if !c.wait(ctx, progress.Newer) {
			return nil
		}
	}
}

// wait returns true when the progress of nodes may differ, and false when ctx is done.
func (c *Controller) wait(ctx context.Context, newer <-chan struct{}) bool {
	period := podRecheck
	if len(c.nodes.waiting)+c.pods.waiting > 0 {
		period = recheck
	}
	timer := time.NewTimer(period)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-newer:
	case <-timer.C:
		return true
	}
	pause := time.NewTimer(interval)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-pause.C:
		return true
	}
}

// follow adds the changes of the cluster state to nodes and pods.
func (c *Controller) follow(p node.Progress) {
	add := func(key watchers.Key, object watchers.Object) {
		switch key.Kind {
		case watchers.KindNode:
			if c.cfg.StartupTaint != "" {
				c.nodes.set(key.Name, object != nil, time.Now())
			}
		case watchers.KindEndpointSlice:
			if c.cfg.PodCondition != "" {
				slice, _ := object.(*watchers.EndpointSlice)
				c.pods.set(key, slice, p.Revision(key.Service()))
			}
		case watchers.KindService, watchers.KindServiceCIDR, watchers.KindSynced:
		}
	}
	if c.cluster.Snapshot == nil {
		for key, object := range p.Cluster.All() {
			add(key, object)
		}
	} else {
		for change := range p.Cluster.Diff(c.cluster.Snapshot) {
			add(change.Key, change.Value)
		}
	}
	c.cluster = p.Cluster
}

// decide queues the nodes and pods that are due. It costs nothing unless some wait.
func (c *Controller) decide(now time.Time) {
	c.pods.expire(now)
	c.nodes.expire(now)
	if len(c.nodes.waiting)+c.pods.waiting == 0 {
		return
	}
	applied := c.cfg.Server.AppliedRevisions()
	for _, t := range c.nodes.due(applied, now) {
		c.work.add(t)
	}
	if c.pods.waiting == 0 {
		return
	}
	if reached, ok := quantile(c.considered(applied), c.cfg.Quantile); ok {
		for _, pod := range c.pods.due(reached, now) {
			c.work.add(task{pod: pod})
		}
	}
}

// considered returns the revision of each node that is considered for pods.
func (c *Controller) considered(applied map[string]uint64) (revisions []uint64) {
	for n := range c.cluster.Nodes() {
		revision, connected := applied[n.Name]
		if !n.Deleting && (connected || c.cfg.Nodes == NodesExisting) {
			revisions = append(revisions, revision)
		}
	}
	return revisions
}

// quantile returns the newest revision that a share of the nodes has applied. ok is false without
// nodes.
func quantile(revisions []uint64, share float64) (reached uint64, ok bool) {
	if len(revisions) == 0 {
		return 0, false
	}
	slices.SortFunc(revisions, func(a, b uint64) int { return cmp.Compare(b, a) })
	// A product just above a whole number, such as 0.07*100, is that number.
	needed := int(math.Ceil(share*float64(len(revisions)) - 1e-9))
	return revisions[max(needed, 1)-1], true
}
