// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"sync"
	"time"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/internal/fanout"
)

// A serviceItem is one version of a Service in the hub, with its encodings.
type serviceItem struct {
	service   *nodelocal.ResolvedService
	sequence  uint64    // unique per server
	revision  uint64    // of the first state that contains this version
	published time.Time // of that revision

	mu        sync.Mutex
	encodings []*fanout.Encoding // one per distinct shared base
}

// Version implements fanout.Item.
func (i *serviceItem) Version() uint64 { return i.sequence }

// EncodingFor implements fanout.Item. The class of a stream is the zone of its node.
func (i *serviceItem) EncodingFor(zone string) *fanout.Encoding {
	base := i.service.Base(zone)
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range i.encodings {
		if e.Value == any(base) {
			return e
		}
	}
	e := encodeService(base)
	i.encodings = append(i.encodings, e)
	return e
}
