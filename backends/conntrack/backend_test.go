// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// openNode returns a node whose node ports answer on every IPv4 address.
func openNode() *localsink.Node {
	return &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
}

// TestDumpCount expects how often Sync dumps the flow table.
func TestDumpCount(t *testing.T) {
	full := sinktest.NewState(udp("dns", []string{vip}, []string{one, two}))
	less := sinktest.NewState(udp("dns", []string{vip}, []string{one}))
	other := tcpOnly(udp("web", []string{"10.96.0.9:80"}, []string{one}))
	beside := sinktest.NewState(udp("dns", []string{vip}, []string{one, two}), other)
	for _, row := range []struct {
		id          string
		interrupted int
		to          localsink.State
		dumps       int
		left        int
	}{
		{"CT-06 one dump for any number of flows", 0, less, 1, 1000},
		{"CT-06 an interrupted dump is repeated", 2, less, 3, 1000},
		{"CT-06 the last attempt is complete", maxAttempts - 1, less, maxAttempts, 1000},
		{"CT-06 five interrupted attempts remove the flows they saw", maxAttempts, less, maxAttempts, 1000},
		{"CT-06 no more than five attempts", 100, less, maxAttempts, 1000},
		{"CT-01 no dump for an unchanged Service", 0, beside, 0, 2000},
		{"CT-03 one dump after an external change of rules", 0, full, 1, 2000},
	} {
		t.Run(row.id, func(t *testing.T) {
			b, table := newFake()
			d := &sinktest.Driver{Sink: b, Node: openNode()}
			require.NoError(t, d.Sync(t.Context(), full))
			for range 1000 {
				table.flows = append(table.flows, flow{addr(vip), addr(two)})
			}
			for range 1000 {
				table.flows = append(table.flows, flow{addr(vip), addr(one)})
			}
			table.dumps, table.interrupted = nil, row.interrupted
			require.NoError(t, d.Sync(t.Context(), row.to))
			require.Len(t, table.dumps, row.dumps)
			require.Len(t, table.flows, row.left)
			require.Equal(t, row.interrupted >= maxAttempts, strings.Contains(table.log.String(), "Stale UDP flows may remain"), table.log.String())
		})
	}
	t.Run("CT-05 TCP and SCTP flows stay", func(t *testing.T) {
		b, table := newFake()
		d := &sinktest.Driver{Sink: b, Node: openNode()}
		service := func(endpoints ...string) localsink.State {
			svc := udp("web", []string{vip, nodePort}, endpoints)
			svc.Ports[0].Protocol = localsink.ProtocolSCTP
			return sinktest.NewState(svc)
		}
		require.NoError(t, d.Sync(t.Context(), service(one, two)))
		require.NoError(t, d.Sync(t.Context(), service()))
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState()))
		require.Empty(t, table.dumps)
	})
}

// TestCleanStaleEntries repeats the UDP entries of kube-proxy's test of conntrack
// reconciliation: a serving endpoint, one that does not serve, and a removed one.
func TestCleanStaleEntries(t *testing.T) {
	const serving, removed = "10.0.0.1:8080", "10.0.0.3:8080"
	vips := []string{"10.96.0.1:80", "192.0.2.80:80", "198.51.100.80:80"}
	b, table := newFake()
	state := sinktest.NewState(udp("svc", append(vips, "0.0.0.0:30080"), []string{serving}))
	want := map[flow]bool{} // reports whether the flow stays
	add := func(stays bool, destination, replySource string) {
		f := flow{addr(destination), addr(replySource)}
		table.flows = append(table.flows, f)
		want[f] = stays
	}
	for _, e := range []string{serving, "10.0.0.2:8080", removed} {
		for _, v := range vips {
			add(e == serving, v, e)
			add(true, strings.TrimSuffix(v, ":80")+":443", e) // another port
		}
		add(e == serving, "192.0.2.1:30080", e)
		add(true, "198.51.100.1:30080", e) // not an address of the node
	}
	for _, v := range vips {
		add(false, v, "10.0.0.1:99")                      // a previous target port
		add(false, v, v)                                  // began before the rules
		add(true, v[:len(v)-2]+"443", v[:len(v)-2]+"443") // another port, not translated
	}
	require.NoError(t, b.Sync(t.Context(), sinktest.NewUpdate(openNode(), nil, state)))
	for f, stays := range want {
		t.Run(fmt.Sprintf("6.8 TestCleanStaleEntries CT-02 CT-03 CT-04 %s translated to %s", f.destination, f.replySource), func(t *testing.T) {
			require.Equal(t, stays, slices.Contains(table.flows, f))
		})
	}
	t.Run("6.8 ServiceWithoutEndpoints CT-03", func(t *testing.T) {
		b, table := newFake()
		d := &sinktest.Driver{Sink: b, Node: openNode()}
		require.NoError(t, d.Sync(t.Context(), state))
		table.flows = []flow{{addr(vips[0]), addr(serving)}, {addr(vips[0]), addr(vips[0])}, {addr("192.0.2.1:30080"), addr("192.0.2.1:30080")}}
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(udp("svc", append(vips, "0.0.0.0:30080"), nil))))
		require.Equal(t, []flow{{addr("192.0.2.1:30080"), addr("192.0.2.1:30080")}}, table.flows, "the flow of a process on the node stays")
	})
}

// TestUpdateEndpointsMap repeats kube-proxy's test of changed endpoints from watchers to
// sink: which Services change, whether the flow table is dumped, and how many local
// endpoints health checks count.
func TestUpdateEndpointsMap(t *testing.T) {
	service := func(name, ip string) *watchers.Service {
		return &watchers.Service{
			Name: watchers.ServiceName{Namespace: "ns", Name: name}, ClusterIP: netip.MustParseAddr(ip),
			Type: watchers.TypeLoadBalancer, ExternalPolicy: watchers.PolicyLocal, HealthCheckNodePort: 30000 + uint16(netip.MustParseAddr(ip).As4()[3]),
			Ports: []watchers.ServicePort{{Protocol: localsink.ProtocolUDP, Port: 53}, {Name: "p11", Protocol: localsink.ProtocolUDP, Port: 11}, {Name: "p12", Protocol: localsink.ProtocolUDP, Port: 12}},
		}
	}
	for _, row := range []struct {
		id       string
		from, to []string // "SERVICE SLICE PORTNAME:NUMBER,... ADDR[!][@]...": @ is on the node "here", + is terminating
		changed  string
		dumps    bool
		ready    string
	}{
		{"6.6 TestUpdateEndpointsMap no slices", nil, nil, "", false, "a=0 b=0"},
		{"6.6 TestUpdateEndpointsMap no change, unnamed port", []string{"a s :11 1"}, []string{"a s :11 1"}, "", false, "a=0 b=0"},
		{"6.6 TestUpdateEndpointsMap no change, named port, local", []string{"a s p11:11 1@"}, []string{"a s p11:11 1@"}, "", false, "a=1 b=0"},
		{"6.6 TestUpdateEndpointsMap no change, several slices", []string{"a s p11:11 1", "a t p12:12 2"}, []string{"a s p11:11 1", "a t p12:12 2"}, "", false, "a=0 b=0"},
		{"6.6 TestUpdateEndpointsMap no change, several slices and addresses", []string{"a s p11:11,p12:12 1@", "a t p11:11 2@"}, []string{"a s p11:11,p12:12 1@", "a t p11:11 2@"}, "", false, "a=2 b=0"},
		{"6.6 TestUpdateEndpointsMap add", nil, []string{"a s :11 1@"}, "a", true, "a=1 b=0"},
		{"6.6 TestUpdateEndpointsMap remove", []string{"a s :11 1@"}, nil, "a", true, "a=0 b=0"},
		{"6.6 TestUpdateEndpointsMap add an address and a port", []string{"a s p11:11 1"}, []string{"a s p11:11,p12:12 1 2@"}, "a", true, "a=1 b=0"},
		{"6.6 TestUpdateEndpointsMap remove an address and a port", []string{"a s p11:11,p12:12 1 2@"}, []string{"a s p11:11 1"}, "a", true, "a=0 b=0"},
		{"6.6 TestUpdateEndpointsMap add a slice", []string{"a s p11:11 1"}, []string{"a s p11:11 1", "a t p12:12 2@"}, "a", true, "a=1 b=0"},
		{"6.6 TestUpdateEndpointsMap remove a slice", []string{"a s p11:11 1", "a t p12:12 2@"}, []string{"a s p11:11 1"}, "a", true, "a=0 b=0"},
		{"6.6 TestUpdateEndpointsMap rename a port", []string{"a s p11:11 1"}, []string{"a s p12:11 1"}, "a", true, "a=0 b=0"},
		{"6.6 TestUpdateEndpointsMap renumber a port", []string{"a s p11:11 1"}, []string{"a s p11:22 1"}, "a", true, "a=0 b=0"},
		{"6.6 TestUpdateEndpointsMap complex", []string{"a s p11:11 1 2@", "b t :22 4@ 5@"}, []string{"a s p11:11 1", "a u p12:12 6@", "b t :22 5@"}, "a b", true, "a=1 b=1"},
		{"6.6 TestUpdateEndpointsMap first endpoint", []string{"a s p11:11"}, []string{"a s p11:11 1"}, "a", true, "a=0 b=0"},
		{"6.6 TestUpdateEndpointsMap an added endpoint causes no dump", []string{"a s p11:11 1"}, []string{"a s p11:11 1 2"}, "a", false, "a=0 b=0"},
		{"6.6 TestUpdateEndpointsMap ready to terminating", []string{"a s p11:11 1@ 2@"}, []string{"a s p11:11 1@+ 2@"}, "a", false, "a=1 b=0"},
		{"6.6 TestUpdateEndpointsMap terminating to removed", []string{"a s p11:11 1@+"}, []string{"a s p11:11"}, "a", true, "a=0 b=0"},
	} {
		t.Run(row.id, func(t *testing.T) {
			store := watchers.NewStore()
			resolver, err := nodelocal.NewResolver(store, nodelocal.Config{NodeName: "here"})
			require.NoError(t, err)
			defer resolver.Close()
			b, table := newFake()
			update := func(lines []string) (changed []string) {
				store.Update(func(tx *watchers.Tx) {
					tx.Retain(watchers.KindEndpointSlice, func(watchers.Key) bool { return false })
					tx.SetService(service("a", "10.96.0.1"))
					tx.SetService(service("b", "10.96.0.2"))
					for _, line := range lines {
						tx.SetEndpointSlice(parseSlice(t, line))
					}
				})
				resolver.Refresh()
				u := resolver.Pending()
				if u == nil {
					return nil
				}
				require.NoError(t, b.Sync(t.Context(), u))
				resolver.Acknowledge(u)
				for _, svc := range u.Changed {
					changed = append(changed, svc.Name.Name)
				}
				return changed
			}
			update(row.from)
			table.dumps = nil
			require.Equal(t, row.changed, strings.Join(update(row.to), " "))
			require.Equal(t, row.dumps, len(table.dumps) > 0)
			var ready []string
			for svc := range resolver.FullUpdate().All.All() {
				ready = append(ready, fmt.Sprintf("%s=%d", svc.Name.Name, svc.HealthCheck.LocalEndpoints))
			}
			require.Equal(t, row.ready, strings.Join(ready, " "))
		})
	}
}

// parseSlice reads an EndpointSlice in the notation of TestUpdateEndpointsMap.
func parseSlice(t *testing.T, line string) *watchers.EndpointSlice {
	words := strings.Fields(line)
	s := &watchers.EndpointSlice{Namespace: "ns", Name: words[1], Service: watchers.ServiceName{Namespace: "ns", Name: words[0]}, Family: watchers.FamilyIPv4}
	for p := range strings.SplitSeq(words[2], ",") {
		var number uint16
		name, rest, _ := strings.Cut(p, ":")
		_, err := fmt.Sscan(rest, &number)
		require.NoError(t, err)
		s.Ports = append(s.Ports, watchers.EndpointPort{Name: name, Protocol: localsink.ProtocolUDP, Port: number})
	}
	for _, e := range words[3:] {
		terminating := strings.HasSuffix(e, "+")
		endpoint := watchers.Endpoint{Addr: netip.MustParseAddr("10.0.0." + strings.Trim(e, "@+")), Ready: !terminating, Serving: true, Terminating: terminating}
		if strings.Contains(e, "@") {
			endpoint.Node = "here"
		}
		s.Endpoints = append(s.Endpoints, endpoint)
	}
	return s
}
