// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// BenchmarkOneChange changes the number of local endpoints of one Service among n Services
// with health checks.
func BenchmarkOneChange(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newServices(b)
			defer func() { require.NoError(b, s.Close()) }()
			node := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/31")}}
			var services []*localsink.Service
			for i := range n {
				services = append(services, newService(fmt.Sprint(i), uint16(20000+i), 0))
			}
			state := sinktest.NewState(services...)
			require.NoError(b, s.Sync(b.Context(), sinktest.NewUpdate(node, nil, state)))
			local := 0
			for b.Loop() {
				local++
				u := &localsink.Update{Node: node, All: state, Changed: []*localsink.Service{newService("0", 20000, local)}}
				require.NoError(b, s.Sync(b.Context(), u))
			}
		})
	}
}
