// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// TestIN29ExternalIPsAreDisabledByRestart: an external IP that is the cluster IP, or the load
// balancer address, of another Service never takes it, whatever the setting and the order of
// creation; the owner is the same before and after a restart with the other setting.
func TestIN29ExternalIPsAreDisabledByRestart(t *testing.T) {
	thief := service(func(s *watchers.Service) { // the oldest, because it has no creation time
		s.Name.Name, s.ClusterIP = "a-thief", addrs("10.96.0.66")[0]
		s.ExternalIPs = addrs("10.96.0.1 192.0.2.50")
	})
	victim := service()
	stolen := slice(t, "a-thief", "10.1.0.66 R")
	stolen.Service = thief.Name
	const served = "ns/svc\n  port \"\" TCP\n    ClusterIP 10.96.0.1:80\n      Any -> 10.1.0.1:80\n"
	for _, disabled := range []bool{false, true, false} {
		n := newNode(t, nodelocal.Config{IgnoreExternalIPs: disabled}, thief, stolen, victim, slice(t, "s", "10.1.0.1 R"))
		u := n.resolver.FullUpdate()
		require.NoError(t, sinktest.Check(u.Node, u.All))
		require.Equal(t, served, n.get(name()).Text())
		got := n.get(thief.Name)
		problem := "spec.externalIPs: ExternalIP 10.96.0.1:80 TCP belongs to Service ns/svc; ignored"
		frontends := 2
		if disabled {
			problem, frontends = "spec.externalIPs: [10.96.0.1 192.0.2.50]: external IPs are disabled", 1
		}
		require.Len(t, got.Ports[0].Frontends, frontends)
		require.Len(t, got.Problems, 1)
		require.Contains(t, got.Problems[0].String(), problem)

		n.store.Update(func(tx *watchers.Tx) { tx.DeleteService(name()) })
		n.update()
		require.Len(t, n.get(thief.Name).Ports[0].Frontends, map[bool]int{false: 3, true: 1}[disabled], "the address is free")
	}
}
