// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"testing"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// BenchmarkTableState measures the cost of one change without the kernel. It should not depend
// on the number of Services.
func BenchmarkTableState(b *testing.B) {
	for _, affinity := range []bool{false, true} {
		for _, n := range []int{10, 1000, 10000} {
			b.Run(fmt.Sprintf("affinity=%v/%d", affinity, n), func(b *testing.B) {
				all := manyServices(n, 10)
				out := &transaction{family: ipv4(), table: "t"}
				st := newTableState(ipv4(), newNodeMatches(ipv4(), nil), Config{MasqueradeMark: 1}, out)
				for _, s := range all.serviceList {
					if affinity {
						s.Ports[0].Affinity = time.Hour
					}
					st.load(s)
				}
				st.change.entryCopies = st.change.entryCopies[:0]
				st.sizeSets()
				out.reset()
				versions := [2]*localsink.Service{}
				for i := range versions {
					s := *all.serviceList[5]
					s.Ports = []localsink.Port{s.Ports[0]}
					s.Ports[0].Pools = []localsink.Pool{{Endpoints: manyEndpoints(900000+10*i, 10)}}
					versions[i] = &s
				}
				i := 0
				for b.Loop() {
					i++
					st.apply([]serviceChange{{name: versions[0].Name, desired: versions[i%2]}}, nil)
					st.change.entryCopies = st.change.entryCopies[:0]
					if !st.sizeSets() {
						b.Fatal("a set is full")
					}
					st.cleanUp()
					if st.elementCount == 0 {
						b.Fatal("the table is empty")
					}
					out.reset()
				}
			})
		}
	}
}
