// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"iter"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A ServiceStatus is the status of a Service at a server.
type ServiceStatus struct {
	Name localsink.ServiceName
	// Revision is that of the last change of the Service, and Published when it became current.
	Revision  uint64
	Published time.Time
	// Problems are those of the Service on all nodes. The caller must not modify them.
	Problems []localsink.Problem
}

// Services yields the status of each Service in the newest state, ordered by name; none before the
// first state. It may be called concurrently.
func (s *Server) Services() iter.Seq[ServiceStatus] {
	st := s.hub.Snapshot()
	return func(yield func(ServiceStatus) bool) {
		if st.Revision == 0 {
			return
		}
		for name, i := range st.Items.All() {
			item, ok := i.(*serviceItem)
			if ok && !yield(ServiceStatus{name, item.revision, item.published, item.service.Problems()}) {
				return
			}
		}
	}
}
