// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/watchers"
)

// podRecheck is the time after which a queued pod is read again. A pod that replaces one of the same
// name and address may otherwise pass for it.
const podRecheck = 5 * time.Minute

// A podID identifies a pod and one of its addresses.
type podID struct {
	namespace, name string
	addr            netip.Addr
}

// pods are the pods that are not serving.
type pods struct {
	all     map[podID]*pod
	bySlice map[watchers.Key][]podID
	waiting int // number of pods in the state waiting
}

type pod struct {
	slices int // number of EndpointSlices that list the pod
	// required is the newest revision of its Services when they first listed the pod. Later
	// changes of a Service do not delay the pod.
	required uint64
	queuedAt time.Time // zero in the state waiting
}

// set replaces the pods of an EndpointSlice, which is nil if it was deleted. revision is that of its
// Service.
func (p *pods) set(key watchers.Key, slice *watchers.EndpointSlice, revision uint64) {
	if p.all == nil {
		p.all, p.bySlice = map[podID]*pod{}, map[watchers.Key][]podID{}
	}
	old := p.bySlice[key]
	delete(p.bySlice, key)
	if ids := notServing(slice); len(ids) > 0 {
		p.bySlice[key] = ids
		listed := make(map[podID]struct{}, len(old))
		for _, id := range old {
			listed[id] = struct{}{}
		}
		for _, id := range ids {
			_, before := listed[id]
			p.add(id, revision, before)
		}
	}
	for _, id := range old {
		p.release(id)
	}
}

// add counts one more slice that lists a pod. before reports whether the slice did before its change.
func (p *pods) add(id podID, revision uint64, before bool) {
	entry := p.all[id]
	if entry == nil {
		entry = &pod{required: 1} // of the first state of nodes, for pods whose Services no node programs
		p.all[id] = entry
		p.waiting++
	}
	entry.slices++
	if !before {
		entry.required = max(entry.required, revision)
	}
}

// release counts one slice less that lists a pod.
func (p *pods) release(id podID) {
	entry := p.all[id]
	if entry.slices--; entry.slices > 0 {
		return
	}
	if entry.queuedAt.IsZero() {
		p.waiting--
	}
	delete(p.all, id)
}

// notServing returns the pods of a slice that are neither serving nor terminating.
func notServing(slice *watchers.EndpointSlice) (ids []podID) {
	if slice == nil || slice.Service.Origin != "" { // pods of other sources are not in this cluster
		return nil
	}
	for i := range slice.Details {
		e, target := &slice.Endpoints[i], slice.Details[i].Target
		if !e.Serving && !e.Terminating && target.Kind == "Pod" && target.Name != "" {
			ids = append(ids, podID{slice.Namespace, target.Name, e.Addr})
		}
	}
	return ids
}

// due moves the pods that wait for no revision after reached to queued, and returns them.
func (p *pods) due(reached uint64, now time.Time) (ids []podID) {
	for id, entry := range p.all {
		if entry.queuedAt.IsZero() && entry.required <= reached {
			entry.queuedAt = now
			p.waiting--
			ids = append(ids, id)
		}
	}
	return ids
}

// expire moves pods that have been queued for podRecheck back to waiting.
func (p *pods) expire(now time.Time) {
	for _, entry := range p.all {
		if !entry.queuedAt.IsZero() && now.Sub(entry.queuedAt) >= podRecheck {
			entry.queuedAt = time.Time{}
			p.waiting++
		}
	}
}
