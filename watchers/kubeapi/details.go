// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"sigs.k8s.io/kpng/watchers"
)

// Details is a set of objects and properties that proxies do not use, for other consumers of
// the cluster state such as a DNS server. What is not in the set is neither watched nor kept.
// Its text is a list of names, such as "headless,hostname".
type Details uint8

const (
	// DetailHeadless selects headless Services and their EndpointSlices, and sets
	// [watchers.ServiceDetails].Headless. They have no cluster IP, and no node serves them.
	DetailHeadless Details = 1 << iota
	// DetailExternalName sets [watchers.ServiceDetails].ExternalName.
	DetailExternalName
	// DetailLoadBalancerClass sets [watchers.ServiceDetails].LoadBalancerClass.
	DetailLoadBalancerClass
	// DetailAppProtocol sets [watchers.ServiceDetails].AppProtocols.
	DetailAppProtocol
	// DetailHostname sets [watchers.EndpointDetails].Hostname.
	DetailHostname
	// DetailZone sets [watchers.EndpointDetails].Zone. The node of an endpoint is always
	// kept.
	DetailZone
	// DetailTarget sets [watchers.EndpointDetails].Target.
	DetailTarget

	// DetailsAll is the set of all details.
	DetailsAll = DetailHeadless | DetailExternalName | DetailLoadBalancerClass | DetailAppProtocol | DetailHostname | DetailZone | DetailTarget
)

// allDetails is the name of DetailsAll.
const allDetails = "all"

// detailNames lists the names of the details, in the order of their bits.
func detailNames() []string {
	return []string{"headless", "external-name", "load-balancer-class", "app-protocol", "hostname", "zone", "target"}
}

func (d Details) has(detail Details) bool { return d&detail != 0 }

// String returns the names of the details in d, separated by commas, or "all".
func (d Details) String() string {
	if d == DetailsAll {
		return allDetails
	}
	var names []string
	for i, name := range detailNames() {
		if d.has(1 << i) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// MarshalText returns the same as String.
func (d Details) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses names of details, separated by commas: headless, external-name,
// load-balancer-class, app-protocol, hostname, zone, target, or all.
func (d *Details) UnmarshalText(text []byte) error {
	var parsed Details
	for name := range strings.SplitSeq(string(text), ",") {
		detail, ok := parseDetail(strings.TrimSpace(name))
		if !ok {
			return fmt.Errorf("%q is not one of %s, %s", name, strings.Join(detailNames(), ", "), allDetails)
		}
		parsed |= detail
	}
	*d = parsed
	return nil
}

func parseDetail(name string) (Details, bool) {
	switch name {
	case "":
		return 0, true
	case allDetails:
		return DetailsAll, true
	}
	for i, n := range detailNames() {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// ofService returns the properties of a Service that are in d, or nil if it has none.
// protocols are those of its valid ports.
func (d Details) ofService(s *corev1.Service, protocols []string) *watchers.ServiceDetails {
	out := watchers.ServiceDetails{AppProtocols: protocols}
	if d.has(DetailHeadless) {
		out.Headless = s.Spec.ClusterIP == corev1.ClusterIPNone
	}
	if d.has(DetailExternalName) {
		out.ExternalName = s.Spec.ExternalName
	}
	if d.has(DetailLoadBalancerClass) {
		out.LoadBalancerClass = intern(deref(s.Spec.LoadBalancerClass, ""))
	}
	if !out.Headless && out.ExternalName == "" && out.LoadBalancerClass == "" && len(out.AppProtocols) == 0 {
		return nil
	}
	kept := out // allocated only if there is something to keep
	return &kept
}

// ofEndpoint returns the properties of an endpoint that are in d. It copies strings, which can
// be parts of the memory of a whole slice.
func (d Details) ofEndpoint(e *discoveryv1.Endpoint) (out watchers.EndpointDetails) {
	if d.has(DetailHostname) {
		out.Hostname = strings.Clone(deref(e.Hostname, ""))
	}
	if d.has(DetailZone) {
		out.Zone = intern(deref(e.Zone, ""))
	}
	if d.has(DetailTarget) && e.TargetRef != nil {
		out.Target = watchers.ObjectReference{Kind: intern(e.TargetRef.Kind), Namespace: intern(e.TargetRef.Namespace), Name: strings.Clone(e.TargetRef.Name)}
	}
	return out
}

// appendAligned appends v to a list that is parallel to another one, which has n elements. The
// list stays nil as long as all its elements would be zero.
func appendAligned[T comparable](list []T, v T, n, room int) []T {
	var zero T
	if list == nil {
		if v == zero {
			return nil
		}
		list = make([]T, n, n+room)
	}
	return append(list, v)
}
