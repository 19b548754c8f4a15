// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package readiness

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes/fake"

	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

func sliceKey(service, slice string) watchers.Key {
	return watchers.Key{Kind: watchers.KindEndpointSlice, Namespace: "default", Name: service, Slice: slice}
}

// sliceOf returns a slice that lists pods by name; those in serving are serving.
func sliceOf(pods []string, serving ...string) *watchers.EndpointSlice {
	s := &watchers.EndpointSlice{Namespace: "default", Family: watchers.FamilyIPv4}
	for _, name := range pods {
		up := slices.Contains(serving, name)
		s.Endpoints = append(s.Endpoints, watchers.Endpoint{Addr: addrOf(name), Ready: up, Serving: up})
		s.Details = append(s.Details, watchers.EndpointDetails{Target: watchers.ObjectReference{Kind: "Pod", Namespace: "default", Name: name}})
	}
	return s
}

func addrOf(name string) netip.Addr { return netip.AddrFrom4([4]byte{10, 244, 0, name[len(name)-1]}) }

// names returns the sorted names of pods, or of the nodes of tasks.
func names[T podID | task](list []T) (out []string) {
	for _, element := range list {
		switch e := any(element).(type) {
		case podID:
			out = append(out, e.name)
		case task:
			out = append(out, e.node)
		}
	}
	slices.Sort(out)
	return out
}

// TestPodWaitsForAllItsServices: the newest revision of the Services counts, as it was when each of them
// first listed the pod.
func TestPodWaitsForAllItsServices(t *testing.T) {
	var p pods
	now := time.Now()
	p.set(sliceKey("web", "web-1"), sliceOf([]string{"a"}), 5)
	p.set(sliceKey("admin", "admin-1"), sliceOf([]string{"a"}), 7)
	require.Empty(t, p.due(6, now))
	p.set(sliceKey("web", "web-1"), sliceOf([]string{"a", "b"}), 9)
	require.Equal(t, []string{"a"}, names(p.due(7, now)), "a later change does not delay a pod")
	require.Empty(t, p.due(8, now), "a pod is queued once")
	require.Equal(t, []string{"b"}, names(p.due(9, now)))
	require.Zero(t, p.waiting)
}

func TestPodOfServicesWithoutRulesWaitsForTheFirstState(t *testing.T) {
	var p pods
	p.set(sliceKey("headless", "headless-1"), sliceOf([]string{"a"}), 0)
	require.Empty(t, p.due(0, time.Now()), "no node has applied anything")
	require.Equal(t, []string{"a"}, names(p.due(1, time.Now())))
}

func TestOnlyPodsThatAreNotServingWait(t *testing.T) {
	var p pods
	s := sliceOf([]string{"serving1", "waiting2", "gone3", "node4"}, "serving1")
	s.Endpoints[2].Terminating = true
	s.Details[3].Target.Kind = "Node"
	p.set(sliceKey("web", "web-1"), s, 1)
	imported := sliceOf([]string{"other5"})
	imported.Service.Origin = "mcs"
	p.set(sliceKey("imported", "x"), imported, 1)
	p.set(sliceKey("plain", "plain-1"), &watchers.EndpointSlice{Namespace: "default", Endpoints: []watchers.Endpoint{{Addr: addrOf("x")}}}, 1)
	require.Equal(t, []string{"waiting2"}, names(p.due(1, time.Now())))
}

// TestQueuedPodIsReadAgain: a pod may have replaced another one of the same name and address.
func TestQueuedPodIsReadAgain(t *testing.T) {
	var p pods
	now := time.Now()
	p.set(sliceKey("web", "web-1"), sliceOf([]string{"a"}), 1)
	require.Len(t, p.due(1, now), 1)
	p.expire(now.Add(podRecheck - 1))
	require.Empty(t, p.due(1, now))
	p.expire(now.Add(podRecheck))
	require.Len(t, p.due(1, now), 1)
}

// TestPodsMatchTheSlices compares the incremental state with the slices after random changes.
func TestPodsMatchTheSlices(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var p pods
		current := map[watchers.Key]*watchers.EndpointSlice{}
		for range 50 {
			key := sliceKey(fmt.Sprint("s", rnd.IntN(3)), fmt.Sprint("x", rnd.IntN(2)))
			if rnd.IntN(4) == 0 {
				delete(current, key)
				p.set(key, nil, 0)
			} else {
				var listed []string
				for _, name := range []string{"a", "b", "c", "d"} {
					if rnd.IntN(2) == 0 {
						listed = append(listed, name)
					}
				}
				current[key] = sliceOf(listed, "abcd"[rnd.IntN(4):][:1])
				p.set(key, current[key], uint64(rnd.IntN(5)))
			}
			p.due(uint64(rnd.IntN(5)), time.Now())

			want, waiting := map[podID]int{}, 0
			for _, s := range current {
				for _, id := range notServing(s) {
					want[id]++
				}
			}
			require.Len(t, p.all, len(want), "seed %d", seed)
			for id, n := range want {
				require.Equal(t, n, p.all[id].slices)
				if p.all[id].queuedAt.IsZero() {
					waiting++
				}
			}
			require.Equal(t, waiting, p.waiting)
		}
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		revisions []uint64
		share     float64
		want      uint64
	}{
		{[]uint64{3}, 1, 3},
		{[]uint64{0}, 0.1, 0},
		{[]uint64{1, 5, 3}, 1, 1},
		{[]uint64{1, 5, 3}, 0.67, 1},
		{[]uint64{1, 5, 3}, 0.66, 3},
		{[]uint64{1, 5, 3}, 0.001, 5},
		{[]uint64{9, 9, 9, 9, 9, 9, 9, 9, 9, 0}, 0.9, 9},
		{[]uint64{9, 9, 9, 9, 9, 9, 9, 9, 0, 0}, 0.9, 0},
	} {
		got, ok := quantile(slices.Clone(c.revisions), c.share)
		require.True(t, ok)
		require.Equal(t, c.want, got, "%v of %v", c.share, c.revisions)
	}
	_, ok := quantile(nil, 0.5)
	require.False(t, ok, "no node has applied anything if there are no nodes")
}

func TestInvalidConfig(t *testing.T) {
	store := watchers.NewStore()
	server, err := node.NewServer(store, node.ServerConfig{})
	require.NoError(t, err)
	defer server.Close()
	valid := func() Config { return Config{Client: fake.NewClientset(), Server: server, PodCondition: "a.example/b"} }
	_, err = New(valid())
	require.NoError(t, err)
	for want, edit := range map[string]func(*Config){
		"readiness: Client: required":                         func(c *Config) { c.Client = nil },
		"readiness: Server: required":                         func(c *Config) { c.Server = nil },
		"readiness: StartupTaint or PodCondition: required":   func(c *Config) { c.PodCondition = "" },
		"readiness: Quantile: 1.5 is not above 0 and up to 1": func(c *Config) { c.Quantile = 1.5 },
		"readiness: Quantile: -1 is not above 0 and up to 1":  func(c *Config) { c.Quantile = -1 },
		"readiness: Quantile: NaN is not above 0 and up to 1": func(c *Config) { c.Quantile = math.NaN() },
		"readiness: Nodes: 2 is unknown":                      func(c *Config) { c.Nodes = 2 },
		`readiness: StartupTaint: "a b": name part must`:      func(c *Config) { c.StartupTaint = "a b" },
		`readiness: PodCondition: "a/b/c": a `:                func(c *Config) { c.PodCondition = "a/b/c" },
	} {
		cfg := valid()
		edit(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
	}
	for want, cfg := range map[string]TaintConfig{
		"readiness: Client: required":   {NodeName: "n", Key: "k"},
		"readiness: NodeName: required": {Client: fake.NewClientset(), Key: "k"},
		"readiness: Key: required":      {Client: fake.NewClientset(), NodeName: "n"},
		`readiness: Key: "/"`:           {Client: fake.NewClientset(), NodeName: "n", Key: "/"},
	} {
		_, err := NewTaint(cfg)
		require.ErrorContains(t, err, want)
	}
}
