// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// A tableContent is what nft lists of a table: rules by chain and elements by set. It leaves out
// what depends on history: slots, affinity entries and affinity indexes.
type tableContent struct {
	rules map[string][]string
	sets  map[string][]string
}

func listTable(t testing.TB, ns *netnstest.Namespace, family, table string) tableContent {
	t.Helper()
	text, err := ns.Command("nft", "list", "table", family, table)
	require.NoError(t, err)
	require.NotContains(t, text, "invalid type")
	out, err := ns.Command("nft", "-j", "list", "table", family, table)
	require.NoError(t, err)
	var list struct {
		Nftables []struct {
			Map, Set *struct {
				Name string
				Elem []json.RawMessage
			}
			Chain *struct{ Name string }
			Rule  *struct {
				Chain string
				Expr  json.RawMessage
			}
		}
	}
	out = out[strings.Index(out, "{"):] // after warnings
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	c := tableContent{rules: map[string][]string{}, sets: map[string][]string{}}
	digests := map[string]string{}
	for _, o := range list.Nftables {
		if o.Map != nil && strings.HasPrefix(o.Map.Name, prefixIndex+prefixConsistent) {
			name := strings.TrimPrefix(o.Map.Name, prefixIndex)
			for _, values := range list.Nftables {
				if values.Map != nil && values.Map.Name == prefixEndpoints+name {
					digests[name] = digestOfTable(t, o.Map.Elem, values.Map.Elem)
				}
			}
		}
	}
	number := regexp.MustCompile(`\bconsistent-\d+`) // depends on history
	withDigests := func(s string) string {
		return number.ReplaceAllStringFunc(s, func(name string) string { return digests[name] })
	}
	for _, o := range list.Nftables {
		set := o.Map
		if set == nil {
			set = o.Set
		}
		switch {
		case set != nil:
			if number.MatchString(set.Name) {
				c.sets[withDigests(set.Name)] = []string{"in its digest"}
				continue
			}
			name := withoutSuffix.ReplaceAllString(set.Name, "$1")
			require.NotContains(t, c.sets, name)
			c.sets[name] = []string{}
			for _, e := range set.Elem {
				if !strings.HasPrefix(name, prefixAffinity) && !strings.HasPrefix(name, prefixIndex) {
					c.sets[name] = append(c.sets[name], withDigests(withoutSlot(t, name, e)))
				}
			}
			slices.Sort(c.sets[name])
		case o.Chain != nil:
			c.rules[withDigests(o.Chain.Name)] = []string{}
		case o.Rule != nil:
			chain := withDigests(o.Rule.Chain)
			c.rules[chain] = append(c.rules[chain], withDigests(withoutSuffix.ReplaceAllString(string(o.Rule.Expr), "$1")))
		}
	}
	return c
}

// digestOfTable returns a digest of the endpoint of each slot of a table of consistent selection.
func digestOfTable(t testing.TB, index, values []json.RawMessage) string {
	endpoints := map[string]string{}
	for _, e := range values {
		var pair []json.RawMessage
		require.NoError(t, json.Unmarshal(withCounter.ReplaceAll(e, []byte("$1")), &pair))
		endpoints[string(pair[0])] = string(pair[1])
	}
	var slots []string
	for _, e := range index {
		var pair []json.RawMessage
		require.NoError(t, json.Unmarshal(e, &pair))
		require.Contains(t, endpoints, string(pair[1]))
		slots = append(slots, string(pair[0])+endpoints[string(pair[1])])
	}
	slices.Sort(slots)
	h := sha256.Sum256([]byte(strings.Join(slots, "\n")))
	return "consistent-" + hex.EncodeToString(h[:8])
}

// withoutSuffix matches the names of maps of a port with affinity, which have two alternatives.
var withoutSuffix = regexp.MustCompile(`\b((?:affinity|endpoints|index)-[\w.-]+)-[ab]\b`)

// sharedEndpointMap matches the names of endpoint maps that Services share.
var sharedEndpointMap = regexp.MustCompile(`^endpoints-(service|nodeport)-pool\d-max\d+$`)

// withCounter matches an element with a counter.
var withCounter = regexp.MustCompile(`\{"elem": \{"val": (.*?), "counter": \{"packets": \d+, "bytes": \d+\}\}\}`)

// withoutSlot returns the text of an element, without its counter and the slot of an endpoint.
func withoutSlot(t testing.TB, set string, e json.RawMessage) string {
	e = withCounter.ReplaceAll(e, []byte("$1"))
	switch {
	case sharedEndpointMap.MatchString(set):
		var pair []struct{ Concat []any }
		require.NoError(t, json.Unmarshal(e, &pair))
		key := pair[0].Concat
		return fmt.Sprint(key[:len(key)-1], pair[1].Concat)
	case strings.HasPrefix(set, prefixEndpoints):
		var pair []json.RawMessage
		require.NoError(t, json.Unmarshal(e, &pair))
		return string(pair[1])
	}
	return string(e)
}

// nonEmpty returns the sets with elements. Empty sets depend on history.
func (c tableContent) nonEmpty() map[string][]string {
	used := map[string][]string{}
	for name, elements := range c.sets {
		if len(elements) > 0 {
			used[name] = elements
		}
	}
	return used
}

// listing returns the listing of nft in one line, without comments and without the counts
// that some versions add. It checks that each chain, map and set has a comment.
func listing(t *testing.T, ns *netnstest.Namespace, family string) string {
	text, err := ns.Command("nft", "list", "table", family, "kpng")
	require.NoError(t, err)
	objects := regexp.MustCompile(`(?m)^\t(chain|map|set) `).FindAllString(text, -1)
	comments := regexp.MustCompile(`(?m)^\t\tcomment "[^"]+"$`).FindAllString(text, -1)
	require.Len(t, comments, len(objects), "comments of chains, maps and sets")
	require.Contains(t, text, `comment "`+commentTable+`"`)
	text = strings.Join(strings.Fields(text), " ")
	return regexp.MustCompile(`# count \d+ |comment "[^"]+" `).ReplaceAllString(text, "")
}

func TestNftListsTable(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	s := newService("web", localsink.Port{Pools: []localsink.Pool{newLocalPool("10.244.0.9:8080", "10.244.0.10:8080"), newLocalPool("10.244.0.9:8080"), {}},
		Frontends: []localsink.Frontend{
			newFrontend(localsink.KindClusterIP, "10.96.0.1:80", localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Masquerade: true}),
			newFrontend(localsink.KindNodePort, "0.0.0.0:30080", localsink.Route{From: localsink.FromLocalPods},
				localsink.Route{From: localsink.FromThisNode, Masquerade: true}, localsink.Route{Pool: 1}),
			newFrontend(localsink.KindExternalIP, "198.51.100.1:80", localsink.Route{Pool: 2, EmptyVerdict: localsink.VerdictDrop}),
			newFrontend(localsink.KindLoadBalancer, "198.51.100.2:80", localsink.Route{Pool: 2}),
		}})
	s.Ports[0].Frontends[3].SourceRanges = []netip.Prefix{netip.MustParsePrefix("203.0.113.9/24"), netip.MustParsePrefix("203.0.113.77/32")}
	n := testNode()
	n.LocalPods = localsink.PodSources{Networks: n.LocalPods.Networks, Interface: "br0", InterfacePrefix: "veth"}
	n.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("127.0.0.0/8")}
	require.NoError(t, b.Sync(context.Background(), firstUpdate(n, s)))
	_, err := ns.Command("nft", "list", "ruleset")
	require.NoError(t, err)
	text := listing(t, ns, "ip")
	for _, part := range []string{
		"198.51.100.1 . tcp . 80 : goto drop-chain",
		"198.51.100.2 . tcp . 80 : goto reject-chain",
		"10.96.0.1 . tcp . 80 : goto dispatch-service.pods-pool1-2.any-masq-pool1-2",
		"tcp . 30080 : goto dispatch-nodeport.pods-pool1-2.node-masq-pool1-2.any-pool2-1",
		"10.96.0.1 . tcp . 80 . 1 : 10.244.0.10 . 8080",
		"tcp . 30080 . 0 : 10.244.0.9 . 8080",
		"elements = { 10.96.0.1 }",
		"10.244.0.9 . 10.244.0.9",
		"chain loadbalance-service-pool1-3 { dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints-service-pool1-max8 }",
		"chain dispatch-service.pods-pool1-2.any-masq-pool1-2 { ip saddr 10.244.0.0/16 goto loadbalance-service-pool1-2 iifname \"br0\" goto loadbalance-service-pool1-2 " +
			"iifname \"veth*\" goto loadbalance-service-pool1-2 meta mark set meta mark | 0x00004000 goto loadbalance-service-pool1-2 }",
		"fib saddr type local meta mark set meta mark | 0x00004000 goto loadbalance-nodeport-pool1-2",
		"{ ip saddr 203.0.113.0/24 return ip saddr 203.0.113.77 return drop }",
		"ip daddr . meta l4proto . th dport vmap @firewall-ips ip daddr . meta l4proto . th dport vmap @service-ips " +
			"ip daddr != 127.0.0.0/8 fib daddr type local jump nodeports " +
			"ip daddr 192.0.2.1 fib daddr type local jump nodeports }",
		"chain cluster-ips-check-prerouting { type nat hook prerouting priority dstnat + 10; policy accept; jump services ip daddr @cluster-ips goto reject-chain }",
		"ct status dnat ip saddr . ip daddr @hairpin-connections masquerade fully-random",
		"meta mark & 0x00004000 != 0x00000000 meta mark set meta mark ^ 0x00004000 masquerade fully-random",
	} {
		require.Contains(t, text, part, "%s\nis not in\n%s", part, text)
	}
}

func TestNftListsAffinity(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	for _, ip := range ipFamilies() {
		require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), affinityService(ip, 3*time.Hour, 0, 1, 2))))
		family := map[string]string{"IPv4": "ip", "IPv6": "ip6"}[ip.name]
		text := strings.ReplaceAll(listing(t, ns, family), affinityIDOf(affinityService(ip, 1), 0), "ID")
		for _, part := range []string{
			" . tcp . 80 : goto dispatch-service.ID.any-pool1",
			" . tcp . 80 : goto dispatch-service.ID.any-masq-pool1",
			"tcp . 30080 : goto dispatch-nodeport.ID.pods-pool1.any-masq-pool1",
			"map affinity-ID-a { type ipv4_addr : classid size 65536 flags dynamic,timeout timeout 3h }",
			"map endpoints-ID-pool1-a { type classid : ipv4_addr . inet_service size 32 elements = { none : 10.244.0.10 . 8080, ",
			"chain affinity-ID-pool1 { update @affinity-ID-a { ip saddr : numgen random mod 3 } " +
				"meta l4proto tcp meta priority set ip saddr map @affinity-ID-a meta priority set meta priority dnat ip to meta priority map @endpoints-ID-pool1-a " +
				"meta l4proto tcp meta priority set numgen random mod 3 meta priority set meta priority dnat ip to meta priority map @endpoints-ID-pool1-a }",
			"chain dispatch-service.ID.any-masq-pool1 { meta mark set meta mark | 0x00004000 goto affinity-ID-pool1 }",
		} {
			if family == "ip6" {
				part = strings.NewReplacer("ipv4", "ipv6", "ip saddr", "ip6 saddr", "dnat ip", "dnat ip6", "10.244.0.10 .", "fd00:244::10 .").Replace(part)
			}
			require.Contains(t, text, part, "%s\nis not in\n%s", part, text)
		}
		listTable(t, ns, family, "kpng")
	}
	// Two pools, of which neither contains the other, and the longest timeout.
	ip := ipFamilies()[0]
	s := affinityService(ip, math.MaxInt64, 0, 1, 2)
	s.Ports[0].Pools = append(s.Ports[0].Pools[:1:1], newLocalPool(ip.pod(2), ip.pod(3)))
	s.Ports[0].Frontends[2].Routes[0].Pool = 1
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), s)))
	text := strings.ReplaceAll(listing(t, ns, "ip"), affinityIDOf(s, 0), "ID")
	random := func(n int) string {
		return fmt.Sprintf("meta l4proto tcp meta priority set numgen random mod %d meta priority set meta priority ", n)
	}
	replace := "delete @affinity-ID-a { ip saddr : meta priority } update @affinity-ID-a { ip saddr : meta priority } "
	held := "meta l4proto tcp meta priority set ip saddr map @affinity-ID-a meta priority set meta priority "
	for _, part := range []string{
		"map index-ID-pool1-a { type classid : classid size 32 elements = { none : none, 0:1 : 0:2, 0:2 : 0:3 } }",
		"chain affinity-ID-pool1 { meta priority set numgen random mod 3 meta priority set meta priority " +
			"meta priority set meta priority map @index-ID-pool1-a meta priority set meta priority update @affinity-ID-a { ip saddr : meta priority } " +
			held + "dnat ip to meta priority map @endpoints-ID-pool1-a ",
		"chain affinity-ID-pool2 { update @affinity-ID-a { ip saddr : numgen random mod 2 } " +
			held + "dnat ip to meta priority map @endpoints-ID-pool2-a " +
			random(2) + replace + "dnat ip to meta priority map @endpoints-ID-pool2-a " +
			random(2) + "dnat ip to meta priority map @endpoints-ID-pool2-a }",
	} {
		require.Contains(t, text, part, "%s\nis not in\n%s", part, text)
	}
	listTable(t, ns, "ip", "kpng")
}
