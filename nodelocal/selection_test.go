// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// A selection is the endpoints of a port that a node uses, as read from its routes: for
// traffic that may leave the node, for traffic that must stay on it, and for all traffic.
// "-" means that no traffic is of that kind. If local has no endpoint, it is the verdict.
type selection struct {
	cluster, local, reachable string
	// usable entries whether any endpoint of the cluster accepts connections.
	usable bool
}

// selectEndpoints reads flags "e" (external policy Local), "i" (internal policy Local) and
// "n" (a node port).
func selectEndpoints(t *testing.T, flags, zone string, endpoints ...string) selection {
	has := func(flag string) bool { return strings.Contains(flags, flag) }
	svc := service(func(s *watchers.Service) {
		if has("e") {
			s.ExternalPolicy = watchers.PolicyLocal
		}
		if has("i") {
			s.InternalPolicy = watchers.PolicyLocal
		}
		if has("n") {
			s.Type, s.Ports[0].NodePort = watchers.TypeNodePort, 30080
		}
	})
	objects := []watchers.Object{svc}
	if endpoints != nil {
		objects = append(objects, slice(t, "a", endpoints...))
	}
	if zone != "no node" {
		objects = append(objects, &watchers.Node{Name: "node-1", Zone: zone})
	}
	got := newNode(t, nodelocal.Config{}, objects...).get(name())
	require.Len(t, got.Ports, 1)
	return readSelection(t, got.Ports[0], has("e"), has("i"))
}

func readSelection(t *testing.T, port localsink.Port, externalLocal, internalLocal bool) selection {
	c := selection{cluster: "-", local: "-"}
	record := func(to *string, list string) {
		require.True(t, *to == "-" || *to == list, "all traffic of a kind must use the same endpoints")
		*to = list
	}
	var all []localsink.Endpoint
	for _, fe := range port.Frontends {
		for _, r := range fe.Routes {
			endpoints := port.Pools[r.Pool].Endpoints
			all = append(all, endpoints...)
			c.usable = c.usable || len(endpoints) > 0 || r.EmptyVerdict == localsink.VerdictDrop
			internal := fe.Kind == localsink.KindClusterIP
			stays := internal && internalLocal || !internal && externalLocal && r.From == localsink.FromAny
			if stays {
				record(&c.local, cmp.Or(last(endpoints), strings.ToLower(r.EmptyVerdict.String())))
			} else {
				record(&c.cluster, last(endpoints))
			}
		}
	}
	slices.SortFunc(all, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
	c.reachable = last(slices.Compact(all))
	return c.normalized()
}

// normalized returns the zero selection when no endpoint is usable: the lists do not matter.
func (c selection) normalized() selection {
	if !c.usable {
		return selection{}
	}
	return c
}

// TestCategorizeEndpoints has the 32 rows of kube-proxy's test of the same name, and rows
// for cases that they do not cover.
func TestCategorizeEndpoints(t *testing.T) {
	// s returns four endpoints with hints; a non-empty argument replaces one.
	s := func(ends ...string) []string {
		all := []string{"10.1.2.3 R zA", "10.1.2.4 R zB", "10.1.2.5 R zC", "10.1.2.6 R zA"}
		for i, e := range ends {
			if e != "" {
				all[i] = e
			}
		}
		return all
	}
	someLocal := s("10.1.2.3 R zA L", "10.1.2.4 R zB L")
	nodes := []string{"10.1.2.3 R zA nnode-1", "10.1.2.4 R zB nnode-2", "10.1.2.5 R zC nnode-3", "10.1.2.6 R zA nnode-4"}
	others := []string{"10.1.2.3 R zA nnode-7", "10.1.2.4 R zB nnode-2", "10.1.2.5 R zC nnode-3", "10.1.2.6 R zA nnode-4"}
	unhinted := []string{nodes[0], "10.1.2.4 R", nodes[2], nodes[3]}
	oneLocal := []string{"10.0.0.0 R L", "10.0.0.1 R"}
	for _, row := range []struct {
		id, flags, zone          string
		endpoints                []string
		cluster, local, reaching string
		none                     bool
	}{
		{"6.1 row 1 SEL-02 zone hints", "", "A", s(), ".3.6", "-", ".3.6", false},
		{"6.1 row 2 SEL-04 SEL-06 external policy Local ignores hints", "en", "A", someLocal, ".3.6", ".3.4", ".3.4.6", false},
		{"6.1 row 3 SEL-04 SEL-06 internal policy Local ignores hints", "in", "A", someLocal, ".3.6", ".3.4", ".3.4.6", false},
		{"6.1 row 4 SEL-02 no node", "", "no node", s()[:1], ".3", "-", ".3", false},
		{"6.1 row 5 SEL-02 a node without zone", "", "", s()[:1], ".3", "-", ".3", false},
		{"6.1 row 6 SEL-02 no hint for this zone", "", "B", s()[:1], ".3", "-", ".3", false},
		{"6.1 row 7 SEL-02 one of the zone is unready", "", "A", s("", "", "", "10.1.2.6 U zA"), ".3", "-", ".3", false},
		{"6.1 row 8 SEL-02 all of the zone are unready", "", "A", s("10.1.2.3 U zA", "", "", "10.1.2.6 U zA"), ".4.5", "-", ".4.5", false},
		{"6.1 row 9 SEL-02 one has no hint", "", "A", s("", "", "10.1.2.5 R"), ".3.4.5.6", "-", ".3.4.5.6", false},
		{"6.1 row 10 SEL-02 several zones each", "", "C", []string{"10.1.2.3 R zA zB zC", "10.1.2.4 R zB zC", "10.1.2.5 R zB zD", "10.1.2.6 R zC"}, ".3.4.6", "-", ".3.4.6", false},
		{"6.1 row 11 SEL-02 node hints cannot be turned off since 1.35", "", "A", nodes, ".3", "-", ".3", false},
		{"6.1 row 12 SEL-02 node hints come first", "", "A", nodes, ".3", "-", ".3", false},
		{"6.1 row 13 SEL-02 one has no hint at all", "", "A", unhinted, ".3.4.5.6", "-", ".3.4.5.6", false},
		{"6.1 row 14 SEL-02 no hint for this node", "", "A", others, ".3.6", "-", ".3.6", false},
		{"6.1 row 15 SEL-06 local but with a hint for another zone", "en", "A", []string{"10.0.0.0 R zA L", "10.0.0.1 R zB L", "10.0.0.2 R zA", "10.0.0.3 R zB"}, ".0.2", ".0.1", ".0.1.2", false},
		{"6.1 row 16 SEL-01 SEL-07 nothing", "i", "", []string{}, "-", "", "", true},
		{"6.1 row 17 SEL-05 SEL-07 all on other nodes", "i", "", []string{"10.0.0.0 R", "10.0.0.1 R"}, "-", "drop", "", false},
		{"6.1 row 18 SEL-04 all local", "i", "", []string{"10.0.0.0 R L", "10.0.0.1 R L"}, "-", ".0.1", ".0.1", false},
		{"6.1 row 19 SEL-04 one local", "i", "", oneLocal, "-", ".0", ".0", false},
		{"6.1 row 20 SEL-05 all unready", "", "", []string{"10.0.0.0 U", "10.0.0.1 U"}, "", "-", "", true},
		{"6.1 row 21 SEL-03 one ready", "", "", []string{"10.0.0.0 U", "10.0.0.1 R"}, ".1", "-", ".1", false},
		{"6.1 row 22 SEL-03 only terminating", "", "", []string{"10.0.0.0 ST L", "10.0.0.1 ST"}, ".0.1", "-", ".0.1", false},
		{"6.1 row 23 SEL-06 internal policy Local with a node port", "in", "", oneLocal, ".0.1", ".0", ".0.1", false},
		{"6.1 row 24 SEL-06 external policy Local with a node port", "en", "", oneLocal, ".0.1", ".0", ".0.1", false},
		{"6.1 row 25 SEL-06 both policies Local", "ein", "", oneLocal, ".0.1", ".0", ".0.1", false},
		{"6.1 row 26 SEL-05 both policies Local, all on other nodes", "ein", "", []string{"10.0.0.0 R", "10.0.0.1 R"}, ".0.1", "drop", ".0.1", false},
		{"6.1 row 27 SEL-05 both policies Local, all terminating on other nodes", "ein", "", []string{"10.0.0.0 ST", "10.0.0.1 ST"}, ".0.1", "drop", ".0.1", false},
		{"6.1 row 28 SEL-04 local ones terminate while others are ready", "en", "", []string{"10.0.0.0 R", "10.0.0.1 U L", "10.0.0.2 ST L", "10.0.0.3 ST"}, ".0", ".2", ".0.2", false},
		{"6.1 row 29 SEL-07 IN-35 external policy Local without external addresses", "e", "", []string{"10.0.0.0 R", "10.0.0.1 R L"}, ".0.1", "-", ".0.1", false},
		{"6.1 row 30 SEL-07 IN-35 internal policy Local without other addresses", "i", "", []string{"10.0.0.0 R", "10.0.0.1 R L"}, "-", ".1", ".1", false},
		{"6.1 row 31 SEL-01 no slices", "", "", nil, "", "-", "", true},
		{"6.1 row 32 SEL-02 one unready without hints", "", "A", []string{"10.0.0.0 U"}, "", "-", "", true},

		{"6.1 gap SEL-02 unready without hint disables nothing", "", "A", s("", "", "10.1.2.5 U"), ".3.6", "-", ".3.6", false},
		{"6.1 gap SEL-02 a node hint of an unready endpoint is ignored", "", "A", []string{"10.0.0.1 U nnode-1", "10.0.0.2 R nnode-1", "10.0.0.3 R nnode-2"}, ".2", "-", ".2", false},
		{"6.1 gap SEL-05 all on other nodes, and the last unready", "en", "", []string{"10.0.0.1 R", "10.0.0.2 U"}, ".1", "drop", ".1", false},
		{"6.1 gap SEL-02 node hints complete, zone hints not", "", "A", []string{"10.0.0.1 R zA nnode-1", "10.0.0.2 R nnode-2"}, ".1", "-", ".1", false},
		{"6.1 gap SEL-02 zone hints complete, node hints not", "", "A", []string{"10.0.0.1 R zA nnode-1", "10.0.0.2 R zA", "10.0.0.3 R zB"}, ".1.2", "-", ".1.2", false},
		{"6.1 gap SEL-02 neither is complete", "", "A", []string{"10.0.0.1 R zA", "10.0.0.2 R nnode-1"}, ".1.2", "-", ".1.2", false},
		{"6.1 gap SEL-02 a node without a zone has no zone with an empty name", "", "", []string{"10.0.0.1 R z", "10.0.0.2 R zB"}, ".1.2", "-", ".1.2", false},
		{"6.1 gap SEL-03 hints of terminating endpoints are ignored", "", "A", []string{"10.0.0.1 ST zB", "10.0.0.2 ST zA"}, ".1.2", "-", ".1.2", false},
		{"6.1 gap SEL-04 internal policy Local and only a terminating local one", "in", "", []string{"10.0.0.1 ST L", "10.0.0.2 R"}, ".2", ".1", ".1.2", false},
		{"6.1 gap SEL-04 the only local one has a hint for another zone", "en", "A", []string{"10.0.0.1 R zB L", "10.0.0.2 R zA"}, ".2", ".1", ".1.2", false},
		{"6.1 gap IN-46 ready though terminating", "en", "", []string{"10.0.0.1 RT L", "10.0.0.2 ST"}, ".1", ".1", ".1", false},
		{"6.1 gap SEL-03 one ready endpoint excludes all terminating ones", "", "", []string{"10.0.0.1 ST L", "10.0.0.2 ST", "10.0.0.3 R"}, ".3", "-", ".3", false},
		{"6.1 gap SEL-05 serving, but neither ready nor terminating", "en", "", []string{"10.0.0.1 S L"}, "", "-", "", true},
		{"6.1 gap SEL-05 terminating and not serving", "en", "", []string{"10.0.0.1 D L"}, "", "-", "", true},
		{"6.1 gap SEL-03 terminating and not serving is excluded", "en", "", []string{"10.0.0.1 D L", "10.0.0.2 ST L"}, ".2", ".2", ".2", false},
	} {
		t.Run(row.id, func(t *testing.T) {
			want := selection{row.cluster, row.local, row.reaching, !row.none}
			require.Equal(t, want.normalized(), selectEndpoints(t, row.flags, row.zone, row.endpoints...))
		})
	}
}

// TestIN44Local: an endpoint is local when its node name is this node's; an endpoint without
// a node name never is.
func TestIN44Local(t *testing.T) {
	s := slice(t, "a", "10.0.0.1 R L", "10.0.0.2 R", "10.0.0.3 R", "10.0.0.4 R")
	s.Endpoints[2].Node, s.Endpoints[3].Node = "", "node-12"
	got := newNode(t, nodelocal.Config{}, service(), s).get(name())
	var local []bool
	for _, e := range got.Ports[0].Pools[0].Endpoints {
		local = append(local, e.Local)
	}
	require.Equal(t, []bool{true, false, false, false}, local)

	draining := slice(t, "a", "10.0.0.1 ST L", "10.0.0.2 ST")
	got = newNode(t, nodelocal.Config{}, service(), draining).get(name())
	require.True(t, got.Ports[0].Pools[0].Endpoints[0].Local, "a terminating endpoint is local too")
	require.False(t, got.Ports[0].Pools[0].Endpoints[1].Local)
}

// TestIN49Duplicates: of several entries of one address and port the highest-ranked is used,
// for every order of slices.
func TestIN49Duplicates(t *testing.T) {
	for _, row := range []struct {
		id, cluster, local string
		entries            []string
	}{
		{"6.6 IN-49 serving and terminating, ready, not serving", ".1", "", []string{"10.0.0.1 ST", "10.0.0.1 R", "10.0.0.1 D"}},
		{"IN-49 ready and unready", ".1", "", []string{"10.0.0.1 U", "10.0.0.1 R"}},
		{"IN-49 unready outranks terminating", "", "", []string{"10.0.0.1 U", "10.0.0.1 ST"}},
		{"IN-49 not terminating outranks ready", "", "", []string{"10.0.0.1 U", "10.0.0.1 RT"}},
		{"IN-49 serving while terminating outranks not serving", ".1", "", []string{"10.0.0.1 ST", "10.0.0.1 D"}},
		{"IN-49 of equals the smaller node name is used", ".1", "", []string{"10.0.0.1 R L", "10.0.0.1 R"}}, // elsewhere < node-1
		{"IN-49 of equals the one with a node name is used", ".1", ".1", []string{"10.0.0.1 R L", "10.0.0.1 R @"}},
		{"IN-49 ready outranks local", ".1", "", []string{"10.0.0.1 U L", "10.0.0.1 R"}},
	} {
		t.Run(row.id, func(t *testing.T) {
			for range row.entries {
				row.entries = append(row.entries[1:], row.entries[0])
				for range 2 {
					slices.Reverse(row.entries)
					var objects []watchers.Object
					for i, entry := range row.entries {
						objects = append(objects, slice(t, string(rune('a'+i)), entry))
					}
					svc := service(func(s *watchers.Service) {
						s.Type, s.Ports[0].NodePort, s.ExternalPolicy = watchers.TypeNodePort, 30080, watchers.PolicyLocal
					})
					port := newNode(t, nodelocal.Config{}, append(objects, svc)...).get(name()).Ports[0]
					external := port.Frontends[1].Routes
					require.Equal(t, row.cluster, last(port.Pools[port.Frontends[0].Routes[0].Pool].Endpoints), "%v", row.entries)
					require.Equal(t, row.local, last(port.Pools[external[len(external)-1].Pool].Endpoints), "%v", row.entries)
				}
			}
		})
	}
}
