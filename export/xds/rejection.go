// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

const (
	maxRejected   = 100  // rejected resources of one kind that a stream keeps
	maxReason     = 1024 // bytes of a reason
	maxAttributed = 16   // resources that one rejection is attributed to
)

// reject records that a client has rejected resources of its last response.
func (s *Sink) reject(ctx context.Context, st *stream, k kind, reason string) {
	sub := &st.subscriptions[k]
	s.stats.Rejections[k]++
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	ids := s.namedIn(sub, reason)
	if len(ids) == 0 {
		s.cfg.Logger.WarnContext(ctx, "Client rejected a response", "type", k.String(), "client", st.client, "reason", reason)
	}
	for _, id := range ids {
		e := s.table.entry(id)
		s.cfg.Logger.WarnContext(ctx, "Client rejected a resource",
			"service", e.owner.String(), "resource", e.name, "type", k.String(), "client", st.client, "reason", reason)
		if sub.rejected == nil {
			sub.rejected = map[uint32]error{}
		}
		_, repeated := sub.rejected[id]
		if !repeated && len(sub.rejected) >= maxRejected {
			continue
		}
		if !repeated {
			e.references++
		}
		sub.rejected[id] = fmt.Errorf("xds: %s %s: rejected by client %q: %s", k, e.name, st.client, reason)
	}
}

// namedIn returns the resources of the last response that a reason names. If it names none, these are
// the first ones of the response, because any of them may be the cause.
func (s *Sink) namedIn(sub *subscription, reason string) []uint32 {
	var ids []uint32
	for _, word := range strings.FieldsFunc(reason, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"'`()[]{}<>,;=", r) }) {
		id, found := s.table.ids[strings.TrimRight(word, ":.")]
		if found && len(ids) < maxAttributed && !slices.Contains(ids, id) && (sub.content == nil || slices.Contains(sub.content, id)) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return sub.content[:min(len(sub.content), maxAttributed)]
	}
	return ids
}

// accept records that a client has accepted its last response.
func (s *Sink) accept(sub *subscription) {
	for id := range sub.rejected {
		if sub.content == nil || slices.Contains(sub.content, id) {
			delete(sub.rejected, id)
			s.table.release(id, 1)
		}
	}
}
