// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/watchers"
)

// A selector is a string that describes which objects a stream receives. It is the class of
// the stream in package fanout: streams with the same selector receive the same bytes.
//
//	selector = ["+"] ("*" | owner) NUL ["/" namespace "/" namespace ... "/"]
//
// "+" includes objects that are not Services, for clients with CAPABILITY_ORIGINS. "*"
// selects all owners, and no namespace selects all namespaces. The owner of a Service is
// the proxy that programs it; an EndpointSlice has the owner of its Service.
const (
	selectOrigins    = "+"
	selectAllProxies = "*"
	ownerUnlabelled  = "-" // of Services without the label service.kubernetes.io/service-proxy-name
	ownerPrefix      = "=" // followed by the value of the label
	ownerAny         = ""  // of objects that every selector includes
)

// maxNamespaces bounds the namespaces in a selector.
const maxNamespaces = 1000

// ownerOf returns the owner of a Service; ownerAny for nil, a missing Service.
func ownerOf(s *watchers.Service) string {
	switch {
	case s == nil:
		return ownerAny
	case s.ProxyName == nil:
		return ownerUnlabelled
	}
	return ownerPrefix + *s.ProxyName
}

// selectorOf returns the selector of a client. origins reports whether the client receives
// objects that are not Services. The error names the invalid field.
func selectorOf(h *kpng.ClusterHello, origins bool) (string, error) {
	owner := ownerUnlabelled
	switch name := h.GetServiceProxyName(); {
	case h.GetAllProxies() && name != "":
		return "", errors.New("hello.service_proxy_name: must be empty with all_proxies")
	case h.GetAllProxies():
		owner = selectAllProxies
	case name != "":
		if !validName(name) {
			return "", fmt.Errorf("hello.service_proxy_name: %q is not a valid label value", name)
		}
		owner = ownerPrefix + name
	}
	namespaces := slices.Sorted(slices.Values(h.GetNamespaces()))
	namespaces = slices.Compact(namespaces)
	if len(namespaces) > maxNamespaces {
		return "", fmt.Errorf("hello.namespaces: has %d entries, at most %d are allowed", len(namespaces), maxNamespaces)
	}
	list := ""
	if len(namespaces) > 0 {
		for _, n := range namespaces {
			if !validName(n) {
				return "", fmt.Errorf("hello.namespaces: %q is not a valid namespace", n)
			}
		}
		list = "/" + strings.Join(namespaces, "/") + "/"
	}
	selector := owner + "\x00" + list
	if origins {
		selector = selectOrigins + selector
	}
	return selector, nil
}

// validName reports whether s has only characters that label values and namespaces may
// have, and therefore none of the separators of a selector.
func validName(s string) bool {
	ok := func(r rune) bool {
		return r == '-' || r == '.' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	return s != "" && len(s) <= 63 && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}

// selects reports whether a selector includes an object with an owner.
func selects(selector, owner string, key objectKey) bool {
	selector, origins := strings.CutPrefix(selector, selectOrigins)
	selected, namespaces, _ := strings.Cut(selector, "\x00")
	namespace := key.namespace
	return (origins || key.origin == "") && (owner == ownerAny || selected == selectAllProxies || selected == owner) &&
		(namespace == "" || namespaces == "" || strings.Contains(namespaces, "/"+namespace+"/"))
}
