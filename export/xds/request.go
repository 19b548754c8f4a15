// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"hash/maphash"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// wildcardName in a list of names subscribes to all resources of a kind.
const wildcardName = "*"

// completeRequest processes a request of the SotW protocol, which lists all names that
// the client subscribes to.
func (s *Sink) completeRequest(ctx context.Context, st *stream, req *discoveryv3.DiscoveryRequest) error {
	k, known := kindOf(req.GetTypeUrl())
	if !known {
		return nil // a client waits for types that a server does not have
	}
	names := req.GetResourceNames()
	if err := validNames(k, names); err != nil {
		return err
	}
	hash := s.hashOf(names)
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.ended {
		return nil
	}
	st.identify(req.GetNode())
	sub := &st.subscriptions[k]
	if req.GetResponseNonce() != "" && req.GetResponseNonce() != sub.nonce {
		return nil // it was sent before the last response arrived
	}
	s.answered(ctx, st, k, req.GetResponseNonce(), req.GetErrorDetail())
	if sub.active && hash == sub.requested {
		return nil
	}
	if len(names) > s.table.served+maxUnknown {
		return status.Errorf(codes.ResourceExhausted, "%d names of %s: the limit is %d", len(names), k, s.table.served+maxUnknown)
	}
	first := !sub.active
	sub.active, sub.requested = true, hash
	wildcard := len(names) == 0 && !sub.explicit && k.complete()
	sub.explicit = sub.explicit || len(names) > 0
	var listed bitset
	for _, name := range names {
		if name == wildcardName {
			wildcard = true
			continue
		}
		id, added := s.subscribe(sub, name)
		listed.add(id)
		if added {
			s.mark(sub, id)
		}
	}
	s.setWildcard(sub, wildcard)
	for id := range sub.names.all() {
		if !listed.has(id) {
			s.unsubscribe(sub, id)
		}
	}
	sub.due = sub.due || first && k.complete()
	st.notify()
	return nil
}

// incrementalRequest processes a request of the incremental protocol.
func (s *Sink) incrementalRequest(ctx context.Context, st *stream, req *discoveryv3.DeltaDiscoveryRequest) error {
	k, known := kindOf(req.GetTypeUrl())
	if !known {
		return nil
	}
	if err := validNames(k, req.GetResourceNamesSubscribe()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.ended {
		return nil
	}
	st.identify(req.GetNode())
	sub := &st.subscriptions[k]
	if req.GetResponseNonce() == sub.nonce {
		s.answered(ctx, st, k, req.GetResponseNonce(), req.GetErrorDetail())
	}
	names := req.GetResourceNamesSubscribe()
	if n := sub.names.count + len(names) + len(req.GetInitialResourceVersions()); n > 2*(s.table.served+maxUnknown) {
		return status.Errorf(codes.ResourceExhausted, "%d names of %s: the limit is %d", n, k, 2*(s.table.served+maxUnknown))
	}
	var has map[string]string // versions of resources that the client has
	wildcard := sub.wildcard
	if !sub.active {
		has = req.GetInitialResourceVersions()
		wildcard = len(names) == 0 && k.complete()
		sub.active, sub.due = true, wildcard
	}
	for _, name := range names {
		if name == wildcardName {
			wildcard, sub.due = true, true
			continue
		}
		id, _ := s.subscribe(sub, name)
		s.mark(sub, id)
	}
	s.setWildcard(sub, wildcard)
	s.skip(sub, k, has)
	for _, name := range req.GetResourceNamesUnsubscribe() {
		if name == wildcardName {
			s.setWildcard(sub, false)
		} else if id, found := s.table.ids[name]; found {
			s.unsubscribe(sub, id)
		}
	}
	st.notify()
	return nil
}

// validNames returns an error for a name that no resource can have: a subscription keeps its names, so
// their size is bounded beside their number.
func validNames(k kind, names []string) error {
	for _, name := range names {
		if len(name) > maxName {
			return status.Errorf(codes.InvalidArgument, "a name of %s has %d bytes: the limit is %d", k, len(name), maxName)
		}
	}
	return nil
}

// setWildcard begins or ends a subscription to all resources.
func (s *Sink) setWildcard(sub *subscription, wildcard bool) {
	if wildcard == sub.wildcard {
		return
	}
	sub.wildcard = wildcard
	if wildcard {
		s.markAll(sub)
		return
	}
	for id := range sub.changed.all() {
		if !sub.names.has(id) {
			s.unmark(sub, id)
		}
	}
}

// skip removes those resources from the changed ones that a client has from an earlier stream, by
// version, and adds those of them that do not exist any more.
func (s *Sink) skip(sub *subscription, k kind, has map[string]string) {
	for name, version := range has {
		id, found := s.table.ids[name]
		switch {
		case found && s.table.entry(id).resources[k] != nil:
			if s.table.entry(id).resources[k].version == version {
				s.unmark(sub, id)
			}
		case sub.wildcard:
			s.mark(sub, s.table.intern(name))
		}
	}
}

// answered processes the answer to the last response: the client has accepted it, or rejected it with
// a reason.
func (s *Sink) answered(ctx context.Context, st *stream, k kind, nonce string, reason *statuspb.Status) {
	sub := &st.subscriptions[k]
	if nonce == "" || sub.sent.IsZero() {
		return
	}
	sub.sent = time.Time{}
	if reason != nil {
		s.reject(ctx, st, k, reason.GetMessage())
	} else {
		s.accept(sub)
	}
	st.notify()
}

// hashOf returns a hash of a list of names. Clients repeat the list with each answer.
func (s *Sink) hashOf(names []string) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, name := range names {
		_, _ = h.WriteString(name)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}
