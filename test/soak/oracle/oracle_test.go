// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"bytes"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"
)

// testNode is the node on which the files in testdata were recorded.
func testNode() *Node {
	return &Node{
		Name:        "n1",
		Addrs:       []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		PodNetworks: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:244:1::/64")},
	}
}

func testFile(t *testing.T, name string) []byte {
	data, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return data
}

func testCluster(t *testing.T) *Cluster {
	c := &Cluster{ServiceNetworks: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00:96::/108")}}
	for document := range bytes.SplitSeq(testFile(t, "objects.yaml"), []byte("---\n")) {
		var kind struct{ Kind string }
		require.NoError(t, yaml.Unmarshal(document, &kind))
		var service corev1.Service
		var slice discoveryv1.EndpointSlice
		var node corev1.Node
		switch kind.Kind {
		case "Service":
			require.NoError(t, yaml.UnmarshalStrict(document, &service))
			c.Services = append(c.Services, service)
		case "EndpointSlice":
			require.NoError(t, yaml.UnmarshalStrict(document, &slice))
			c.Slices = append(c.Slices, slice)
		case "Node":
			require.NoError(t, yaml.UnmarshalStrict(document, &node))
			c.Nodes = append(c.Nodes, node)
		}
	}
	return c
}

// differencesOf compares the objects of testdata with altered ones.
func differencesOf(t *testing.T, alter func(c *Cluster), alterState, alterRules alteration) []string {
	c, node := testCluster(t), testNode()
	acknowledged, err := c.Acknowledged(node, []byte(alterState(t, string(testFile(t, "state.json")))))
	require.NoError(t, err)
	rules, err := ParseRuleset([]byte(alterRules(t, string(testFile(t, "ruleset.json")))), "kpng")
	require.NoError(t, err)
	alter(c)
	differences, err := Compare(c.Desired(node), acknowledged, rules)
	require.NoError(t, err)
	return differences
}

// An alteration changes a recorded file.
type alteration func(t *testing.T, text string) string

func same(_ *testing.T, s string) string { return s }

func TestRecordedStatesAreEqual(t *testing.T) {
	require.Empty(t, differencesOf(t, func(*Cluster) {}, same, same))
}

// without returns an alteration that removes the only line with a text.
func without(text string) alteration {
	return func(t *testing.T, rules string) string {
		var kept []string
		removed := 0
		for line := range strings.Lines(rules) {
			if strings.Contains(line, text) {
				removed++
				continue
			}
			kept = append(kept, line)
		}
		require.Equal(t, 1, removed, "lines with %s", text)
		return strings.Join(kept, "")
	}
}

// replaced returns an alteration that replaces the first occurrence of a text.
func replaced(old, new string) alteration {
	return func(t *testing.T, s string) string {
		require.Contains(t, s, old)
		return strings.Replace(s, old, new, 1)
	}
}

// A difference is an alteration of the rules, of the acknowledged state or of the objects, and what
// Compare reports; empty if the outcomes are equal.
type difference struct {
	objects      func(*Cluster)
	state, rules alteration
	want         string
}

// Each difference names a probe.
func TestDifferencesAreNamed(t *testing.T) {
	all := differencesOfRules()
	maps.Copy(all, otherDifferences())
	for name, test := range all {
		t.Run(name, func(t *testing.T) {
			if test.objects == nil {
				test.objects = func(*Cluster) {}
			}
			if test.state == nil {
				test.state = same
			}
			if test.rules == nil {
				test.rules = same
			}
			got := strings.Join(differencesOf(t, test.objects, test.state, test.rules), "\n")
			if test.want == "" {
				require.Empty(t, got)
				return
			}
			require.Contains(t, got, test.want)
		})
	}
}

func differencesOfRules() map[string]difference {
	return map[string]difference{
		"endpoint of a frontend": {
			rules: replaced(`[{"concat":["10.96.0.11","udp",53,1]},{"concat":["10.244.2.11",8080]}]`, `[{"concat":["10.96.0.11","udp",53,1]},{"concat":["10.244.2.13",8080]}]`),
			want:  "10.96.0.11:53/UDP from pod 10.244.1.250:",
		},
		"missing endpoint": {
			rules: replaced(`,[{"concat":["10.96.0.11","udp",53,1]},{"concat":["10.244.2.11",8080]}]`, ``),
			want:  "10.96.0.11:53/UDP from outside 198.51.100.207:",
		},
		"missing frontend": {
			rules: replaced(`[{"concat":["10.96.0.11","udp",54]},{"goto":{"target":"reject-chain"}}],`, ``),
			state: replaced(`    ClusterIP 10.96.0.11:54\n      Any -> reject\n`, ``),
			want:  "", // a port of a cluster IP without a frontend is rejected too
		},
		"missing node port": {
			rules: replaced(`[{"concat":["udp",30053]},{"goto":{"target":"dispatch-nodeport.any-masq-pool1-2"}}],`, ``),
			want:  "192.0.2.1:30053/UDP from node 192.0.2.1:",
		},
		"extra frontend": {
			rules: replaced(`[{"concat":["10.96.0.11","udp",54]}`, `[{"concat":["10.96.0.99","udp",54]},{"goto":{"target":"reject-chain"}}],[{"concat":["10.96.0.11","udp",54]}`),
			want:  "10.96.0.99:54/UDP from pod",
		},
		"missing source range": {
			rules: without(`{"rule":{"family":"ip","table":"kpng","chain":"firewall-8e504a6590805a7812173514","expr":[{"drop":null}]}}`),
			want:  "203.0.113.10:80/TCP from outside 198.51.100.207:",
		},
		"missing base chain": {
			rules: replaced(`"name":"nat-output","type":"nat","hook":"output"`, `"name":"nat-output","type":"nat","hook":"input"`),
			want:  "", // cluster-ips-check-output looks up Services too
		},
		"missing masquerading": {
			rules: replaced(`[{"match":{"op":"!=","left":{"&":[{"meta":{"key":"mark"}},16384]},"right":0}}`, `[{"match":{"op":"!=","left":{"&":[{"meta":{"key":"mark"}},32768]},"right":0}}`),
			want:  "10.96.0.11:53/UDP from node 192.0.2.1:",
		},
		"missing hairpin": {
			rules: replaced(`{"concat":["10.244.1.11","10.244.1.11"]}`, `{"concat":["10.244.1.12","10.244.1.12"]}`),
			want:  "endpoint 10.244.1.11 is of the node and masqueraded to itself: desired true, acknowledged true, kernel false",
		},
		"affinity endpoint": {
			rules: replaced(`["0:1",{"concat":["10.244.2.11",8080]}]`, `["0:1",{"concat":["10.244.2.12",8080]}]`),
			want:  "10.96.0.10:80/TCP from pod",
		},
		"affinity timeout": {
			rules: replaced(`"timeout":10800`, `"timeout":60`),
			want:  "with affinity 1m0s",
		},
		"unused port of a cluster IP": {
			rules: replaced(`["10.96.0.10","10.96.0.11"]`, `["10.96.0.10"]`),
			want:  "10.96.0.11:1/TCP from node",
		},
	}
}

func otherDifferences() map[string]difference {
	return map[string]difference{
		"acknowledged endpoint": {
			state: replaced(`10.244.2.11:8080`, `10.244.2.13:8080`),
			want:  "acknowledged 10.244.1.11:8080 10.244.2.13:8080",
		},
		"endpoint that is not ready": {
			objects: func(c *Cluster) { c.Slices[0].Endpoints[0].Conditions.Ready = new(bool) },
			want:    "203.0.113.10:80/TCP from permitted 198.51.100.7:\n  desired      dropped",
		},
		"deleted Service": {
			objects: func(c *Cluster) { c.Services = c.Services[:1] },
			want:    "10.96.0.11:53/UDP from node 192.0.2.1:\n  desired      dropped",
		},
		"internal traffic policy": {
			objects: func(c *Cluster) {
				local := corev1.ServiceInternalTrafficPolicyLocal
				c.Services[1].Spec.InternalTrafficPolicy = &local
			},
			want: "desired      10.244.1.11:8080 masqueraded",
		},
	}
}

// The oracle shares no code with the proxies.
func TestImportsNothingOfTheProxies(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range file.Imports {
			require.NotContains(t, i.Path.Value, "sigs.k8s.io/kpng", name)
		}
	}
}
