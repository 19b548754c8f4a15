// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"encoding/binary"
	"net/netip"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/stretchr/testify/require"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A step is a request with what happens before it: the bits of before select whether the responses so
// far are sent, and to which state the Services change.
type step struct {
	before  byte
	request []byte
}

const (
	sendFirst   = 1 << 0
	changeFirst = 1 << 1
	stateShift  = 2
)

// appendStep is the reverse of nextStep.
func appendStep(b []byte, before byte, request proto.Message) []byte {
	data, err := proto.Marshal(request)
	if err != nil {
		panic(err) // a message of this test
	}
	return append(binary.AppendUvarint(append(b, before), uint64(len(data))), data...)
}

// nextStep splits a step off data.
func nextStep(data []byte) (s step, rest []byte) {
	size, n := binary.Uvarint(data[1:])
	if n <= 0 {
		return step{before: data[0]}, nil
	}
	rest = data[1+n:]
	size = min(size, uint64(len(rest)))
	return step{data[0], rest[:size]}, rest[size:]
}

// fuzzStates returns states of which each has some resources of the others, changed or not.
func fuzzStates() []localsink.State {
	service := func(name, endpoint string) *localsink.Service {
		return &localsink.Service{
			Name: localsink.ServiceName{Namespace: "default", Name: name},
			Ports: []localsink.Port{{
				Protocol:  localsink.ProtocolTCP,
				Pools:     []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: netip.MustParseAddrPort(endpoint)}}}},
				Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: []localsink.Route{{}}}},
			}},
		}
	}
	return []localsink.State{
		sinktest.NewState(service("a", "10.244.0.1:80"), service("b", "10.244.0.2:80")),
		sinktest.NewState(service("a", "10.244.0.3:80"), service("b", "10.244.0.2:80"), service("c", "10.244.0.4:80")),
		sinktest.NewState(service("c", "10.244.0.4:80")),
		sinktest.NewState(),
	}
}

// FuzzRequests processes the requests of a client, in both variants of the protocol, while Services
// change. Whatever the client sends, every response can be decoded, and after the end of the stream the
// sink holds the names of its resources and no others.
func FuzzRequests(f *testing.F) {
	const a, b = "a.default.svc.cluster.local:80", "b.default.svc.cluster.local:80"
	for k := range kinds {
		url := k.url()
		all := appendStep(nil, sendFirst, &discoveryv3.DiscoveryRequest{TypeUrl: url, Node: &corev3.Node{Id: "client"}})
		all = appendStep(all, sendFirst|changeFirst|1<<stateShift, &discoveryv3.DiscoveryRequest{TypeUrl: url, ResponseNonce: "1", ResourceNames: []string{a, "unknown"}})
		all = appendStep(all, sendFirst|changeFirst|2<<stateShift, &discoveryv3.DiscoveryRequest{
			TypeUrl: url, ResponseNonce: "2", ResourceNames: []string{b, "*"}, ErrorDetail: &statuspb.Status{Message: "wrong: " + a},
		})
		f.Add(false, all)
		delta := appendStep(nil, sendFirst, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: url, InitialResourceVersions: map[string]string{a: "1", "unknown": "2"}})
		delta = appendStep(delta, sendFirst|changeFirst|3<<stateShift, &discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: url, ResponseNonce: "1", ResourceNamesSubscribe: []string{"*", b, "unknown"}, ErrorDetail: &statuspb.Status{},
		})
		delta = appendStep(delta, sendFirst|changeFirst, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: url, ResponseNonce: "2", ResourceNamesUnsubscribe: []string{"*", a, b}})
		f.Add(true, delta)
	}
	states := fuzzStates()
	f.Fuzz(func(t *testing.T, incremental bool, data []byte) {
		s, err := New(Config{})
		require.NoError(t, err)
		driver := sinktest.Driver{Sink: s, Node: &localsink.Node{Name: "node-1"}}
		require.NoError(t, driver.Sync(t.Context(), states[0]))
		st := &stream{incremental: incremental, wake: make(chan struct{}, 1)}
		s.begin(st)
		for len(data) > 0 {
			var next step
			next, data = nextStep(data)
			if next.before&changeFirst != 0 {
				require.NoError(t, driver.Sync(t.Context(), states[int(next.before>>stateShift)%len(states)]))
			}
			if next.before&sendFirst != 0 {
				send(t, s, st)
			}
			if process(t, s, st, next.request) != nil {
				break // the stream ends
			}
		}
		send(t, s, st)
		s.NotProgrammed()
		s.end(st)
		require.Equal(t, s.table.served, Entries(s))
		for _, e := range s.table.entries {
			require.Zero(t, e.references, "references to %q", e.name)
		}
	})
}

// process passes an encoded request to s. What is no request does not arrive there.
func process(t *testing.T, s *Sink, st *stream, request []byte) error {
	if st.incremental {
		var req discoveryv3.DeltaDiscoveryRequest
		if proto.Unmarshal(request, &req) != nil {
			return nil //nolint:nilerr // grpc does not pass it on either
		}
		return s.incrementalRequest(t.Context(), st, &req)
	}
	var req discoveryv3.DiscoveryRequest
	if proto.Unmarshal(request, &req) != nil {
		return nil //nolint:nilerr // grpc does not pass it on either
	}
	return s.completeRequest(t.Context(), st, &req)
}

// send takes the responses that may be sent now, and decodes them.
func send(t *testing.T, s *Sink, st *stream) {
	for m := s.next(st); m != nil; m = s.next(st) {
		data := m.buffers.Materialize()
		if st.incremental {
			require.NoError(t, proto.Unmarshal(data, &discoveryv3.DeltaDiscoveryResponse{}))
		} else {
			require.NoError(t, proto.Unmarshal(data, &discoveryv3.DiscoveryResponse{}))
		}
	}
}
