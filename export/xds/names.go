// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"sigs.k8s.io/kpng/localsink"
)

const (
	// importOrigin is the origin of Services of a ClusterSet, which have a domain of their own.
	importOrigin = "ServiceImport"
	importDomain = "clusterset.local"
	serviceLabel = "svc"
)

// resourceName returns the name of the resources of a port: NAME.NAMESPACE.svc.DOMAIN:PORT. Objects
// that are not Services have their origin in place of svc, and ServiceImports the domain of ClusterSets.
// Different ports of different objects have different names: of the parts, only NAME may contain dots.
func resourceName(n localsink.ServiceName, domain string, port uint16) (string, error) {
	label := cmp.Or(n.Origin, serviceLabel)
	switch {
	case n.Origin == importOrigin:
		label, domain = serviceLabel, importDomain
	case n.Origin == serviceLabel, strings.Contains(n.Origin, "."):
		return "", fmt.Errorf("%s: origin %q: must not be %q or contain dots", n.Object(), n.Origin, serviceLabel)
	}
	if strings.Contains(n.Namespace, ".") {
		return "", fmt.Errorf("%s: namespace %q: must not contain dots", n.Object(), n.Namespace)
	}
	return n.Name + "." + n.Namespace + "." + label + "." + domain + ":" + strconv.Itoa(int(port)), nil
}
