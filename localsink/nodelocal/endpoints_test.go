package nodelocal

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// endpoint reads "ADDR FLAGS...": R ready, U not ready, ST serving and terminating,
// D terminating and not serving, RT ready though terminating, L on this node, @X on node X, zX a
// hint for zone X, nX a hint for node X.
func endpoint(t *testing.T, text string) watchers.Endpoint {
	words := strings.Fields(text)
	e := watchers.Endpoint{Addr: netip.MustParseAddr(words[0]), Node: "elsewhere"}
	var hints watchers.Hints
	for _, w := range words[1:] {
		switch {
		case w == "R":
			e.Ready, e.Serving = true, true
		case w == "U":
		case w == "ST":
			e.Serving, e.Terminating = true, true
		case w == "D":
			e.Terminating = true
		case w == "RT":
			e.Ready, e.Terminating = true, true
		case w == "L":
			e.Node = "node-1"
		case w[0] == '@':
			e.Node = w[1:]
		case w[0] == 'z':
			hints.Zones = append(hints.Zones, w[1:])
		case w[0] == 'n':
			hints.Nodes = append(hints.Nodes, w[1:])
		default:
			t.Fatalf("flag %q", w)
		}
	}
	if hints.Zones != nil || hints.Nodes != nil {
		e.Hints = &hints
	}
	return e
}

// A choice is which endpoints node-1 may use.
type choice struct {
	cluster, local []candidate
	any            bool
}

func choiceOf(t *testing.T, zone string, endpoints ...string) choice {
	slice := &watchers.EndpointSlice{
		Family: watchers.IPv4,
		Ports:  []watchers.EndpointPort{{Protocol: localsink.TCP, Port: 80}},
	}
	for _, text := range endpoints {
		slice.Endpoints = append(slice.Endpoints, endpoint(t, text))
	}
	v := &view{node: &localsink.Node{Name: "node-1"}, zone: zone}
	port := &watchers.ServicePort{Protocol: localsink.TCP, Port: 80}
	r := newReach(candidates([]*watchers.EndpointSlice{slice}, watchers.IPv4, port))
	c := choice{any: r.any}
	anywhere, local := v.anywhere(&r), localOf("node-1", r.all)
	for i := range r.all {
		if anywhere(&r.all[i]) {
			c.cluster = append(c.cluster, r.all[i])
		}
		if local(&r.all[i]) {
			c.local = append(c.local, r.all[i])
		}
	}
	return c
}

func last(endpoints []candidate) string {
	var out []string
	for _, e := range endpoints {
		addr := e.addr.Addr().As4()
		out = append(out, fmt.Sprintf(".%d", addr[3]))
	}
	return strings.Join(out, "")
}

// TestChooseEndpoints follows the rows of the categorisation table: which endpoints
// of a port serve cluster traffic and which serve local traffic.
func TestChooseEndpoints(t *testing.T) {
	s := func(ends ...string) []string {
		all := []string{"10.1.2.3 R zA", "10.1.2.4 R zB", "10.1.2.5 R zC", "10.1.2.6 R zA"}
		for i, e := range ends {
			if e != "" {
				all[i] = e
			}
		}
		return all
	}
	nodes := []string{"10.1.2.3 R zA nnode-1", "10.1.2.4 R zB nnode-2", "10.1.2.5 R zC nnode-3", "10.1.2.6 R zA nnode-4"}
	for _, row := range []struct {
		id, zone       string
		endpoints      []string
		cluster, local string
		none           bool
	}{
		{"01 zone hints", "A", s(), ".3.6", "", false},
		{"02 zone hints, some local", "A", s("10.1.2.3 R zA L", "10.1.2.4 R zB L"), ".3.6", ".3.4", false},
		{"04 node without zone", "", s()[:1], ".3", "", false},
		{"06 no hint for this zone", "B", s()[:1], ".3", "", false},
		{"07 unready in zone", "A", s("", "", "", "10.1.2.6 U zA"), ".3", "", false},
		{"08 all of the zone unready", "A", s("10.1.2.3 U zA", "", "", "10.1.2.6 U zA"), ".4.5", "", false},
		{"09 one without hint", "A", s("", "", "10.1.2.5 R"), ".3.4.5.6", "", false},
		{"10 several zones each", "C", []string{"10.1.2.3 R zA zB zC", "10.1.2.4 R zB zC", "10.1.2.5 R zB zD", "10.1.2.6 R zC"}, ".3.4.6", "", false},
		{"12 node hints come first", "A", nodes, ".3", "", false},
		{"13 one without any hint", "A", append([]string{"10.1.2.4 R"}, nodes[0], nodes[2], nodes[3]), ".3.4.5.6", "", false},
		{"14 no hint for this node", "A", []string{"10.1.2.3 R zA nnode-9", "10.1.2.4 R zB nnode-8", "10.1.2.6 R zA nnode-7"}, ".3.6", "", false},
		{"15 local ignores hints", "A", []string{"10.0.0.0 R zA L", "10.0.0.1 R zB L", "10.0.0.2 R zA", "10.0.0.3 R zB"}, ".0.2", ".0.1", false},
		{"16 nothing", "", nil, "", "", true},
		{"17 only remote", "", []string{"10.0.0.0 R", "10.0.0.1 R"}, ".0.1", "", false},
		{"19 one local", "", []string{"10.0.0.0 R L", "10.0.0.1 R"}, ".0.1", ".0", false},
		{"20 all unready", "", []string{"10.0.0.0 U", "10.0.0.1 U"}, "", "", true},
		{"21 one ready", "", []string{"10.0.0.0 U", "10.0.0.1 R"}, ".1", "", false},
		{"22 only draining", "", []string{"10.0.0.0 ST L", "10.0.0.1 ST"}, ".0.1", ".0", false},
		{"27 only draining, elsewhere", "", []string{"10.0.0.0 ST", "10.0.0.1 ST"}, ".0.1", "", false},
		{"28 local drains while remote is ready", "", []string{"10.0.0.0 R", "10.0.0.1 U L", "10.0.0.2 ST L", "10.0.0.3 ST"}, ".0", ".2", false},
		{"32 one unready in a zone", "A", []string{"10.0.0.0 U"}, "", "", true},
		{"gap: unready without hint disables nothing", "A", s("", "", "10.1.2.5 U"), ".3.6", "", false},
		{"gap: node hints complete, zone hints not", "A", []string{"10.0.0.1 R zA nnode-1", "10.0.0.2 R nnode-2"}, ".1", "", false},
		{"gap: hints of draining ones do not count", "A", []string{"10.0.0.1 ST zB", "10.0.0.2 ST zA"}, ".1.2", "", false},
		{"gap: hinted away but local", "A", []string{"10.0.0.1 R zB L", "10.0.0.2 R zA"}, ".2", ".1", false},
		{"gap: ready though terminating", "", []string{"10.0.0.1 RT L", "10.0.0.2 ST"}, ".1", ".1", false},
		{"gap: terminating and not serving", "", []string{"10.0.0.1 D L"}, "", "", true},
	} {
		t.Run(row.id, func(t *testing.T) {
			c := choiceOf(t, row.zone, row.endpoints...)
			require.Equal(t, row.cluster, last(c.cluster), "cluster")
			require.Equal(t, row.local, last(c.local), "local")
			require.Equal(t, !row.none, c.any, "any")
		})
	}
}

// TestDuplicateEndpoints: of several reports of one address the best counts, in
// every order of slices, and of equals the one with the smallest node (IN-49).
func TestDuplicateEndpoints(t *testing.T) {
	reports := []string{"10.0.0.1 ST L", "10.0.0.1 R L", "10.0.0.1 D L", "10.0.0.1 R @zzz", "10.0.0.1 R @"}
	for range reports {
		reports = append(reports[1:], reports[0])
		c := choiceOf(t, "", reports...)
		require.Equal(t, ".1", last(c.cluster), "%v", reports)
		require.Equal(t, ".1", last(c.local), "%v", reports)
	}
}
