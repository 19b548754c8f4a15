// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/nodestate"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
)

func ext(keysAndValues ...string) localsink.Extensions {
	var list []localsink.Extension
	for pair := range slices.Chunk(keysAndValues, 2) {
		list = append(list, localsink.Extension{Key: pair[0], Value: pair[1]})
	}
	return localsink.NewExtensions(list...)
}

// sampleBase returns a shared base in which no field is zero in the first element of each list.
func sampleBase() *overlay.Base {
	port := netip.MustParseAddrPort
	nets := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	routes := []overlay.Route{
		{From: localsink.FromLocalPods, Pools: []overlay.Pool{1, 0}, Masquerade: true, EmptyVerdict: localsink.VerdictPass, Condition: overlay.ConditionPodsKnown},
		{Pools: []overlay.Pool{2}, Masquerade: true, EmptyVerdict: localsink.VerdictDrop},
	}
	return &overlay.Base{
		Name: localsink.ServiceName{Namespace: "ns", Name: "svc", Origin: "TCPRoute"}, HealthCheckPort: 32000,
		Problems:   []localsink.Problem{{Object: "Service ns/svc", Field: "spec", Message: "no"}},
		Extensions: ext("example.com/mode", "\x00\xff", "b", ""),
		Ports: []overlay.Port{{Name: "p", Protocol: localsink.ProtocolUDP, Affinity: time.Hour, Selection: localsink.SelectionClient, RefusedPerMille: 1000,
			Frontends: []overlay.Frontend{
				{Kind: localsink.KindNodePort, Addr: port("[::]:30000"), SourceRanges: nets("fd00::/64"), NodeSourceRanges: nets("fd01::/64"), Routes: routes},
				{Kind: localsink.KindClusterIP, Addr: port("10.96.0.1:80"), Routes: routes},
				{Kind: localsink.KindLoadBalancer, Addr: port("192.0.2.1:80"), SourceRanges: []netip.Prefix{}, Routes: routes[1:]},
			},
			Endpoints: []overlay.Endpoint{
				{Addr: port("10.1.0.1:80"), Pools: overlay.NewPoolSet(1), Drain: true, Weight: 7}, {Addr: port("10.1.0.2:80"), Pools: overlay.NewPoolSet(1, 2)},
				{Addr: port("[fd02::1]:80"), Pools: overlay.NewPoolSet(0)},
			},
			EndpointExtensions: map[netip.AddrPort]localsink.Extensions{
				port("10.1.0.1:80"): ext("zone", "a"), port("10.1.0.9:80"): ext("zone", "a"), port("[fd02::1]:80"): ext("zone", "b", "x", ""),
			},
		}},
	}
}

func sampleOverlay() *overlay.Overlay {
	return &overlay.Overlay{LocalEndpoints: 1, Endpoints: []overlay.NodeEndpoint{
		{Port: 1, Endpoint: overlay.Endpoint{Addr: netip.MustParseAddrPort("10.1.0.1:80"), Pools: overlay.NewPoolSet(0), Drain: true, Weight: 3}, Local: true},
		{Port: 2, Endpoint: overlay.Endpoint{Addr: netip.MustParseAddrPort("10.1.0.1:80")}},
	}}
}

func sampleNode() *localsink.Node {
	return &localsink.Node{
		Name: "n", IPs: []netip.Addr{netip.MustParseAddr("fd00::1"), netip.MustParseAddr("192.0.2.1")},
		LocalPods:         localsink.PodSources{Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}, Interface: "a", InterfacePrefix: "b"},
		NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, ServiceNetworks: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		LoopbackNodePorts: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, NoMasquerade: []netip.Prefix{netip.MustParsePrefix("10.3.0.0/16")},
		Deleting: true, Extensions: ext("rack", "7"),
	}
}

// No field is lost between server and client. The test fails if a new field is missing in a
// sample.
func TestEncodingKeepsEveryField(t *testing.T) {
	for _, v := range []any{sampleBase(), sampleOverlay(), sampleNode()} {
		requireFull(t, fmt.Sprintf("%T", v), reflect.ValueOf(v))
	}
	change := decodeFull(t, sampleBase())
	svc, err := fromService(nameOf(change), change.GetService())
	require.NoError(t, err)
	require.Equal(t, sampleBase(), svc)
	node, err := fromNode(nodestate.Node(sampleNode()))
	require.NoError(t, err)
	require.Equal(t, sampleNode(), node)
	var in kpng.WatchNodeResponse
	require.NoError(t, proto.Unmarshal(encodeOverlay(sampleBase().Name, sampleOverlay()), &in))
	o, err := fromOverlay(in.GetOverlays()[0])
	require.NoError(t, err)
	require.Equal(t, sampleOverlay(), o)
	require.Equal(t, "TCPRoute", in.GetOverlays()[0].GetOrigin())
	in.Reset()
	require.NoError(t, proto.Unmarshal(encodeService(sampleBase()).Removal, &in))
	require.Equal(t, sampleBase().Name, nameOf(in.GetServices()[0]))
	require.Nil(t, in.GetServices()[0].GetService())
}

// requireFull checks that no field of v is zero.
func requireFull(t *testing.T, path string, v reflect.Value) {
	require.False(t, v.IsZero(), "%s is not set by the sample", path)
	if _, ok := reflect.TypeAssert[fmt.Stringer](v); ok && v.Kind() != reflect.Pointer {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			requireFull(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		requireFull(t, path+"[0]", v.Index(0))
	case reflect.Pointer:
		requireFull(t, path, v.Elem())
	}
}

// decodeFull returns the change that sends a whole Service.
func decodeFull(t *testing.T, base *overlay.Base) *kpng.ServiceChange {
	var in kpng.WatchNodeResponse
	require.NoError(t, proto.Unmarshal(encodeService(base).Full, &in))
	require.Len(t, in.GetServices(), 1)
	return in.GetServices()[0]
}

func nameOf(c *kpng.ServiceChange) localsink.ServiceName {
	return localsink.ServiceName{Namespace: c.GetNamespace(), Name: c.GetName(), Origin: c.GetOrigin()}
}

// Each feature has its own value in the protocol, in the order of the bits.
func TestFeaturesHaveValues(t *testing.T) {
	var all localsink.Features
	for bit := localsink.Features(1); bit.String() != ""; bit <<= 1 {
		all |= bit
	}
	require.Equal(t, all, fromFeatures(toFeatures(all)))
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(toFeatures(all)))), len(features()))
	require.Len(t, features(), len(kpng.Feature_name)-1, "all values but that of no feature")
	require.Zero(t, fromFeatures([]kpng.Feature{0, 99}))
}

// Digests are the same on all servers and in all versions: they depend neither on the order of
// maps nor on shared memory, and a Service without the newer fields has the digest that the
// first servers computed for it.
func TestDigestsDependOnlyOnContent(t *testing.T) {
	old := sampleBase()
	old.Name.Origin, old.Extensions = "", localsink.Extensions{}
	p := &old.Ports[0]
	p.Selection, p.RefusedPerMille, p.EndpointExtensions, p.Endpoints[0].Weight = 0, 0, nil, 0
	for i := range p.Frontends[:2] {
		p.Frontends[i].Routes[0].EmptyVerdict = localsink.VerdictDrop
	}
	require.Equal(t, uint64(firstDigest), encodeService(old).Digest)
	p.Endpoints[0].Weight = 1
	require.Equal(t, uint64(firstDigest), encodeService(old).Digest, "1 is the default")

	want := encodeService(sampleBase())
	shared := sampleBase()
	x := shared.Ports[0].EndpointExtensions
	x[netip.MustParseAddrPort("10.1.0.9:80")] = x[netip.MustParseAddrPort("10.1.0.1:80")]
	x[netip.MustParseAddrPort("10.1.0.7:80")] = localsink.Extensions{} // no extensions
	require.Equal(t, want.Full, encodeService(shared).Full)
	seen := map[uint64]string{want.Digest: "sample"}
	for name, change := range map[string]func(*overlay.Base){
		"origin":    func(b *overlay.Base) { b.Name.Origin = "" },
		"other":     func(b *overlay.Base) { b.Name.Origin = "UDPRoute" },
		"extension": func(b *overlay.Base) { b.Extensions = ext("b", "") },
		"endpoint": func(b *overlay.Base) {
			b.Ports[0].EndpointExtensions[netip.MustParseAddrPort("10.1.0.9:80")] = ext("zone", "b", "x", "")
		},
		"weight":    func(b *overlay.Base) { b.Ports[0].Endpoints[0].Weight = 8 },
		"selection": func(b *overlay.Base) { b.Ports[0].Selection = localsink.SelectionFlow },
		"refused":   func(b *overlay.Base) { b.Ports[0].RefusedPerMille = 1 },
		"verdict":   func(b *overlay.Base) { b.Ports[0].Frontends[0].Routes[0].EmptyVerdict = localsink.VerdictReject },
	} {
		b := sampleBase()
		change(b)
		digest := encodeService(b).Digest
		require.Empty(t, seen[digest], name)
		seen[digest] = name
	}
}

// firstDigest is the digest of a Service of the first version of the protocol.
const firstDigest = 0xa0b5d4fefdfa07b2

// Many endpoints with the same extensions cost one list, in messages and on the node.
func TestEqualExtensionsAreSentOnce(t *testing.T) {
	base, value := sampleBase(), strings.Repeat("x", 100_000)
	many := map[netip.AddrPort]localsink.Extensions{}
	for i := range 1000 {
		many[netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)] = ext("k", value)
	}
	base.Ports[0].EndpointExtensions = many
	change := decodeFull(t, base)
	require.Less(t, proto.Size(change), 120_000)
	got, err := fromService(base.Name, change.GetService())
	require.NoError(t, err)
	require.True(t, base.Equal(got))
	lists := slices.Collect(maps.Values(got.Ports[0].EndpointExtensions))
	require.Len(t, slices.CompactFunc(lists, func(a, b localsink.Extensions) bool { return a == b }), 1)
}

// A delta with changed extensions leads to the same Service as the whole one.
func TestDeltaHasChangedExtensions(t *testing.T) {
	at := netip.MustParseAddrPort
	for name, change := range map[string]func(map[netip.AddrPort]localsink.Extensions){
		"added":    func(x map[netip.AddrPort]localsink.Extensions) { x[at("10.1.0.2:80")] = ext("zone", "c") },
		"changed":  func(x map[netip.AddrPort]localsink.Extensions) { x[at("10.1.0.1:80")] = ext("zone", "b", "x", "") },
		"removed":  func(x map[netip.AddrPort]localsink.Extensions) { delete(x, at("10.1.0.9:80")) },
		"no more":  func(x map[netip.AddrPort]localsink.Extensions) { clear(x) },
		"no other": func(map[netip.AddrPort]localsink.Extensions) {},
	} {
		old, base := sampleBase(), sampleBase()
		for _, b := range []*overlay.Base{old, base} { // large enough for a delta
			b.Problems[0].Message = strings.Repeat("x", 1000)
		}
		base.Ports[0].Endpoints[0].Weight++
		change(base.Ports[0].EndpointExtensions)
		if len(base.Ports[0].EndpointExtensions) == 0 {
			base.Ports[0].EndpointExtensions = nil
		}
		var in kpng.WatchNodeResponse
		require.NoError(t, proto.Unmarshal(encodeService(base).Delta(encodeService(old)), &in))
		require.NotNil(t, in.GetServices()[0].GetDelta(), name)
		delta, err := fromDelta(in.GetServices()[0].GetDelta())
		require.NoError(t, err)
		got, err := old.Apply(delta)
		require.NoError(t, err)
		require.Equal(t, base, got, name)
	}
}

// What a server of this version never sends is an error, which names the field.
func TestInvalidMessagesAreErrors(t *testing.T) {
	list := func(pairs ...string) []*kpng.Extension { return protoconv.Extensions(ext(pairs...)) }
	endpoint := func(last byte) *kpng.Endpoint { return &kpng.Endpoint{Address: []byte{10, 0, 0, last}, Port: 80} }
	large := list("k", strings.Repeat("x", overlay.MaxExtensionsSize/2))
	port := func(p *kpng.Port) *kpng.Service {
		p.Protocol = kpng.Protocol_PROTOCOL_TCP
		return &kpng.Service{Ports: []*kpng.Port{{Protocol: kpng.Protocol_PROTOCOL_TCP}, p}}
	}
	for want, in := range map[string]*kpng.Service{
		`extensions[1].key: "a\n" is empty, longer than 317 bytes, or has control characters`: {Extensions: list("a", "", "a\n", "")},
		`extensions[0].key: "" is empty`:               {Extensions: []*kpng.Extension{nil}},
		`extensions[0].key: "kk`:                       {Extensions: list(strings.Repeat("k", 318), "")},
		`extensions: a key is repeated in a list of 2`: {Extensions: append(list("a", ""), list("a", "")...)},
		"ports[1].endpoint_extensions[1].extensions[0]: the extensions of the object are larger than 2097152 bytes": port(&kpng.Port{
			EndpointExtensions: []*kpng.EndpointExtensions{{Endpoints: []*kpng.Endpoint{endpoint(1)}, Extensions: large}, {Extensions: large}},
		}),
		"ports[1].endpoint_extensions[0].extensions: required": port(&kpng.Port{
			EndpointExtensions: []*kpng.EndpointExtensions{{Endpoints: []*kpng.Endpoint{endpoint(1)}}},
		}),
		"ports[1].endpoint_extensions[0].endpoints: required": port(&kpng.Port{
			EndpointExtensions: []*kpng.EndpointExtensions{{Extensions: list("a", "")}},
		}),
		"ports[1].endpoint_extensions[0].endpoints[1].address: has 0 bytes": port(&kpng.Port{
			EndpointExtensions: []*kpng.EndpointExtensions{{Endpoints: []*kpng.Endpoint{endpoint(1), {}}, Extensions: list("a", "")}},
		}),
		"ports[1].endpoint_extensions[1].endpoints[0]: 10.0.0.1:80 is repeated": port(&kpng.Port{
			EndpointExtensions: []*kpng.EndpointExtensions{
				{Endpoints: []*kpng.Endpoint{endpoint(1)}, Extensions: list("a", "")}, {Endpoints: []*kpng.Endpoint{endpoint(1)}, Extensions: list("b", "")},
			},
		}),
		"ports[1].refused_per_mille: 1001 is out of range 0-1000": port(&kpng.Port{RefusedPerMille: 1001}),
	} {
		_, err := fromService(sampleBase().Name, in)
		require.ErrorContains(t, err, want)
	}
	_, err := fromDelta(&kpng.ServiceDelta{Ports: []*kpng.PortDelta{{}, {Extensions: []*kpng.EndpointExtensions{{Extensions: list("a", "")}}}}})
	require.EqualError(t, err, "ports[1].extensions[0].endpoints: required")
	_, err = fromNode(&kpng.Node{Extensions: []*kpng.Extension{{}}})
	require.ErrorContains(t, err, "extensions[0].key: ")
	_, err = fromNode(&kpng.Node{NoMasquerade: []*kpng.Network{{}}})
	require.ErrorContains(t, err, "no_masquerade[0]: ")
	s := newClientState("n")
	for _, origin := range []string{"a:b", "a/b", strings.Repeat("x", 254)} {
		err = s.Apply(&kpng.WatchNodeResponse{Services: []*kpng.ServiceChange{{Namespace: "ns", Name: "svc", Origin: origin}}})
		require.ErrorContains(t, err, origin+" ns/svc: origin: ")
	}
}

// Values of a newer server lead to problems, and the rest of the Service is served.
func TestUnknownSelectionBecomesRandom(t *testing.T) {
	in := toService(sampleBase())
	in.Ports[0].Selection = 9
	got, err := fromService(sampleBase().Name, in)
	require.NoError(t, err)
	require.Equal(t, localsink.SelectionRandom, got.Ports[0].Selection)
	require.Len(t, got.Ports[0].Frontends, 3)
	require.Equal(t, localsink.Problem{
		Object: "TCPRoute ns/svc", Field: "ports[0].selection",
		Message: "selection 9: not supported by this version of the client; handled as Random",
	}, got.Problems[1])
}

// A client returns what a server needs while the Node is missing, as far as hello has room.
func TestKnownNodeHasExtensions(t *testing.T) {
	node := nodestate.Node(sampleNode())
	node.Extensions = append(protoconv.Extensions(ext("large", strings.Repeat("x", maxKnownExtensions))), node.GetExtensions()...)
	known, err := fromKnownNode(knownPart(node))
	require.NoError(t, err)
	require.Equal(t, sampleNode().Extensions, known.Extensions)
	_, err = fromKnownNode(&kpng.Node{Extensions: []*kpng.Extension{{Key: "a\n"}}})
	require.ErrorContains(t, err, `extensions[0].key: "a\n"`)
}
