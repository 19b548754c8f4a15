// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"strings"
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

// A class is the class of a stream: how its client treats objects that are not Services, and the
// zone of its node.
const (
	classOrigins  = "+" // the client has CAPABILITY_ORIGINS
	classServices = "-" // the client receives only Services
)

// classOf returns the class of a stream.
func classOf(zone string, origins bool) string {
	if origins {
		return classOrigins + zone
	}
	return classServices + zone
}

// EncodingFor implements fanout.Item. class is a result of classOf.
func (i *serviceItem) EncodingFor(class string) *fanout.Encoding {
	zone, origins := strings.CutPrefix(class, classOrigins)
	if !origins {
		if i.service.Name().Origin != "" {
			return nil
		}
		zone = strings.TrimPrefix(class, classServices)
	}
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
