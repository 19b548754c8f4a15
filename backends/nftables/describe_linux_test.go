// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestDescribe(t *testing.T) {
	s := newService("web", localsink.Port{Pools: []localsink.Pool{newLocalPool("10.244.0.9:8080", "10.244.0.10:8080"), {}},
		Frontends: []localsink.Frontend{
			newFrontend(localsink.KindClusterIP, "10.96.0.1:80"),
			newFrontend(localsink.KindNodePort, "0.0.0.0:30080", localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Pool: 1, EmptyVerdict: localsink.VerdictDrop}),
		}})
	text, err := Describe(Config{}, firstUpdate(testNode(), s))
	require.NoError(t, err)
	require.Equal(t, `table ip kpng {
  service-ips
    10.96.0.1 . tcp . 80 : goto loadbalance-service-pool1-2
  service-nodeports
    tcp . 30080 : goto dispatch-nodeport.pods-pool1-2.any-drop
  cluster-ips
    10.96.0.1
  hairpin-connections
    10.244.0.10
    10.244.0.9
  endpoints-service-pool1-max8
    10.96.0.1 . tcp . 80 . slot 0 : 10.244.0.9:8080
    10.96.0.1 . tcp . 80 . slot 1 : 10.244.0.10:8080
  endpoints-nodeport-pool1-max8
    tcp . 30080 . slot 0 : 10.244.0.9:8080
    tcp . 30080 . slot 1 : 10.244.0.10:8080
}
`, text)
	_, err = Describe(Config{Table: "1"}, firstUpdate(testNode(), s))
	require.ErrorContains(t, err, "Config.Table")
}

func TestDescribeAffinity(t *testing.T) {
	s := newService("web", localsink.Port{Affinity: time.Hour, Pools: []localsink.Pool{newLocalPool("10.244.0.9:8080", "10.244.0.10:8080"), newLocalPool("10.244.0.10:8080", "10.244.0.11:8080"), newLocalPool("10.244.0.9:8080", "10.244.0.11:8080")},
		Frontends: []localsink.Frontend{
			newFrontend(localsink.KindClusterIP, "10.96.0.1:80"),
			newFrontend(localsink.KindNodePort, "0.0.0.0:30080", localsink.Route{From: localsink.FromLocalPods, Pool: 2}, localsink.Route{Pool: 1}),
		}})
	text, err := Describe(Config{}, firstUpdate(testNode(), s))
	require.NoError(t, err)
	require.Equal(t, `table ip kpng {
  service-ips
    10.96.0.1 . tcp . 80 : goto dispatch-service.web-0ce5f153508a1c09.any-pool1
  service-nodeports
    tcp . 30080 : goto dispatch-nodeport.web-0ce5f153508a1c09.pods-pool3.any-pool2
  cluster-ips
    10.96.0.1
  hairpin-connections
    10.244.0.10
    10.244.0.11
    10.244.0.9
  endpoints-web-0ce5f153508a1c09-pool1-a
    slot 0 : 10.244.0.9:8080
    slot 1 : 10.244.0.10:8080
  endpoints-web-0ce5f153508a1c09-pool2-a
    slot 1 : 10.244.0.10:8080
    slot 2 : 10.244.0.11:8080
  index-web-0ce5f153508a1c09-pool2-a
    0 : slot 1
    1 : slot 2
  endpoints-web-0ce5f153508a1c09-pool3-a
    slot 0 : 10.244.0.9:8080
    slot 2 : 10.244.0.11:8080
  index-web-0ce5f153508a1c09-pool3-a
    0 : slot 0
    1 : slot 2
}
`, text)
}
