package nftables

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestDescribe(t *testing.T) {
	s := serviceOf("web", localsink.Port{Pools: []localsink.Pool{poolOf("10.244.0.9:8080", "10.244.0.10:8080"), {}},
		Frontends: []localsink.Frontend{
			frontend(localsink.ClusterIP, "10.96.0.1:80"),
			frontend(localsink.NodePort, "0.0.0.0:30080", localsink.Route{From: localsink.LocalPods}, localsink.Route{Pool: 1, Empty: localsink.Drop}),
		}})
	text, err := Describe(Config{}, firstUpdate(testNode(), s))
	require.NoError(t, err)
	require.Equal(t, `table ip kpng {
  services
    10.96.0.1 . tcp . 80 : goto service-1-of-2
  nodeports
    tcp . 30080 : goto nodeport.pods-1-of-2.any-drop
  cluster-ips
    10.96.0.1
  hairpin
    10.244.0.10
    10.244.0.9
  service-endpoints-1-8
    10.96.0.1 . tcp . 80 . slot 0 : 10.244.0.9:8080
    10.96.0.1 . tcp . 80 . slot 1 : 10.244.0.10:8080
  nodeport-endpoints-1-8
    tcp . 30080 . slot 0 : 10.244.0.9:8080
    tcp . 30080 . slot 1 : 10.244.0.10:8080
}
`, text)
	_, err = Describe(Config{Table: "1"}, firstUpdate(testNode(), s))
	require.ErrorContains(t, err, "Config.Table")
}
