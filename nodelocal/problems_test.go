// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// TestProblemsAreReportedOnce: the problems of an object are reported by the Service that it
// belongs to, or logged when there is none.
func TestProblemsAreReportedOnce(t *testing.T) {
	var log strings.Builder
	logged := func() (out []string) {
		for line := range strings.Lines(log.String()) {
			_, object, _ := strings.Cut(strings.TrimSpace(line), "object=")
			out = append(out, object)
		}
		log.Reset()
		return out
	}
	problems := func(object string) []watchers.Problem {
		return []watchers.Problem{{Object: object, Field: "f", Message: "m"}}
	}
	orphan := func() *watchers.EndpointSlice {
		s := slice(t, "orphan", "10.0.0.1 R")
		s.Problems = problems("EndpointSlice ns/orphan")
		return s
	}
	n := newNode(t, nodelocal.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, orphan(),
		&watchers.Node{Name: "node-1", Problems: problems("Node node-1")},
		&watchers.Node{Name: "node-2", Problems: problems("Node node-2")},
		&watchers.ServiceCIDR{Name: "c", Problems: problems("ServiceCIDR c")})
	require.ElementsMatch(t, []string{
		`"Node node-1" field=f reason=m`, `"EndpointSlice ns/orphan" field=f reason=m`, `"ServiceCIDR c" field=f reason=m`,
	}, logged())

	n.set(orphan())
	n.update()
	require.Empty(t, logged(), "problems are logged once")

	n.set(service())
	n.update()
	require.Equal(t, problems("EndpointSlice ns/orphan"), n.get(name()).Problems, "the Service reports the problems of its EndpointSlices")
	changed := orphan()
	changed.Endpoints = nil
	n.set(changed)
	n.update()
	require.Empty(t, logged(), "the Service reports the problems of its EndpointSlices")

	newNode(t, nodelocal.Config{}, orphan()) // without a Logger, which is valid
}

// TestProblemsAreBounded: a Service has at most 100 problems. The message of the last one has the
// number of the others.
func TestProblemsAreBounded(t *testing.T) {
	for _, addresses := range []int{100, 101, 1000} {
		shared := make([]netip.Addr, addresses)
		for i := range shared {
			shared[i] = netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		}
		owner := service(func(s *watchers.Service) { s.ExternalIPs = shared })
		other := service(func(s *watchers.Service) {
			s.Name.Name, s.ClusterIP, s.Created, s.ExternalIPs = "other", addrs("10.96.0.2")[0], at(1), shared
		})
		n := newNode(t, nodelocal.Config{}, owner, other)
		require.Empty(t, n.get(owner.Name).Problems)
		got := n.get(other.Name).Problems
		require.Len(t, got, 100)
		last := "Service ns/other: spec.externalIPs: ExternalIP 192.0.0.99:80 TCP belongs to Service ns/w; ignored"
		last = strings.Replace(last, "ns/w", "ns/"+owner.Name.Name, 1)
		if addresses > 100 {
			last += fmt.Sprintf("; %d further problems of the Service and its slices", addresses-100)
		}
		require.Equal(t, last, got[99].String())
	}
}
