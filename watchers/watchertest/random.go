// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchertest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A Random generates the cluster state of a small cluster. Names and addresses are few, so
// that objects often claim the same address, change back and forth, and are inconsistent.
type Random struct {
	*rand.Rand
	// Nodes is the maximum number of Nodes.
	Nodes int
	// Services is the maximum number of Services per namespace.
	Services int
	// Namespaces is the number of namespaces in addition to "ns".
	Namespaces int
	// Extended adds the fields that few sources have: extensions, selections, shares of
	// refused connections, weights and other details, and origins.
	Extended bool
}

// NewRandom returns a Random that generates the same sequence for the same seed.
func NewRandom(seed uint64, nodes, services int) Random {
	return Random{Rand: rand.New(rand.NewPCG(seed, seed)), Nodes: nodes, Services: services}
}

// Step returns a transaction that changes one to three objects.
func (r Random) Step() func(*watchers.Tx) {
	n := 1 + r.IntN(3)
	return func(tx *watchers.Tx) {
		for range n {
			switch r.IntN(12) {
			case 0, 1:
				tx.SetService(r.Service())
			case 2:
				tx.DeleteService(r.serviceName())
			case 3:
				tx.SetNode(r.Node())
			case 4:
				if r.IntN(4) == 0 {
					tx.DeleteNode(r.nodeName())
				}
			case 5:
				name := r.serviceName()
				tx.Delete(watchers.Key{Kind: watchers.KindEndpointSlice, Namespace: name.Namespace, Name: name.Name,
					Slice: fmt.Sprintf("%s-%d", name.Name, r.IntN(3)), Origin: name.Origin})
			case 6:
				if r.IntN(4) == 0 {
					tx.SetServiceCIDR(&watchers.ServiceCIDR{Name: "default", Networks: []netip.Prefix{netip.PrefixFrom(r.ip("10.96.0."), 16+r.IntN(4)).Masked()}})
				}
			default:
				tx.SetEndpointSlice(r.EndpointSlice())
			}
		}
	}
}

func (r Random) serviceName() watchers.ServiceName {
	name := watchers.ServiceName{Namespace: "ns", Name: fmt.Sprint("svc-", r.IntN(r.Services))}
	if n := r.IntN(r.Namespaces + 1); n > 0 {
		name.Namespace = fmt.Sprint("ns-", n)
	}
	if r.Extended && r.IntN(5) == 0 {
		name.Origin = "ServiceImport"
	}
	return name
}

func (r Random) nodeName() string { return fmt.Sprint("node-", r.IntN(r.Nodes)) }

func (r Random) zone() string { return fmt.Sprint("zone-", r.IntN(3)) }

func (r Random) ip(network string) netip.Addr {
	return netip.MustParseAddr(fmt.Sprint(network, 1+r.IntN(9)))
}

// Service returns a random Service.
func (r Random) Service() *watchers.Service {
	v4, v6 := r.ip("10.96.0."), r.ip("fd00:96::")
	s := &watchers.Service{
		Name: r.serviceName(), Created: time.Unix(int64(r.IntN(3)), 0), Type: watchers.ServiceType(r.IntN(4)),
		ClusterIP: v4, ClusterIPs: []netip.Addr{v4}, IPFamilies: []watchers.IPFamily{watchers.FamilyIPv4},
		InternalPolicy: watchers.TrafficPolicy(r.IntN(2)), ExternalPolicy: watchers.TrafficPolicy(r.IntN(2)),
		HealthCheckNodePort: uint16(r.IntN(2) * (32000 + r.IntN(3))),
	}
	if r.IntN(2) == 0 {
		s.ClusterIPs, s.IPFamilies = append(s.ClusterIPs, v6), append(s.IPFamilies, watchers.FamilyIPv6)
	}
	if r.IntN(3) == 0 {
		s.Affinity = time.Duration(1+r.IntN(2)) * time.Hour
	}
	if r.IntN(3) == 0 {
		s.ExternalIPs = []netip.Addr{r.ip("192.0.2."), r.ip("2001:db8::")}
	}
	if r.IntN(3) == 0 {
		s.Ingress = []watchers.Ingress{{IP: r.ip("198.51.100."), Proxy: r.IntN(4) == 0}}
		s.HasSourceRanges = r.IntN(2) == 0
		if s.HasSourceRanges {
			s.SourceRanges = []netip.Prefix{netip.PrefixFrom(r.ip("192.168.0."), 24+r.IntN(9)).Masked()}
			s.HasInvalidSourceRanges = r.IntN(4) == 0
		}
	}
	for i := range 1 + r.IntN(2) {
		s.Ports = append(s.Ports, watchers.ServicePort{
			Name: fmt.Sprint("p", i), Protocol: []watchers.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP, localsink.ProtocolSCTP}[r.IntN(3)],
			Port: uint16(80 + r.IntN(3)), NodePort: uint16(r.IntN(2) * (30000 + r.IntN(4))),
		})
	}
	if r.IntN(6) == 0 {
		proxy := []string{"", "other"}[r.IntN(2)]
		s.ProxyName = &proxy
	}
	if r.IntN(8) == 0 {
		s.Problems = []watchers.Problem{{Object: "Service " + s.Name.String(), Field: "spec.externalIPs[0]", Message: "invalid address"}}
	}
	if r.Extended {
		r.extendService(s)
	}
	return s
}

// EndpointSlice returns a random EndpointSlice.
func (r Random) EndpointSlice() *watchers.EndpointSlice {
	name, protocols := r.serviceName(), []watchers.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP, localsink.ProtocolSCTP}
	s := &watchers.EndpointSlice{
		Namespace: name.Namespace, Name: fmt.Sprintf("%s-%d", name.Name, r.IntN(3)), Service: name, Family: watchers.FamilyIPv4,
		TriggerTime: time.Unix(1, 0).Add(time.Duration(r.IntN(1000))),
	}
	network := "10.244.0."
	if r.IntN(4) == 0 {
		s.Family, network = watchers.FamilyIPv6, "fd00:244::"
	}
	for i := range 1 + r.IntN(2) {
		for _, p := range protocols {
			s.Ports = append(s.Ports, watchers.EndpointPort{Name: fmt.Sprint("p", i), Protocol: p, Port: uint16(8080 + i)})
		}
	}
	hasHints, hasNodeHints := r.IntN(2) == 0, r.IntN(3) == 0
	for range r.IntN(6) {
		e := watchers.Endpoint{Addr: r.ip(network), Ready: r.IntN(4) != 0, Serving: r.IntN(4) != 0, Terminating: r.IntN(4) == 0}
		if r.IntN(8) != 0 {
			e.Node = r.nodeName()
		}
		if hasHints {
			e.Hints = &watchers.Hints{Zones: []string{r.zone()}}
			if hasNodeHints {
				e.Hints.Nodes = []string{r.nodeName()}
			}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	if r.Extended {
		r.extendSlice(s)
	}
	return s
}

// Node returns a random Node.
func (r Random) Node() *watchers.Node {
	n := &watchers.Node{Name: r.nodeName(), Zone: r.zone(), IPs: []netip.Addr{r.ip("192.168.0.")}}
	if r.IntN(4) == 0 {
		n.Zone = ""
	}
	if r.IntN(2) == 0 {
		n.IPs = append(n.IPs, r.ip("fd00:192::"))
	}
	if r.IntN(2) == 0 {
		n.PodCIDRs = []netip.Prefix{netip.PrefixFrom(r.ip("10.244.0."), 24).Masked()}
	}
	if r.Extended {
		n.Extensions = r.extensions()
	}
	return n
}
