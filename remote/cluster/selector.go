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

// A class is what a stream wants to be told of, as a string: whose Services, and of which
// namespaces, all when none is named. Streams of one class are sent the same bytes.
//
//	"*" or an owner, NUL, and "/" namespace "/" namespace ... "/"
const (
	selectAllProxies = "*"
	ownerUnlabelled  = "-" // owner of Services without the label
	ownerPrefix      = "=" // begins the owner of others
	ownerAny         = ""  // owner of what no filter keeps from anybody
)

// maxNamespaces bounds what a stream may name.
const maxNamespaces = 1000

// ownerOf says whose a Service is, nil for one that is not there.
func ownerOf(s *watchers.Service) string {
	switch {
	case s == nil:
		return ownerAny
	case s.ProxyName == nil:
		return ownerUnlabelled
	}
	return ownerPrefix + *s.ProxyName
}

// selectorOf returns the class that a client asks for. The error names the field that is
// wrong.
func selectorOf(h *kpng.ClusterHello) (string, error) {
	owner := ownerUnlabelled
	switch name := h.GetServiceProxyName(); {
	case h.GetAllProxies() && name != "":
		return "", errors.New("hello.service_proxy_name: all proxies are wanted")
	case h.GetAllProxies():
		owner = selectAllProxies
	case name != "":
		if !validName(name) {
			return "", fmt.Errorf("hello.service_proxy_name: %q cannot be a label's value", name)
		}
		owner = ownerPrefix + name
	}
	names := slices.Sorted(slices.Values(h.GetNamespaces()))
	names = slices.Compact(names)
	if len(names) > maxNamespaces {
		return "", fmt.Errorf("hello.namespaces: %d are more than %d", len(names), maxNamespaces)
	}
	list := ""
	if len(names) > 0 {
		for _, n := range names {
			if !validName(n) {
				return "", fmt.Errorf("hello.namespaces: %q cannot be a namespace", n)
			}
		}
		list = "/" + strings.Join(names, "/") + "/"
	}
	return owner + "\x00" + list, nil
}

// validName says that a name needs no quotes.
func validName(s string) bool {
	ok := func(r rune) bool {
		return r == '-' || r == '.' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	return s != "" && len(s) <= 63 && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}

// selects says whether streams of a class are told of what an owner has in a namespace;
// the namespace is empty for what is in none.
func selects(class, owner, namespace string) bool {
	who, list, _ := strings.Cut(class, "\x00")
	return (owner == ownerAny || who == selectAllProxies || who == owner) &&
		(namespace == "" || list == "" || strings.Contains(list, "/"+namespace+"/"))
}
