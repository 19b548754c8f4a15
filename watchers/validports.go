// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import "slices"

// fewPorts is how many ports are compared with each other. An EndpointSlice may have 20,000.
const fewPorts = 16

// A portKey is what only one port of an object may have.
type portKey struct {
	name     string
	protocol Protocol
}

func servicePortKey(p ServicePort) (key portKey, used bool) {
	return portKey{p.Name, p.Protocol}, p.Port != 0
}

func endpointPortKey(p EndpointPort) (key portKey, used bool) {
	return portKey{p.Name, p.Protocol}, p.Port != 0
}

// firstPorts returns the index of the first port with each key; nil if there are few.
func firstPorts[P any](list []P, keyOf func(P) (portKey, bool)) map[portKey]int {
	if len(list) <= fewPorts {
		return nil
	}
	first := make(map[portKey]int, len(list))
	for i, p := range list {
		if key, used := keyOf(p); used {
			if _, repeated := first[key]; !repeated {
				first[key] = i
			}
		}
	}
	return first
}

// repeatsPort reports whether a port has the key of an earlier one. first is the result of
// firstPorts.
func repeatsPort[P any](list []P, first map[portKey]int, i int, keyOf func(P) (portKey, bool)) bool {
	key, _ := keyOf(list[i])
	if first != nil {
		earlier, ok := first[key]
		return ok && earlier < i
	}
	return slices.ContainsFunc(list[:i], func(o P) bool {
		other, used := keyOf(o)
		return used && other == key
	})
}
