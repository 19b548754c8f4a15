// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func addrs(list string) (out []netip.Addr) {
	for s := range strings.FieldsSeq(list) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func networks(list string) (out []netip.Prefix) {
	for s := range strings.FieldsSeq(list) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// TestIN62NodeIPs checks the addresses of the node. Where kube-proxy falls back to a loopback
// address, the node has no address of that family.
func TestIN62NodeIPs(t *testing.T) {
	for _, row := range []struct{ node, bind, want string }{
		{"", "10.0.0.1", "10.0.0.1"},
		{"", "fd00:4321::2", "fd00:4321::2"},
		{"", "", ""},
		{"", "0.0.0.0", ""},
		{"", "::", ""},
		{"192.168.1.1", "0.0.0.0", "192.168.1.1"},
		{"192.168.1.1", "::", "192.168.1.1"},
		{"fd00:1234::1", "0.0.0.0", "fd00:1234::1"},
		{"fd00:1234::1", "::", "fd00:1234::1"},
		{"90.90.90.90 2001:db8::2", "::", "90.90.90.90 2001:db8::2"},
		{"2001:db8::2 90.90.90.90", "0.0.0.0", "2001:db8::2 90.90.90.90"},
		{"2001:db8::2 90.90.90.90", "80.80.80.80", "80.80.80.80 2001:db8::2"},
		{"90.90.90.90 2001:db8::2", "2001:db8::555", "2001:db8::555 90.90.90.90"},
		{"2001:db8::2 90.90.90.90", "127.0.0.1", "127.0.0.1 2001:db8::2"},
		{"90.90.90.90 2001:db8::2", "::1", "::1 90.90.90.90"},
		// The first address of each family is used; internal ones precede external ones.
		{"90.90.90.90 80.80.80.80 2001:db8::2 2001:db8::3", "", "90.90.90.90 2001:db8::2"},
		{"90.90.90.90 2001:db8::2", "::ffff:80.80.80.80", "80.80.80.80 2001:db8::2"},
	} {
		t.Run(fmt.Sprintf("6.7 detectNodeIPs IN-61 IN-62 node %q bound to %q", row.node, row.bind), func(t *testing.T) {
			cfg := nodelocal.Config{}
			if row.bind != "" {
				cfg.NodeIP = netip.MustParseAddr(row.bind)
			}
			var objects []watchers.Object
			if row.node != "" {
				objects = append(objects, &watchers.Node{Name: "node-1", IPs: addrs(row.node)}, &watchers.Node{Name: "node-2", IPs: addrs("7.7.7.7")})
			}
			require.Equal(t, addrs(row.want), newNode(t, cfg, objects...).node().IPs)
		})
	}
}

// TestIN80NodePortAddresses checks the networks on whose addresses node ports are served.
func TestIN80NodePortAddresses(t *testing.T) {
	const dual, four, six = "192.0.2.1 2001:db8::1", "192.0.2.1", "2001:db8::1"
	for _, row := range []struct{ id, entries, node, want string }{
		{"6.7 expandNodePortAddressKeywords IN-80 networks", "10.20.30.0/24 fd00::/8", dual, "10.20.30.0/24 fd00::/8"},
		{"6.7 expandNodePortAddressKeywords IN-80 primary", "primary", dual, "192.0.2.1/32 2001:db8::1/128"},
		{"6.7 expandNodePortAddressKeywords IN-82 primary, one family", "primary", four, "192.0.2.1/32"},
		{"6.7 expandNodePortAddressKeywords IN-82 primary, other family", "primary", six, "2001:db8::1/128"},
		{"6.7 expandNodePortAddressKeywords IN-80 localhost", "localhost", dual, "127.0.0.0/8 ::1/128"},
		{"6.7 expandNodePortAddressKeywords IN-80 localhost, no node", "localhost", "", "127.0.0.0/8 ::1/128"},
		{"6.7 expandNodePortAddressKeywords IN-80 all", "all", dual, "0.0.0.0/0 ::/0"},
		{"6.7 expandNodePortAddressKeywords IN-80 all and primary", "primary all", dual, "0.0.0.0/0 ::/0"},
		{"6.7 expandNodePortAddressKeywords IN-80 primary and localhost", "primary localhost", dual, "127.0.0.0/8 192.0.2.1/32 ::1/128 2001:db8::1/128"},
		{"6.7 expandNodePortAddressKeywords IN-80 localhost and a network", "localhost 10.0.0.0/8", dual, "10.0.0.0/8 127.0.0.0/8 ::1/128"},
		{"6.7 NodePortAddresses IN-82 IPv6 is not listed", "10.20.30.0/24", dual, "10.20.30.0/24 ::/0"},
		{"6.7 NodePortAddresses IN-82 IPv4 is not listed", "fd00::/8 ::1/128", dual, "0.0.0.0/0 ::1/128 fd00::/8"},
		{"6.7 NodePortAddresses IN-82 zero network", "10.0.0.0/8 0.0.0.0/0", dual, "0.0.0.0/0 ::/0"},
		{"6.7 NodePortAddresses IN-82 zero network of each", "0.0.0.0/0 fd00::/8 ::/0", dual, "0.0.0.0/0 ::/0"},
		{"6.7 NodePortAddresses IN-82 zero network and primary", "0.0.0.0/0 primary", dual, "0.0.0.0/0 2001:db8::1/128"},
		{"6.7 NodePortAddresses IN-80 several", "127.0.0.1/32 10.0.0.0/8 10.0.0.0/8 192.0.2.0/24", dual, "10.0.0.0/8 127.0.0.1/32 192.0.2.0/24 ::/0"},
		{"6.7 NodePortAddresses IN-80 host bits", "10.1.2.3/8 ::/0", dual, "10.0.0.0/8 ::/0"},
		{"6.7 NodePortAddresses IN-80 IN-81 no entries", "", dual, "192.0.2.1/32 2001:db8::1/128"},
		{"6.7 NodePortAddresses IN-82 no entries, no known address", "", "", ""},
		{"6.7 NodePortAddresses IN-80 primary is never a loopback address", "primary", "127.0.0.1 ::1", ""},
		{"6.7 NodePortAddresses IN-80 primary beside a network", "primary 10.0.0.0/8", dual, "10.0.0.0/8 192.0.2.1/32 2001:db8::1/128"},
	} {
		t.Run(row.id, func(t *testing.T) {
			var objects []watchers.Object
			if row.node != "" {
				objects = append(objects, &watchers.Node{Name: "node-1", IPs: addrs(row.node)})
			}
			cfg := nodelocal.Config{NodePortAddresses: strings.Fields(row.entries)}
			require.Equal(t, networks(row.want), newNode(t, cfg, objects...).node().NodePortAddresses)
		})
	}
	for entries, want := range map[string]string{
		"primary 10.0.0.0/8 primary": `NodePortAddresses[2]: "primary" is given twice`,
		"all all":                    `NodePortAddresses[1]: "all" is given twice`,
		"localhost localhost":        `NodePortAddresses[1]: "localhost" is given twice`,
		"10.0.0.0/8 everything":      `NodePortAddresses[1]: "everything" is neither a network nor one of primary, localhost, all`,
		"10.0.0.1":                   `NodePortAddresses[0]: "10.0.0.1" is neither`,
	} {
		t.Run("IN-80 invalid: "+entries, func(t *testing.T) {
			_, err := nodelocal.NewResolver(watchers.NewStore(), nodelocal.Config{NodeName: "n", NodePortAddresses: strings.Fields(entries)})
			require.ErrorContains(t, err, want)
		})
	}
}

// TestPodDetection checks the sources by which packets of local pods are recognised.
func TestPodDetection(t *testing.T) {
	type d = nodelocal.PodDetection
	nets := func(list string) localsink.PodSources { return localsink.PodSources{Networks: networks(list)} }
	const long = "an-interface-name-that-no-kernel-has"
	for _, row := range []struct {
		id       string
		in       d
		podCIDRs string
		want     localsink.PodSources
	}{
		{"6.7 getLocalDetectors IN-70 nothing", d{}, "10.1.0.0/24", nets("")},
		{"6.7 getLocalDetectors ClusterCIDR IPv4", d{ClusterCIDRs: networks("10.0.0.0/14")}, "", nets("10.0.0.0/14")},
		{"6.7 getLocalDetectors ClusterCIDR IPv6", d{ClusterCIDRs: networks("2002:0:0:1234::/64")}, "", nets("2002:0:0:1234::/64")},
		{"6.7 getLocalDetectors ClusterCIDR dual", d{ClusterCIDRs: networks("10.0.0.0/14 2002::/64")}, "", nets("10.0.0.0/14 2002::/64")},
		{"6.7 getLocalDetectors ClusterCIDR reversed", d{ClusterCIDRs: networks("2002::/64 10.0.0.0/14")}, "", nets("2002::/64 10.0.0.0/14")},
		{"6.7 getLocalDetectors ClusterCIDR the first of each family", d{ClusterCIDRs: networks("10.0.0.0/14 10.9.0.0/16 2002::/64 2003::/64")}, "", nets("10.0.0.0/14 2002::/64")},
		{"6.7 getLocalDetectors ClusterCIDR host bits", d{ClusterCIDRs: networks("10.1.2.3/8")}, "", nets("10.0.0.0/8")},
		{"6.7 getLocalDetectors NodeCIDR IPv4", d{NodeCIDR: true}, "10.0.0.0/24", nets("10.0.0.0/24")},
		{"6.7 getLocalDetectors NodeCIDR IPv6", d{NodeCIDR: true}, "2002::/96", nets("2002::/96")},
		{"6.7 getLocalDetectors NodeCIDR dual", d{NodeCIDR: true}, "10.0.0.0/24 2002::/96", nets("10.0.0.0/24 2002::/96")},
		{"6.7 getLocalDetectors NodeCIDR reversed", d{NodeCIDR: true}, "2002::/96 10.0.0.0/24", nets("2002::/96 10.0.0.0/24")},
		{"6.7 getLocalDetectors NodeCIDR several of a family", d{NodeCIDR: true}, "10.0.0.0/24 10.0.1.0/24", nets("10.0.0.0/24 10.0.1.0/24")},
		{"6.7 getLocalDetectors IN-70 NodeCIDR none", d{NodeCIDR: true}, "", nets("")},
		{"6.7 getLocalDetectors BridgeInterface", d{Interface: "eth"}, "10.1.0.0/24", localsink.PodSources{Interface: "eth"}},
		{"6.7 getLocalDetectors BridgeInterface too long", d{Interface: long}, "", localsink.PodSources{Interface: long}},
		{"6.7 getLocalDetectors InterfaceNamePrefix", d{InterfacePrefix: "eth"}, "10.1.0.0/24", localsink.PodSources{InterfacePrefix: "eth"}},
		{"6.7 getLocalDetectors InterfaceNamePrefix too long", d{InterfacePrefix: long}, "", localsink.PodSources{InterfacePrefix: long}},
	} {
		t.Run(row.id, func(t *testing.T) {
			n := newNode(t, nodelocal.Config{LocalPods: row.in}, &watchers.Node{Name: "node-1", PodCIDRs: networks(row.podCIDRs)})
			require.Equal(t, row.want, n.node().LocalPods)
		})
	}
	for _, invalid := range []d{{NodeCIDR: true, Interface: "x"}, {ClusterCIDRs: networks("10.0.0.0/8"), InterfacePrefix: "x"}, {Interface: "x", InterfacePrefix: "x"}} {
		_, err := nodelocal.NewResolver(watchers.NewStore(), nodelocal.Config{NodeName: "n", LocalPods: invalid})
		require.ErrorContains(t, err, "LocalPods: at most one of ClusterCIDRs, NodeCIDR, Interface and InterfacePrefix may be set")
	}
	_, err := nodelocal.NewResolver(watchers.NewStore(), nodelocal.Config{NodeName: "n", LocalPods: d{ClusterCIDRs: make([]netip.Prefix, 1)}})
	require.ErrorContains(t, err, "LocalPods.ClusterCIDRs[0]: invalid network")
}

// TestIN70PodDetectionByFamily: local pods are recognised in the families that have a pod
// network, and by their interface in both families.
func TestIN70PodDetectionByFamily(t *testing.T) {
	dual := service(func(s *watchers.Service) {
		s.ClusterIPs = addrs("10.96.0.1 fd00:96::1")
		s.IPFamilies = []watchers.IPFamily{watchers.FamilyIPv4, watchers.FamilyIPv6}
	})
	six := slice(t, "six", "fd00::1 R")
	six.Family = watchers.FamilyIPv6
	for _, row := range []struct {
		id       string
		in       nodelocal.PodDetection
		v4, v6   int // number of routes of the cluster IP: 1 where local pods are not recognised
		podCIDRs string
	}{
		{"IN-70 nothing", nodelocal.PodDetection{}, 1, 1, ""},
		{"IN-70 IPv4", nodelocal.PodDetection{ClusterCIDRs: networks("10.0.0.0/8")}, 2, 1, ""},
		{"IN-70 IPv6", nodelocal.PodDetection{NodeCIDR: true}, 1, 2, "fd00::/64"},
		{"IN-70 both", nodelocal.PodDetection{NodeCIDR: true}, 2, 2, "fd00::/64 10.0.0.0/24"},
		{"IN-70 interface", nodelocal.PodDetection{Interface: "cni0"}, 2, 2, ""},
		{"IN-70 prefix", nodelocal.PodDetection{InterfacePrefix: "cali"}, 2, 2, ""},
	} {
		t.Run(row.id, func(t *testing.T) {
			n := newNode(t, nodelocal.Config{LocalPods: row.in}, dual, slice(t, "four", "10.0.0.1 R"), six,
				&watchers.Node{Name: "node-1", PodCIDRs: networks(row.podCIDRs)})
			fronts := n.get(name()).Ports[0].Frontends
			require.Len(t, fronts, 2)
			for _, fe := range fronts {
				if fe.Addr.Addr().Is4() {
					require.Len(t, fe.Routes, row.v4)
				} else {
					require.Len(t, fe.Routes, row.v6)
				}
			}
		})
	}
}

// TestIN64Zone: the zone is the only label of the Node that is used; other nodes are ignored.
func TestIN64Zone(t *testing.T) {
	object := func(name string, labels map[string]string) watchers.Object {
		o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: "InternalIP", Address: "192.0.2.1"}}}}
		converted, err := kubeapi.Filter{}.Object(o)
		require.NoError(t, err)
		return converted
	}
	const zone = "topology.kubernetes.io/zone"
	n := newNode(t, nodelocal.Config{}, service(), slice(t, "a", "10.0.0.1 R zA", "10.0.0.2 R zB"), object("node-1", map[string]string{zone: "A"}))
	for _, row := range []struct {
		id, node string
		labels   map[string]string
		update   bool
		want     string
	}{
		{"IN-64 region, host name and type", "node-1", map[string]string{zone: "A", "topology.kubernetes.io/region": "r", "kubernetes.io/hostname": "h", "node.kubernetes.io/instance-type": "t", "kubernetes.io/os": "linux"}, false, ".1"},
		{"IN-64 these labels are removed", "node-1", map[string]string{zone: "A"}, false, ".1"},
		{"IN-03 IN-64 another node", "node-2", map[string]string{zone: "B"}, false, ".1"},
		{"IN-64 the zone changes", "node-1", map[string]string{zone: "B"}, true, ".2"},
		{"IN-64 the zone is removed", "node-1", nil, true, ".1.2"},
		{"IN-64 the zone is added", "node-1", map[string]string{zone: "A"}, true, ".1"},
	} {
		t.Run(row.id, func(t *testing.T) {
			n.set(object(row.node, row.labels))
			u := n.update()
			require.Equal(t, row.update, u != nil)
			if u != nil {
				require.False(t, u.NodeChanged, "the zone is not part of the node that sinks receive")
				require.Len(t, u.Changed, 1)
			}
			require.Equal(t, row.want, last(n.get(name()).Ports[0].Pools[0].Endpoints))
		})
	}
}

// TestNodeChangesTakeEffect: changes for which kube-proxy exits are part of the next update.
func TestNodeChangesTakeEffect(t *testing.T) {
	n := newNode(t, nodelocal.Config{LocalPods: nodelocal.PodDetection{NodeCIDR: true}}, service(), slice(t, "a", "10.0.0.1 R"))
	for _, row := range []struct {
		id      string
		object  *watchers.Node
		changed bool
	}{
		{"6.7 NodeManager IN-60 the Node is added", &watchers.Node{Name: "node-1", IPs: addrs("192.0.2.1"), PodCIDRs: networks("10.1.0.0/24")}, true},
		{"6.7 NodeManager IN-63 the same again", &watchers.Node{Name: "node-1", IPs: addrs("192.0.2.1"), PodCIDRs: networks("10.1.0.0/24")}, false},
		{"6.7 NodeManager IN-63 a second address of the family", &watchers.Node{Name: "node-1", IPs: addrs("192.0.2.1 192.0.2.7"), PodCIDRs: networks("10.1.0.0/24")}, false},
		{"6.7 NodeManager IN-63 another address", &watchers.Node{Name: "node-1", IPs: addrs("192.0.2.2"), PodCIDRs: networks("10.1.0.0/24")}, true},
		{"6.7 NodeManager IN-63 another pod network", &watchers.Node{Name: "node-1", IPs: addrs("192.0.2.2"), PodCIDRs: networks("10.2.0.0/24")}, true},
		{"6.7 NodeManager IN-63 being deleted concerns load balancers only", &watchers.Node{Name: "node-1", Deleting: true, IPs: addrs("192.0.2.2"), PodCIDRs: networks("10.2.0.0/24")}, true},
	} {
		t.Run(row.id, func(t *testing.T) {
			n.set(row.object)
			u := n.update()
			require.Equal(t, row.changed, u != nil)
			require.True(t, u == nil || u.NodeChanged)
			if row.object.Deleting {
				require.True(t, u.Node.Deleting)
				require.Empty(t, u.Changed, "Services of a node that is being deleted do not change")
			}
		})
	}
	t.Run("6.7 NodeManager IN-63 the Node is deleted", func(t *testing.T) {
		n.store.Update(func(tx *watchers.Tx) { tx.DeleteNode("node-1") })
		u := n.update()
		require.Nil(t, u, "the Node was being deleted before, and remains as it is known")
	})
	t.Run("6.7 NodeManager pod networks that are not used", func(t *testing.T) {
		n := newNode(t, nodelocal.Config{}, &watchers.Node{Name: "node-1", PodCIDRs: networks("10.1.0.0/24")})
		n.set(&watchers.Node{Name: "node-1", PodCIDRs: networks("10.2.0.0/24")})
		require.Nil(t, n.update())
	})
}
