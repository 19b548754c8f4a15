// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func TestNode(t *testing.T) {
	now := metav1.Now()
	type address = corev1.NodeAddress
	cases := []struct {
		id       string
		change   func(*corev1.Node)
		want     watchers.Node
		problems []string
	}{
		{id: "IN-61 addresses", change: func(n *corev1.Node) {
			n.Status.Addresses = []address{{Type: "Hostname", Address: "n1"}, {Type: "ExternalIP", Address: "192.0.2.1"}, {Type: "InternalIP", Address: "2001:db8::1"},
				{Type: "InternalIP", Address: "nope"}, {Type: "InternalIP", Address: ""}, {Type: "InternalIP", Address: "010.0.0.1"}, {Type: "Odd", Address: "10.0.0.9"}}
		}, want: watchers.Node{IPs: addrs("2001:db8::1", "10.0.0.1", "192.0.2.1")},
			problems: []string{`status.addresses[3].address: "nope" is not an IP address; ignored`}},
		{id: "IN-64 zone", change: func(n *corev1.Node) {
			n.Labels = map[string]string{"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "a": "b"}
		}, want: watchers.Node{Zone: "z"}},
		{id: "pod CIDRs", change: func(n *corev1.Node) {
			n.Spec.PodCIDR, n.Spec.PodCIDRs = "10.9.0.0/24", []string{"10.1.0.0/24", "x", "2001:db8::/64"}
		}, want: watchers.Node{PodCIDRs: prefixes("10.1.0.0/24", "2001:db8::/64")},
			problems: []string{`spec.podCIDRs[1]: "x" is not a network in CIDR notation; ignored`}},
		{id: "podCIDR without podCIDRs", change: func(n *corev1.Node) { n.Spec.PodCIDR = "10.9.0.0/24" },
			want: watchers.Node{PodCIDRs: prefixes("10.9.0.0/24")}},
		{id: "invalid podCIDR without podCIDRs", change: func(n *corev1.Node) { n.Spec.PodCIDR = "x" },
			problems: []string{`spec.podCIDR: "x" is not a network in CIDR notation; ignored`}},
		{id: "HC-04 deletion", change: func(n *corev1.Node) { n.DeletionTimestamp = &now }, want: watchers.Node{Deleting: true}},
		{id: "HC-04 autoscaler", change: func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "a"}, {Key: "ToBeDeletedByClusterAutoscaler"}}
		},
			want: watchers.Node{Deleting: true}},
		{id: "HC-04 other taints", change: func(n *corev1.Node) {
			n.Spec.Taints, n.Spec.Unschedulable = []corev1.Taint{{Key: "node.kubernetes.io/not-ready"}}, true
		}},
	}
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) {
			in := node(c.change)
			before := in.DeepCopy()
			got := kubeapi.Node(in)
			require.Equal(t, c.problems, fieldMessages(t, "Node n1", got.Problems))
			got.Problems, c.want.Name = nil, "n1"
			require.Equal(t, c.want, *got)
			require.Equal(t, before, in, "IN-08: the API object is not modified")
		})
	}
}
