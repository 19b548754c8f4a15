package nodelocal

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// TestLoopbackNodePorts: only loopback addresses that are named count, each family by
// itself (IN-84).
func TestLoopbackNodePorts(t *testing.T) {
	for _, row := range []struct {
		entries []string
		want    []string
	}{
		{nil, nil},
		{[]string{"primary"}, nil},
		{[]string{"all"}, nil},
		{[]string{"0.0.0.0/0", "::/0"}, nil},
		{[]string{"localhost"}, []string{"127.0.0.1", "::1"}},
		{[]string{"primary", "localhost"}, []string{"127.0.0.1", "::1"}},
		{[]string{"all", "localhost"}, []string{"127.0.0.1", "::1"}},
		{[]string{"127.0.0.0/8"}, []string{"127.0.0.1"}},
		{[]string{"0.0.0.0/0", "127.0.0.1/32"}, []string{"127.0.0.1"}},
		{[]string{"::1/128", "10.0.0.0/8"}, []string{"::1"}},
		{[]string{"126.0.0.0/7"}, nil},
	} {
		np, err := parseNodePorts(row.entries)
		require.NoError(t, err)
		var got []string
		for _, a := range np.loopback() {
			got = append(got, a.String())
		}
		require.Equal(t, row.want, got, "%q", row.entries)
	}
}

// TestSameNode mutates every field of a node: a change that is not seen would never
// reach a sink.
func TestSameNode(t *testing.T) {
	node := func() *localsink.Node {
		p := netip.MustParsePrefix("192.0.2.0/24")
		return &localsink.Node{
			Name: "node", IPs: []netip.Addr{p.Addr()}, NodePortAddresses: []netip.Prefix{p},
			LoopbackNodePorts: []netip.Addr{p.Addr()}, ServiceNetworks: []netip.Prefix{p},
			LocalPods: localsink.PodSources{Networks: []netip.Prefix{p}, Interface: "a", InterfacePrefix: "b"},
		}
	}
	require.True(t, sameNode(node(), node()))
	for _, part := range []func(*localsink.Node) reflect.Value{
		func(n *localsink.Node) reflect.Value { return reflect.ValueOf(n).Elem() },
		func(n *localsink.Node) reflect.Value { return reflect.ValueOf(&n.LocalPods).Elem() },
	} {
		for i := range part(node()).NumField() {
			changed := node()
			field := part(changed).Field(i)
			require.False(t, field.IsZero(), "the test gives no value to %s", part(changed).Type().Field(i).Name)
			field.SetZero()
			require.False(t, sameNode(node(), changed), part(changed).Type().Field(i).Name)
		}
	}
}
