// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"strconv"
	"time"
)

// A subscription is what a stream has asked for, and what it has not sent yet, of one kind. It holds
// identifiers and no resources. The mutex of the sink guards it.
type subscription struct {
	active   bool // the client has sent a request
	wildcard bool
	explicit bool // the client has named resources, so an empty list is no wildcard
	names    bitset
	// changed has the resources that differ from what the client has, or that it may lack.
	changed bitset
	due     bool // the next response is sent even if it is empty

	requested uint64 // hash of the names of the last request of the SotW protocol

	// The last response.
	nonce   string
	sent    time.Time // zero if it is acknowledged or rejected
	content []uint32  // what it holds; nil if it is everything

	rejected map[uint32]error // the last rejection of each resource that the client has not accepted since
}

// covers reports whether the client has subscribed to a resource.
func (sub *subscription) covers(id uint32) bool {
	return sub.active && (sub.wildcard || sub.names.has(id))
}

// Limits of what a client may cost.
const (
	maxChunk   = 128 << 10 // bytes of a response that may be a part, exceeded by at most one resource
	maxUnknown = 10_000    // names in a subscription beside those that exist
	maxListed  = 1000      // names of resources that do not exist in a response
	maxName    = 1 << 10   // bytes of a name; names of Services have at most 600
)

// next returns the next response of a stream, or nil if there is none for now. The response before it
// of the same kind is acknowledged or rejected first, so changes in the meantime are combined.
func (s *Sink) next(st *stream) *message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isReady() {
		return nil
	}
	for k := range kinds {
		sub := &st.subscriptions[k]
		if !sub.active || !sub.sent.IsZero() || sub.changed.count == 0 && !sub.due {
			continue
		}
		build := s.completeResponse
		if st.incremental {
			build = s.incrementalResponse
		}
		if m := build(st, k); m != nil {
			sub.due, sub.sent = false, time.Now()
			s.stats.Responses[k]++
			return m
		}
	}
	return nil
}

// completeResponse returns a response of the SotW protocol, or nil if the resources that
// have changed do not exist.
func (s *Sink) completeResponse(st *stream, k kind) *message {
	sub := &st.subscriptions[k]
	var shared, own []byte
	s.setContent(sub, nil)
	switch {
	case k.complete() && sub.wildcard:
		shared = s.table.all(k)
		s.clearChanged(sub)
	case k.complete():
		s.clearChanged(sub)
		content := make([]uint32, 0, sub.names.count)
		for id := range sub.names.all() {
			if r := s.table.entry(id).resources[k]; r != nil {
				own = append(own, r.complete()...)
				content = append(content, id)
			}
		}
		s.setContent(sub, content)
	default:
		content := []uint32{}
		for id := range sub.changed.all() {
			if r := s.table.entry(id).resources[k]; r != nil {
				if len(own)+len(r.complete()) > maxChunk && len(own) > 0 {
					break
				}
				own = append(own, r.complete()...)
				content = append(content, id)
			}
			s.unmark(sub, id)
		}
		if len(content) == 0 && !sub.due {
			return nil
		}
		s.setContent(sub, content)
	}
	sub.nonce = st.newNonce()
	own = appendText(own, fieldVersionInfo, strconv.FormatUint(s.table.revision, 10))
	own = appendText(own, fieldTypeURL, k.url())
	own = appendText(own, fieldNonce, sub.nonce)
	return newMessage(shared, own)
}

// incrementalResponse returns a response of the incremental protocol.
func (s *Sink) incrementalResponse(st *stream, k kind) *message {
	sub := &st.subscriptions[k]
	var own []byte
	content, removed := []uint32{}, 0
	for id := range sub.changed.all() {
		e := s.table.entry(id)
		if r := e.resources[k]; r != nil {
			if len(own)+len(r.delta) > maxChunk && len(own) > 0 {
				break
			}
			own = append(own, r.delta...)
			content = append(content, id)
		} else {
			if removed == maxListed {
				break
			}
			own = appendText(own, fieldRemovedResources, e.name)
			removed++
		}
		s.unmark(sub, id)
	}
	s.setContent(sub, content)
	sub.nonce = st.newNonce()
	own = appendText(own, fieldSystemVersion, strconv.FormatUint(s.table.revision, 10))
	own = appendText(own, fieldTypeURL, k.url())
	own = appendText(own, fieldNonce, sub.nonce)
	return newMessage(nil, own)
}

// setContent replaces the list of resources in the last response.
func (s *Sink) setContent(sub *subscription, content []uint32) {
	for _, id := range content {
		s.table.entry(id).references++
	}
	for _, id := range sub.content {
		s.table.release(id, 1)
	}
	sub.content = content
}

// clearChanged empties the set of changed resources.
func (s *Sink) clearChanged(sub *subscription) {
	for id := range sub.changed.all() {
		s.unmark(sub, id)
	}
}

// subscribe adds a name and reports whether it was absent.
func (s *Sink) subscribe(sub *subscription, name string) (id uint32, added bool) {
	id = s.table.intern(name)
	if !sub.names.add(id) {
		return id, false
	}
	s.table.entry(id).references++
	return id, true
}

// unsubscribe removes a name.
func (s *Sink) unsubscribe(sub *subscription, id uint32) {
	if !sub.names.remove(id) {
		return
	}
	if !sub.wildcard {
		s.unmark(sub, id)
	}
	s.table.release(id, 1)
}

// markAll adds all resources to those that a stream must send.
func (s *Sink) markAll(sub *subscription) {
	for id := range s.table.entries {
		if s.table.entries[id].resources[0] != nil {
			s.mark(sub, uint32(id))
		}
	}
}

// end removes all that a stream refers to.
func (s *Sink) end(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	st.ended = true
	for k := range kinds {
		sub := &st.subscriptions[k]
		s.clearChanged(sub)
		s.setContent(sub, nil)
		for id := range sub.names.all() {
			sub.names.remove(id)
			s.table.release(id, 1)
		}
		for id := range sub.rejected {
			s.table.release(id, 1)
		}
		*sub = subscription{}
	}
}
