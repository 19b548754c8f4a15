// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kpng/localsink"
)

// MaxExtensionsSize is the maximum size of the extensions of a [Base] in bytes: its own, and once
// those of each [ExtensionGroup] of each port. A base must fit into one message of a gRPC client with
// default options, which is 4 MiB. The objects of a Service are bounded each, their number is not.
const MaxExtensionsSize = 2 << 20

// An ExtensionGroup is a list of extensions with the endpoints that have it. Many endpoints have
// the same list, such as that of their EndpointSlice.
type ExtensionGroup struct {
	Extensions localsink.Extensions
	// Endpoints are ordered by address and port.
	Endpoints []netip.AddrPort
}

// GroupExtensions returns the different lists of extensions, ordered by their first endpoints.
// The result depends only on the content of the lists.
func GroupExtensions(extensions map[netip.AddrPort]localsink.Extensions) []ExtensionGroup {
	if len(extensions) == 0 {
		return nil
	}
	var groups []ExtensionGroup
	byList := map[localsink.Extensions]int{} // finds a list that shares memory without reading it
	byContent := map[string]int{}
	for _, a := range slices.SortedFunc(maps.Keys(extensions), netip.AddrPort.Compare) {
		x := extensions[a]
		i, found := byList[x]
		if !found {
			content := contentOf(x)
			if i, found = byContent[content]; !found {
				i = len(groups)
				groups = append(groups, ExtensionGroup{Extensions: x})
				byContent[content] = i
			}
			byList[x] = i
		}
		groups[i].Endpoints = append(groups[i].Endpoints, a)
	}
	return groups
}

// contentOf returns a string that differs for different lists.
func contentOf(x localsink.Extensions) string {
	var b strings.Builder
	for e := range x.All() {
		for _, s := range []string{e.Key, e.Value} {
			b.WriteString(strconv.Itoa(len(s)))
			b.WriteByte(' ')
			b.WriteString(s)
		}
	}
	return b.String()
}
