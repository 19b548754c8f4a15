// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A step is a desired state and the probes that check it.
type step struct {
	services map[string]*localsink.Service
	probes   []probe
}

// addPort adds a port to the Service with a name and the family of the variant.
func (s *step) addPort(v variant, name string, p localsink.Port) {
	name += "-" + map[bool]string{false: "ipv4", true: "ipv6"}[v.v6]
	svc := s.services[name]
	if svc == nil {
		svc = &localsink.Service{Name: localsink.ServiceName{Namespace: "backendtest", Name: name}}
		s.services[name] = svc
	}
	p.Protocol = v.protocol
	if p.Name == "" {
		p.Name = v.protocol.String()
	}
	svc.Ports = append(svc.Ports, p)
}

// addProbes adds a probe from each client to each address.
func (s *step) addProbes(v variant, clients []client, addrs ...netip.AddrPort) {
	for _, cl := range clients {
		for _, to := range addrs {
			s.probes = append(s.probes, probe{variant: v, client: cl, to: to})
		}
	}
}

// build calls f for each variant and returns the resulting step.
func (c *checker) build(f func(s *step, v variant)) *step {
	s := &step{services: map[string]*localsink.Service{}}
	for _, v := range c.variants {
		f(s, v)
	}
	return s
}

func (s *step) state() localsink.State {
	var all []*localsink.Service
	for _, svc := range s.services {
		all = append(all, svc)
	}
	return sinktest.NewState(all...)
}

// syncAndCheck syncs the state of a step and checks its probes. It reports whether another
// step makes sense: the sync succeeded, and some variant has not failed.
func (c *checker) syncAndCheck(f func(s *step, v variant)) bool {
	s := c.build(f)
	if !c.sync(s.state()) {
		return false
	}
	c.check(s.probes)
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.variants, func(v variant) bool { return c.cells[v].Outcome == OutcomePassed })
}

// checkAgain checks the probes of a step without a sync.
func (c *checker) checkAgain(f func(s *step, v variant)) {
	c.check(c.build(f).probes)
}
