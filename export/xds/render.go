// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	leastrequestv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	wrrlocalityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"sigs.k8s.io/kpng/localsink"
)

// A balancing is how clients select an endpoint of a port.
type balancing uint8

const (
	// balanceRandom selects with the weights of endpoints: endpoints of one weight are a locality, whose
	// weight is their sum, because gRPC ignores weights within a locality.
	balanceRandom balancing = iota
	// balanceHash is a hash ring, which has the weights of endpoints.
	balanceHash
	// balanceLeast prefers the endpoint with the fewest requests.
	balanceLeast
)

// balancingOf returns how clients select an endpoint of p. With session affinity, a hash ring is the
// closest: only endpoints that come and go change the endpoint of a client.
func balancingOf(p *localsink.Port) balancing {
	switch {
	case p.Affinity > 0 || p.Selection == localsink.SelectionClient:
		return balanceHash
	case p.Selection == localsink.SelectionLeastConnections:
		return balanceLeast
	}
	return balanceRandom
}

// A renderer makes resources. It has what all resources have in common, and is immutable.
type renderer struct {
	domain      string
	preferLocal bool
	ads         *corev3.ConfigSource
	router      *anypb.Any // the HTTP filter that ends each chain
	upstream    *anypb.Any // options of clusters
	least       *clusterv3.LoadBalancingPolicy
}

func newRenderer(cfg *Config) (*renderer, error) {
	r := &renderer{domain: cfg.ClusterDomain, preferLocal: cfg.PreferLocal, ads: &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}}
	var err error
	if r.router, err = anypb.New(&routerv3.Router{}); err != nil {
		return nil, err
	}
	// A proxy uses the version of HTTP that its own client uses.
	if r.upstream, err = anypb.New(&upstreamv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &upstreamv3.HttpProtocolOptions_UseDownstreamHttpConfig{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
		},
	}); err != nil {
		return nil, err
	}
	r.least, err = leastRequests()
	return r, err
}

// leastRequests returns the policy of balanceLeast. Clients that do not have it use the second one.
func leastRequests() (*clusterv3.LoadBalancingPolicy, error) {
	roundRobin, err := policy("round_robin", &roundrobinv3.RoundRobin{})
	if err != nil {
		return nil, err
	}
	byLocality, err := policy("wrr_locality", &wrrlocalityv3.WrrLocality{
		EndpointPickingPolicy: &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{roundRobin}},
	})
	if err != nil {
		return nil, err
	}
	least, err := policy("least_request", &leastrequestv3.LeastRequest{})
	if err != nil {
		return nil, err
	}
	return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{least, byLocality}}, nil
}

func policy(name string, m proto.Message) (*clusterv3.LoadBalancingPolicy_Policy, error) {
	config, err := anypb.New(m)
	return &clusterv3.LoadBalancingPolicy_Policy{TypedExtensionConfig: &corev3.TypedExtensionConfig{
		Name: "envoy.load_balancing_policies." + name, TypedConfig: config,
	}}, err
}

// port returns the resources of a port with a name.
func (r *renderer) port(name string, p *localsink.Port, node *localsink.Node) (all [kinds]*resource, err error) {
	b := balancingOf(p)
	listener, err := r.listener(name)
	if err != nil {
		return all, err
	}
	for k, m := range [kinds]proto.Message{
		kindCluster: r.cluster(name, b), kindEndpoints: r.endpoints(name, p, b, node), kindListener: listener, kindRoute: route(name, b),
	} {
		if all[k], err = newResource(kind(k), name, m); err != nil {
			return all, err
		}
	}
	return all, nil
}

// listener returns a listener that is an address of gRPC clients, xds:///NAME.
func (r *renderer) listener(name string) (*listenerv3.Listener, error) {
	manager, err := anypb.New(&hcmv3.HttpConnectionManager{
		StatPrefix: name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{
			Rds: &hcmv3.Rds{ConfigSource: r.ads, RouteConfigName: name},
		},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: r.router},
		}},
	})
	return &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: manager}}, err
}

// route returns routes of all requests to the cluster with the same name.
func route(name string, b balancing) *routev3.RouteConfiguration {
	action := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name},
		Timeout:          durationpb.New(0), // a stream may take any time; Envoy's default is 15 s
	}
	if b == balanceHash {
		// A channel of a gRPC client is one client. A proxy has clients with addresses.
		action.HashPolicy = []*routev3.RouteAction_HashPolicy{
			{PolicySpecifier: &routev3.RouteAction_HashPolicy_FilterState_{
				FilterState: &routev3.RouteAction_HashPolicy_FilterState{Key: "io.grpc.channel_id"},
			}},
			{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
				ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
			}},
		}
	}
	return &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{{
		Name: name, Domains: []string{"*"},
		Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: action},
		}},
	}}}
}

// cluster returns a cluster whose endpoints are the resource with the same name.
func (r *renderer) cluster(name string, b balancing) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: r.ads},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": r.upstream,
		},
		// Otherwise Envoy also uses draining endpoints when most endpoints are draining.
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}},
	}
	switch b {
	case balanceRandom:
		c.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	case balanceHash:
		c.LbPolicy = clusterv3.Cluster_RING_HASH
	case balanceLeast:
		c.LoadBalancingPolicy = r.least
	}
	return c
}
