// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"testing"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// BenchmarkMirror is what one change costs beside the kernel's work: no more when there
// are many others, be it with sets of their own.
func BenchmarkMirror(b *testing.B) {
	for _, affinity := range []bool{false, true} {
		for _, n := range []int{10, 1000, 10000} {
			b.Run(fmt.Sprintf("affinity=%v/%d", affinity, n), func(b *testing.B) {
				all := cluster(n, 10)
				out := &transaction{family: ipv4(), table: "t"}
				m := newMirror(ipv4(), viewOf(ipv4(), nil), 1, out)
				for _, s := range all.state {
					if affinity {
						s.Ports[0].Affinity = time.Hour
					}
					m.load(s)
				}
				m.carries = m.carries[:0]
				m.finish()
				out.reset()
				forms := [2]*localsink.Service{}
				for i := range forms {
					s := *all.state[5]
					s.Ports = []localsink.Port{s.Ports[0]}
					s.Ports[0].Pools = []localsink.Pool{{Endpoints: manyEndpoints(900000+10*i, 10)}}
					forms[i] = &s
				}
				i := 0
				for b.Loop() {
					i++
					m.change([]change{{name: forms[0].Name, want: forms[i%2]}}, nil)
					m.carries = m.carries[:0]
					if !m.finish() {
						b.Fatal("it does not fit")
					}
					m.trim()
					if m.total == 0 {
						b.Fatal("there is nothing")
					}
					out.reset()
				}
			})
		}
	}
}
