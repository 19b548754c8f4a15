// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
	"unique"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
	"sigs.k8s.io/kpng/watchers"
)

// A decoder converts one message to an object and collects its problems.
type decoder struct {
	key      objectKey
	problems []watchers.Problem
}

// unsupported adds a problem for a value of a newer server.
func (d *decoder) unsupported(value, handling, field string, args ...any) {
	d.problems = append(d.problems, watchers.Problem{
		Object: d.key.String(), Field: fmt.Sprintf(field, args...),
		Message: value + ": not supported by this version of the client; " + handling,
	})
}

// decode parses a change. object is nil if the object is removed or of an unknown kind. An
// error is about a message that is invalid in every version; it names object and field.
func decode(c *kpng.ObjectChange) (key objectKey, object watchers.Object, err error) {
	k := c.GetKey()
	key = objectKey{k.GetKind(), intern(k.GetNamespace()), k.GetName(), intern(k.GetOrigin())}
	if key.name == "" {
		return key, nil, fmt.Errorf("%s: key.name: required", key)
	}
	d := &decoder{key: key}
	if object, err = d.content(key, c); err != nil {
		return key, nil, fmt.Errorf("%s: %w", key, err)
	}
	return key, object, nil
}

// content parses the object of a change.
func (d *decoder) content(key objectKey, c *kpng.ObjectChange) (watchers.Object, error) {
	namespaced, known := true, true
	switch key.kind {
	case kpng.ObjectKind_OBJECT_KIND_UNSPECIFIED:
		return nil, errors.New("key.kind: required")
	case kpng.ObjectKind_OBJECT_KIND_SERVICE, kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE:
	case kpng.ObjectKind_OBJECT_KIND_NODE, kpng.ObjectKind_OBJECT_KIND_SERVICE_CIDR:
		namespaced = false
	default:
		known = false
	}
	switch {
	case known && namespaced != (key.namespace != ""):
		return nil, errors.New("key.namespace: required for Services and EndpointSlices, and must be empty for other kinds")
	case known && !namespaced && key.origin != "":
		return nil, errors.New("key.origin: must be empty for kinds other than Service and EndpointSlice")
	case c.GetObject() == nil && (c.GetDigest() == 0 || !known):
		return nil, nil
	case c.GetObject() == nil:
		return nil, errors.New("digest: must be 0 for a removed object")
	case c.GetDigest() == 0:
		return nil, errors.New("digest: required")
	}
	var object watchers.Object
	var kind kpng.ObjectKind
	var err error
	switch in := c.GetObject().(type) {
	case *kpng.ObjectChange_Service:
		kind = kpng.ObjectKind_OBJECT_KIND_SERVICE
		object, err = d.service(key, in.Service)
	case *kpng.ObjectChange_EndpointSlice:
		kind = kpng.ObjectKind_OBJECT_KIND_ENDPOINT_SLICE
		object, err = d.slice(key, in.EndpointSlice)
	case *kpng.ObjectChange_Node:
		kind = kpng.ObjectKind_OBJECT_KIND_NODE
		object, err = d.node(key, in.Node)
	case *kpng.ObjectChange_ServiceCidr:
		kind = kpng.ObjectKind_OBJECT_KIND_SERVICE_CIDR
		object, err = d.serviceCIDR(key, in.ServiceCidr)
	}
	if kind != key.kind {
		return nil, fmt.Errorf("object: has kind %s, which differs from key.kind", kind)
	}
	return object, err
}

func (d *decoder) service(key objectKey, in *kpng.ServiceObject) (*watchers.Service, error) {
	out := &watchers.Service{
		Name:                   watchers.ServiceName{Namespace: key.namespace, Name: key.name, Origin: key.origin},
		HasSourceRanges:        in.GetHasSourceRanges(),
		HasInvalidSourceRanges: in.GetHasInvalidSourceRanges(),
		InternalPolicy:         policy(in.GetInternalTrafficPolicyLocal()),
		ExternalPolicy:         policy(in.GetExternalTrafficPolicyLocal()),
		Affinity:               time.Duration(min(in.GetAffinityNs(), math.MaxInt64)),
	}
	d.problems = protoconv.FromProblems(in.GetProblems())
	if in.CreatedUnixNs != nil {
		out.Created = time.Unix(0, in.GetCreatedUnixNs())
	}
	if in.ProxyName != nil {
		name := intern(in.GetProxyName())
		out.ProxyName = &name
	}
	if t := in.GetType(); t >= kpng.ServiceType_SERVICE_TYPE_UNSPECIFIED && t <= kpng.ServiceType_SERVICE_TYPE_EXTERNAL_NAME {
		out.Type = watchers.ServiceType(t)
	} else {
		d.unsupported(fmt.Sprintf("type %d", t), "handled as ClusterIP", "type")
	}
	var err error
	if out.ClusterIP, err = optionalAddr(in.GetClusterIp()); err != nil {
		return nil, fmt.Errorf("cluster_ip: %w", err)
	}
	for i, b := range in.GetClusterIps() {
		a, err := optionalAddr(b)
		if err != nil {
			return nil, fmt.Errorf("cluster_ips[%d]: %w", i, err)
		}
		out.ClusterIPs = append(out.ClusterIPs, a)
	}
	for _, f := range in.GetIpFamilies() {
		out.IPFamilies = append(out.IPFamilies, family(f))
	}
	if out.ExternalIPs, err = fromAddrs(in.GetExternalIps()); err != nil {
		return nil, fmt.Errorf("external_ips%w", err)
	}
	for i, g := range in.GetIngress() {
		a, err := protoconv.Addr(g.GetIp())
		if err != nil {
			return nil, fmt.Errorf("ingress[%d].ip: %w", i, err)
		}
		out.Ingress = append(out.Ingress, watchers.Ingress{IP: a, Proxy: g.GetProxy()})
	}
	if out.SourceRanges, err = protoconv.Prefixes(in.GetSourceRanges()); err != nil {
		return nil, fmt.Errorf("source_ranges%w", err)
	}
	if out.HealthCheckNodePort, err = protoconv.Port(in.GetHealthCheckNodePort()); err != nil {
		return nil, fmt.Errorf("health_check_node_port: %w", err)
	}
	if err := d.servicePorts(out, in); err != nil {
		return nil, err
	}
	if out.Extensions, err = extensionReader().Read(in.GetExtensions()); err != nil {
		return nil, fmt.Errorf("extensions%w", err)
	}
	out.Problems = d.problems
	return out, nil
}

// servicePorts parses the ports of a Service and its details, which have lists with the same
// index.
func (d *decoder) servicePorts(out *watchers.Service, in *kpng.ServiceObject) (err error) {
	protocols := in.GetDetails().GetAppProtocols()
	if in.GetDetails() != nil {
		out.Details = &watchers.ServiceDetails{
			Headless: in.GetDetails().GetHeadless(), ExternalName: in.GetDetails().GetExternalName(),
			LoadBalancerClass: intern(in.GetDetails().GetLoadBalancerClass()),
		}
	}
	if len(protocols) > 0 && len(protocols) != len(in.GetPorts()) {
		return fmt.Errorf("details.app_protocols: has %d entries for %d ports", len(protocols), len(in.GetPorts()))
	}
	for i, p := range in.GetPorts() {
		port := watchers.ServicePort{Name: intern(p.GetName())}
		if port.Port, err = protoconv.Port(p.GetPort()); err != nil {
			return fmt.Errorf("ports[%d].port: %w", i, err)
		}
		if port.NodePort, err = protoconv.Port(p.GetNodePort()); err != nil {
			return fmt.Errorf("ports[%d].node_port: %w", i, err)
		}
		if port.RefusedPerMille, err = protoconv.PerMille(p.GetRefusedPerMille()); err != nil {
			return fmt.Errorf("ports[%d].refused_per_mille: %w", i, err)
		}
		var known bool
		if port.Selection, known = protoconv.FromSelection(p.GetSelection()); !known {
			d.unsupported(fmt.Sprintf("selection %d", p.GetSelection()), "handled as Random", "ports[%d].selection", i)
		}
		if port.Protocol, known = d.protocol(p.GetProtocol(), i); known {
			out.Ports = append(out.Ports, port)
			if len(protocols) > 0 {
				out.Details.AppProtocols = append(out.Details.AppProtocols, intern(protocols[i]))
			}
		}
	}
	return nil
}

// protocol parses the protocol of a port. It returns false if the port must be left out.
func (d *decoder) protocol(p kpng.Protocol, index int) (watchers.Protocol, bool) {
	switch p {
	case kpng.Protocol_PROTOCOL_TCP, kpng.Protocol_PROTOCOL_UDP, kpng.Protocol_PROTOCOL_SCTP:
		return localsink.Protocol(p), true
	default:
		d.unsupported(fmt.Sprintf("protocol %d", p), "the port is ignored", "ports[%d].protocol", index)
		return 0, false
	}
}

func (d *decoder) node(key objectKey, in *kpng.NodeObject) (*watchers.Node, error) {
	out := &watchers.Node{
		Name: key.name, Zone: intern(in.GetZone()), Deleting: in.GetDeleting(), Problems: protoconv.FromProblems(in.GetProblems()),
	}
	var err error
	if out.Extensions, err = extensionReader().Read(in.GetExtensions()); err != nil {
		return nil, fmt.Errorf("extensions%w", err)
	}
	if out.IPs, err = fromAddrs(in.GetIps()); err != nil {
		return nil, fmt.Errorf("ips%w", err)
	}
	if out.PodCIDRs, err = protoconv.Prefixes(in.GetPodCidrs()); err != nil {
		return nil, fmt.Errorf("pod_cidrs%w", err)
	}
	return out, nil
}

func (d *decoder) serviceCIDR(key objectKey, in *kpng.ServiceCidrObject) (*watchers.ServiceCIDR, error) {
	out := &watchers.ServiceCIDR{Name: key.name, Problems: protoconv.FromProblems(in.GetProblems())}
	var err error
	if out.Networks, err = protoconv.Prefixes(in.GetNetworks()); err != nil {
		return nil, fmt.Errorf("networks%w", err)
	}
	return out, nil
}

// extensionReader returns a reader for the extensions of one object.
func extensionReader() *protoconv.ExtensionReader {
	return &protoconv.ExtensionReader{Max: localsink.MaxExtensionsSize}
}

func policy(local bool) watchers.TrafficPolicy {
	if local {
		return watchers.PolicyLocal
	}
	return watchers.PolicyCluster
}

// family parses an address family; 0 if it is unknown.
func family(f uint32) watchers.IPFamily {
	if f == 4 || f == 6 {
		return watchers.IPFamily(f)
	}
	return 0
}

// optionalAddr parses an address; empty is the zero Addr.
func optionalAddr(b []byte) (netip.Addr, error) {
	if len(b) == 0 {
		return netip.Addr{}, nil
	}
	return protoconv.Addr(b)
}

func fromAddrs(in [][]byte) (out []netip.Addr, err error) {
	for i, b := range in {
		a, err := protoconv.Addr(b)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out = append(out, a)
	}
	return out, nil
}

// intern returns s in memory shared with equal strings, because thousands of objects contain
// the same few names.
func intern(s string) string {
	if s == "" {
		return ""
	}
	return unique.Make(s).Value()
}

func interned(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, intern(s))
	}
	return out
}
