// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/stretchr/testify/require"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The type URLs of resources.
const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routeType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// A client is a client of the protocol without a proxy behind it. It holds what the server has sent.
type client struct {
	t           testing.TB
	incremental bool
	dependents  bool // also subscribes to the endpoints and routes of each cluster and listener
	reject      func(typeURL string, names []string) string
	complete    discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	delta       discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	stop        func()
	ended       chan struct{} // closed when the stream has ended

	mu        sync.Mutex // guards all fields below, and sending
	resources map[string]map[string]proto.Message
	versions  map[string]map[string]string // of the incremental protocol
	names     map[string][]string          // subscribed; nil is a wildcard
	sizes     []int                        // numbers of resources of each response
	updated   chan struct{}                // closed at the next response
	err       error
}

// newClient opens a stream. reject returns a reason, or nothing; it may be nil.
func (f *fixture) newClient(incremental bool, reject func(typeURL string, names []string) string) *client {
	conn, err := grpc.NewClient(f.address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	require.NoError(f.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	c := &client{
		t: f.t, incremental: incremental, reject: reject, resources: map[string]map[string]proto.Message{}, versions: map[string]map[string]string{},
		names: map[string][]string{}, updated: make(chan struct{}), ended: make(chan struct{}),
	}
	service := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	if incremental {
		c.delta, err = service.DeltaAggregatedResources(ctx)
	} else {
		c.complete, err = service.StreamAggregatedResources(ctx)
	}
	require.NoError(f.t, err)
	go func() {
		defer close(c.ended)
		var err error
		for err == nil {
			err = c.receive()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.err = err
		close(c.updated)
		c.updated = make(chan struct{})
	}()
	c.stop = sync.OnceFunc(func() {
		cancel()
		<-c.ended
		conn.Close()
	})
	f.t.Cleanup(c.stop)
	return c
}

// subscribe subscribes to the names of a type, or to all without names. has holds the versions of an
// earlier stream.
func (c *client) subscribe(typeURL string, has map[string]string, names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	node := &corev3.Node{Id: "raw"}
	c.names[typeURL] = names
	c.resources[typeURL], c.versions[typeURL] = map[string]proto.Message{}, maps.Clone(has)
	if c.versions[typeURL] == nil {
		c.versions[typeURL] = map[string]string{}
	}
	if c.incremental {
		require.NoError(c.t, c.delta.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node: node, TypeUrl: typeURL, ResourceNamesSubscribe: names, InitialResourceVersions: has,
		}))
	} else {
		require.NoError(c.t, c.complete.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNames: names}))
	}
}

// receive processes one response.
func (c *client) receive() error {
	if c.incremental {
		r, err := c.delta.Recv()
		if err != nil {
			return err
		}
		return c.apply(r.GetTypeUrl(), r.GetNonce(), r.GetResources(), r.GetRemovedResources())
	}
	r, err := c.complete.Recv()
	if err != nil {
		return err
	}
	var all []*discoveryv3.Resource
	for _, x := range r.GetResources() {
		all = append(all, &discoveryv3.Resource{Resource: x})
	}
	return c.apply(r.GetTypeUrl(), r.GetNonce(), all, nil)
}

// apply applies and acknowledges a response.
func (c *client) apply(typeURL, nonce string, resources []*discoveryv3.Resource, removed []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	next := map[string]proto.Message{}
	for _, r := range resources {
		m, name := decode(c.t, r.GetResource())
		if r.GetName() != "" {
			require.Equal(c.t, name, r.GetName())
			c.versions[typeURL][name] = r.GetVersion()
		}
		names = append(names, name)
		if c.dependents && (typeURL == endpointType || typeURL == routeType) && !slices.Contains(c.names[typeURL], name) {
			continue // the client has unsubscribed while the response was under way
		}
		next[name] = m
	}
	c.sizes = append(c.sizes, len(resources)+len(removed))
	reason := ""
	if c.reject != nil {
		reason = c.reject(typeURL, names)
	}
	if reason == "" {
		if !c.incremental && (typeURL == clusterType || typeURL == listenerType) {
			c.resources[typeURL] = map[string]proto.Message{}
		}
		maps.Copy(c.resources[typeURL], next)
		for _, name := range removed {
			delete(c.resources[typeURL], name)
			delete(c.versions[typeURL], name)
		}
	}
	var detail *statuspb.Status
	if reason != "" {
		detail = &statuspb.Status{Code: 3, Message: reason}
	}
	close(c.updated)
	c.updated = make(chan struct{})
	return c.answer(typeURL, nonce, detail)
}

// answer acknowledges or rejects a response, and subscribes to dependents.
func (c *client) answer(typeURL, nonce string, detail *statuspb.Status) error {
	if c.incremental {
		if err := c.delta.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResponseNonce: nonce, ErrorDetail: detail}); err != nil {
			return err
		}
	} else if err := c.complete.Send(&discoveryv3.DiscoveryRequest{
		TypeUrl: typeURL, ResponseNonce: nonce, ResourceNames: c.names[typeURL], ErrorDetail: detail,
	}); err != nil {
		return err
	}
	dependent := map[string]string{clusterType: endpointType, listenerType: routeType}[typeURL]
	if !c.dependents || dependent == "" {
		return nil
	}
	names := slices.Sorted(maps.Keys(c.resources[typeURL]))
	if slices.Equal(names, c.names[dependent]) {
		return nil
	}
	var subscribe, unsubscribe []string
	for _, name := range names {
		if !slices.Contains(c.names[dependent], name) {
			subscribe = append(subscribe, name)
		}
	}
	for _, name := range c.names[dependent] {
		if !slices.Contains(names, name) {
			unsubscribe = append(unsubscribe, name)
			delete(c.resources[dependent], name)
		}
	}
	if c.resources[dependent] == nil {
		c.resources[dependent], c.versions[dependent] = map[string]proto.Message{}, map[string]string{}
	}
	c.names[dependent] = names
	if c.incremental {
		return c.delta.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: dependent, ResourceNamesSubscribe: subscribe, ResourceNamesUnsubscribe: unsubscribe})
	}
	return c.complete.Send(&discoveryv3.DiscoveryRequest{TypeUrl: dependent, ResourceNames: names})
}

// decode returns a resource and its name, and checks it with the rules that Envoy checks.
func decode(t testing.TB, x *anypb.Any) (proto.Message, string) {
	m, err := x.UnmarshalNew()
	require.NoError(t, err)
	switch r := m.(type) {
	case *clusterv3.Cluster:
		require.NoError(t, r.ValidateAll())
		return m, r.GetName()
	case *endpointv3.ClusterLoadAssignment:
		require.NoError(t, r.ValidateAll())
		return m, r.GetClusterName()
	case *listenerv3.Listener:
		require.NoError(t, r.ValidateAll())
		return m, r.GetName()
	case *routev3.RouteConfiguration:
		require.NoError(t, r.ValidateAll())
		return m, r.GetName()
	}
	require.Fail(t, "unknown resource", x.GetTypeUrl())
	return nil, ""
}

// text returns all resources that the client has.
func (c *client) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, typeURL := range slices.Sorted(maps.Keys(c.resources)) {
		for _, name := range slices.Sorted(maps.Keys(c.resources[typeURL])) {
			b.WriteString(name + " " + typeURL + ": " + prototext.MarshalOptions{}.Format(c.resources[typeURL][name]) + "\n")
		}
	}
	return b.String()
}

// until waits until a condition holds, which is checked after each response.
func (c *client) until(condition func() bool) {
	for expired := time.After(timeout); ; {
		c.mu.Lock()
		ok, updated, err := condition(), c.updated, c.err
		c.mu.Unlock()
		if ok {
			return
		}
		require.NoError(c.t, err)
		select {
		case <-updated:
		case <-expired:
			require.Fail(c.t, "timeout", c.text())
		}
	}
}

// get waits until the client has a resource.
func (c *client) get(typeURL, name string) {
	c.until(func() bool { return c.resources[typeURL][name] != nil })
}

// all subscribes to everything, as a proxy does.
func (c *client) all() {
	c.dependents = true
	c.subscribe(clusterType, nil)
	c.subscribe(listenerType, nil)
}

// describe returns what a new client receives.
func (f *fixture) describe() string {
	c := f.newClient(false, nil)
	defer c.stop()
	c.all()
	c.until(func() bool {
		clusters, listeners := c.resources[clusterType], c.resources[listenerType]
		return len(c.sizes) >= 2 && len(clusters) == len(listeners) && len(clusters) == len(c.resources[endpointType]) && len(listeners) == len(c.resources[routeType])
	})
	return c.text()
}
