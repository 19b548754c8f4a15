// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"sigs.k8s.io/kpng/localsink"
)

// endsWithProxy is why a proxy cannot restart without an effect on its clients.
const endsWithProxy = "connections and affinity entries end with the proxy"

// adaptAnswer returns an answer as the contract describes it: a proxy refuses a TCP connection
// after the kernel has accepted it.
func (c *checker) adaptAnswer(a answer) answer {
	if c.backend.Proxy && errors.Is(a.err, syscall.ECONNRESET) {
		a.refused = true
	}
	return a
}

// hiddenByProcess reports whether a probe reaches another process instead of a proxy.
func (c *checker) hiddenByProcess(p probe) bool {
	return c.backend.Proxy && slices.Contains(c.testbed.traceHost().Addrs, p.to.Addr()) && c.testbed.servers.listensOn(p.variant.protocol, p.to)
}

// lacksSockets reports whether a proxy cannot open as many sockets, one for each port of a
// Service, and records that as the reason why the behaviour is untested.
func (c *checker) lacksSockets(sockets int) bool {
	need := uint64(sockets) + openFilesPerBehaviour
	limit, err := openFilesLimit()
	if !c.backend.Proxy || err != nil || limit >= need {
		return false
	}
	c.untested(fmt.Sprintf("a proxy needs %d open files, the limit is %d: raise it with ulimit -n", need, limit))
	return true
}

// mayRefuseSilently reports whether a client that must be refused may get no answer: a process
// can send no ICMP messages. If the frontend has no other clients, the process closes its socket,
// and the kernel sends them.
func (c *checker) mayRefuseSilently(p probe) bool {
	return c.backend.Proxy && p.variant.protocol == localsink.ProtocolUDP && (c.servesOthers(p) || c.keepsFlows(p))
}

// servesOthers reports whether the destination of a probe does not refuse every kind of client.
func (c *checker) servesOthers(p probe) bool {
	return slices.ContainsFunc(append(c.testbed.clientsOfEachKind(), c.testbed.externalClient(4)), func(cl client) bool {
		other := c.expect(probe{variant: p.variant, client: cl, to: p.to})
		return !other.Rejected && other.RefusedPerMille < 1000
	})
}

// keepsFlows reports whether a port at the destination of a probe may have established flows: it
// has draining endpoints, or refuses all new connections.
func (c *checker) keepsFlows(p probe) bool {
	for svc := range c.state.All() {
		for _, port := range svc.Ports {
			serves := func(fe localsink.Frontend) bool { return slices.Contains(p.variant.destinations(fe), p.to) }
			if (len(port.Draining) > 0 || port.RefusedPerMille >= 1000) && port.Protocol == p.variant.protocol && slices.ContainsFunc(port.Frontends, serves) {
				return true
			}
		}
	}
	return false
}
