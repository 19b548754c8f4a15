// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sigs.k8s.io/kpng/backends/ebpf"
	"sigs.k8s.io/kpng/nodeproxy/status"
)

// An ebpfChain is the chain of the mode ebpf. Its details are those of the sockets.
type ebpfChain struct {
	countedChain

	sockets *ebpf.Backend
}

var _ status.Detailer = ebpfChain{}

// mapState is the JSON of the usage of a map.
type mapState struct {
	Name string `json:"name"`
	Used uint64 `json:"used"`
	Size uint64 `json:"size"`
	// Fixed reports whether the map forgets the oldest entries instead of growing.
	Fixed bool `json:"fixed,omitempty"`
}

// rewriteState is the JSON of a rewrite.
type rewriteState struct {
	Time      time.Time      `json:"time"`
	Service   string         `json:"service,omitempty"`
	Protocol  string         `json:"protocol"`
	Frontend  netip.AddrPort `json:"frontend"`
	Endpoint  netip.AddrPort `json:"endpoint"`
	Namespace uint64         `json:"namespace"`
}

// StateDetails implements status.Detailer.
func (c ebpfChain) StateDetails(context.Context) []status.Detail {
	maps := status.Detail{Name: "maps"}
	usage, err := c.sockets.MapUsage()
	if err != nil {
		maps.Value, maps.Lines = map[string]string{"error": err.Error()}, []string{"error: " + err.Error()}
	} else {
		states := make([]mapState, 0, len(usage))
		for _, u := range usage {
			states = append(states, mapState(u))
			maps.Lines = append(maps.Lines, fmt.Sprintf("%s: %d of %d", u.Name, u.Used, u.Size))
		}
		maps.Value = states
	}
	rewrites := c.sockets.RecentRewrites()
	if rewrites == nil {
		return []status.Detail{maps}
	}
	tail := status.Detail{Name: "recent rewrites"}
	states := make([]rewriteState, 0, len(rewrites))
	for _, r := range rewrites {
		s := rewriteState{Time: r.Time, Protocol: r.Protocol.String(), Frontend: r.Frontend, Endpoint: r.Endpoint, Namespace: r.Namespace}
		if r.Service.Name != "" {
			s.Service = r.Service.String()
		}
		states = append(states, s)
		tail.Lines = append(tail.Lines, strings.Join(strings.Fields(fmt.Sprintf("%s %v/%s -> %v from network namespace %d %s",
			s.Time.UTC().Format(time.RFC3339Nano), s.Frontend, s.Protocol, s.Endpoint, s.Namespace, s.Service)), " "))
	}
	tail.Value = states
	return []status.Detail{maps, tail}
}
