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
	allProxies = "*"
	noLabel    = "-" // owner of Services without the label
	labelled   = "=" // begins the owner of others
	everybody  = ""  // owner of what no filter keeps from anybody
)

// maxNamespaces bounds what a stream may name.
const maxNamespaces = 1000

// ownerOf says whose a Service is, nil for one that is not there.
func ownerOf(s *watchers.Service) string {
	switch {
	case s == nil:
		return everybody
	case s.ProxyName == nil:
		return noLabel
	}
	return labelled + *s.ProxyName
}

// classOf returns the class that a client asks for. The error names the field that is
// wrong.
func classOf(h *kpng.ClusterHello) (string, error) {
	owner := noLabel
	switch name := h.GetServiceProxyName(); {
	case h.GetAllProxies() && name != "":
		return "", errors.New("hello.service_proxy_name: all proxies are wanted")
	case h.GetAllProxies():
		owner = allProxies
	case name != "":
		if !plain(name) {
			return "", fmt.Errorf("hello.service_proxy_name: %q cannot be a label's value", name)
		}
		owner = labelled + name
	}
	names := slices.Sorted(slices.Values(h.GetNamespaces()))
	names = slices.Compact(names)
	if len(names) > maxNamespaces {
		return "", fmt.Errorf("hello.namespaces: %d are more than %d", len(names), maxNamespaces)
	}
	list := ""
	if len(names) > 0 {
		for _, n := range names {
			if !plain(n) {
				return "", fmt.Errorf("hello.namespaces: %q cannot be a namespace", n)
			}
		}
		list = "/" + strings.Join(names, "/") + "/"
	}
	return owner + "\x00" + list, nil
}

// plain says that a name needs no quotes.
func plain(s string) bool {
	ok := func(r rune) bool {
		return r == '-' || r == '.' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	return s != "" && len(s) <= 63 && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}

// concerns says whether streams of a class are told of what an owner has in a namespace;
// the namespace is empty for what is in none.
func concerns(class, owner, namespace string) bool {
	who, list, _ := strings.Cut(class, "\x00")
	return (owner == everybody || who == allProxies || who == owner) &&
		(namespace == "" || list == "" || strings.Contains(list, "/"+namespace+"/"))
}
