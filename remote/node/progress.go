// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A Progress is what the nodes have applied at one moment, for a program that acts on it. See
// [Server.Progress].
type Progress struct {
	// Cluster is the newest cluster state that is part of what the server sends.
	Cluster watchers.Snapshot
	// Newer is closed when the server has resolved a newer cluster state, and when a node has
	// acknowledged an update. It is not closed when a revision turns out to change nothing for a
	// node, which counts as applied: a caller that waits for that must poll too.
	Newer <-chan struct{}

	published *state
}

// Revision returns the revision of the last change of a Service; 0 if no node programs it.
func (p Progress) Revision(service localsink.ServiceName) uint64 {
	if item := serviceItemOf(p.published, service); item != nil {
		return item.revision
	}
	return 0
}

// Progress returns what the nodes have applied. ok is false before [Server.Ready]. It takes constant
// time, and costs the server nothing between two calls.
func (s *Server) Progress() (p Progress, ok bool) {
	s.progress.mu.Lock()
	if s.progress.newer == nil {
		s.progress.newer = make(chan struct{})
		s.progress.awaited.Store(true)
	}
	p.Cluster, p.Newer = s.progress.resolved, s.progress.newer
	s.progress.mu.Unlock()
	// The published state is read last: it is not older than Cluster.
	p.published = s.hub.Snapshot()
	return p, p.Cluster.Snapshot != nil
}

// AppliedRevisions returns the newest revision that each connected node has applied; 0 if it has
// applied none. Revisions of different servers have nothing in common.
func (s *Server) AppliedRevisions() map[string]uint64 {
	s.mu.Lock()
	newest := make(map[string]*nodeStream, len(s.streams))
	for name, streams := range s.streams {
		newest[name] = newestOf(streams)
	}
	s.mu.Unlock()
	applied := make(map[string]uint64, len(newest))
	for name, stream := range newest {
		applied[name] = stream.status().Applied
	}
	return applied
}

// newestOf returns the stream of a node that was opened last.
func newestOf(streams map[*nodeStream]struct{}) (newest *nodeStream) {
	for n := range streams {
		if newest == nil || n.connected.After(newest.connected) {
			newest = n
		}
	}
	return newest
}

// setResolved records the cluster state that all published states include.
func (s *Server) setResolved(cluster watchers.Snapshot) {
	s.progress.mu.Lock()
	changed := s.progress.resolved.Snapshot != cluster.Snapshot
	s.progress.resolved = cluster
	s.progress.mu.Unlock()
	if changed {
		s.wakeProgress()
	}
}

// wakeProgress closes the channel of the last Progress.
func (s *Server) wakeProgress() {
	if !s.progress.awaited.Load() {
		return
	}
	s.progress.mu.Lock()
	defer s.progress.mu.Unlock()
	if s.progress.newer != nil {
		close(s.progress.newer)
		s.progress.newer = nil
		s.progress.awaited.Store(false)
	}
}
