// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/kpng/localsink/sinktest"
)

// maxParallel limits concurrent probes.
const maxParallel = 64

// maxParallelRetries limits concurrent retries of probes to which the ICMP rate limit of the
// kernel may have applied.
const maxParallelRetries = 16

// check runs probes and compares their answers with the contract.
func (c *checker) check(probes []probe) {
	answers := c.run(probes)
	var retries []probe
	for i, p := range probes {
		switch mismatch := c.mismatch(p, answers[i]); {
		case mismatch == "":
		case c.expect(p).Rejected:
			// The kernel limits ICMP messages per second, which is not a failure of the backend.
			retries = append(retries, p)
		default:
			c.failf(p.variant, "%s: expected %s, observed: %s", p, c.expectation(p), mismatch)
		}
	}
	answers = c.runLimited(retries, maxParallelRetries, c.waitForRefusal)
	for i, p := range retries {
		if mismatch := c.mismatch(p, answers[i]); mismatch != "" {
			c.failf(p.variant, "%s: expected %s, observed: %s", p, c.expectation(p), mismatch)
		}
	}
}

// run runs probes concurrently and returns their answers.
func (c *checker) run(probes []probe) []answer {
	return c.runLimited(probes, maxParallel, func(p probe) time.Duration {
		want := c.expect(p)
		if want.Dropped || len(want.Endpoints) == 0 && !want.Rejected && !c.answersItself(p) {
			return c.testbed.limits.Silence
		}
		if want.Rejected {
			return c.testbed.limits.Refusal
		}
		return c.testbed.limits.Answer
	})
}

func (c *checker) waitForRefusal(probe) time.Duration { return c.testbed.limits.Refusal }

// runLimited runs at most parallel probes at a time. wait returns the timeout of a probe.
func (c *checker) runLimited(probes []probe, parallel int, wait func(probe) time.Duration) []answer {
	answers := make([]answer, len(probes))
	free := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i, p := range probes {
		timeout := wait(p)
		free <- struct{}{}
		wg.Go(func() {
			answers[i] = c.adaptAnswer(p.run(timeout))
			<-free
			c.count(p.variant, answers[i])
		})
	}
	wg.Wait()
	return answers
}

// count adds an answer to the statistics of a variant.
func (c *checker) count(v variant, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cell := c.cells[v]
	cell.Connections++
	if !a.silent {
		cell.SlowestAnswer = max(cell.SlowestAnswer, a.duration)
	}
}

// expect returns the answer that the contract requires.
func (c *checker) expect(p probe) sinktest.Outcome {
	if c.hiddenByProcess(p) {
		return sinktest.Outcome{}
	}
	want := sinktest.Trace(c.node, c.state, c.testbed.traceHost(), sinktest.Packet{
		From: p.from(), Interface: p.client.iface, To: p.to, Protocol: p.variant.protocol,
	})
	want.Masquerade = want.Masquerade || c.backend.Proxy
	return want
}

// expectation returns the required answer as text for failure messages.
func (c *checker) expectation(p probe) string {
	switch want := c.expect(p); {
	case want.Rejected || want.Dropped || len(want.Endpoints) > 0:
		return want.String()
	case c.testbed.servers.listensOn(p.variant.protocol, p.to):
		return p.to.String() + ", which belongs to no Service"
	case c.answersItself(p):
		return "refused by the node, no Service"
	}
	return "no answer, no Service"
}

// answersItself reports whether the destination answers or refuses without a Service. The
// kernel does not refuse SCTP on the node, because SCTP servers use raw sockets.
func (c *checker) answersItself(p probe) bool {
	return c.testbed.servers.listensOn(p.variant.protocol, p.to) || !p.variant.isSCTP() && slices.Contains(c.testbed.traceHost().Addrs, p.to.Addr())
}

// mismatch describes an answer that violates the contract. It returns "" for a valid one.
func (c *checker) mismatch(p probe, a answer) string {
	want := c.expect(p)
	switch {
	case want.Rejected:
		if a.silent && c.mayRefuseSilently(p) {
			return ""
		}
		return refusalMismatch(p, a)
	case want.Dropped:
		if !a.silent {
			return a.String()
		}
		return ""
	case want.RefusedPerMille > 0 && a.refused:
		return "" // DP-19-all checks how soon
	case len(want.Endpoints) > 0:
		return c.endpointMismatch(p, a, want.Endpoints, want.Masquerade)
	case c.testbed.servers.listensOn(p.variant.protocol, p.to):
		return c.endpointMismatch(p, a, []netip.AddrPort{p.to}, false) // not a Service: unchanged
	case c.answersItself(p):
		return refusalMismatch(p, a) // no process listens
	case a.err == nil:
		return a.String()
	}
	return ""
}

func refusalMismatch(p probe, a answer) string {
	if !a.refused || a.duration > p.client.limits.Refusal {
		return a.String()
	}
	return ""
}

func (c *checker) endpointMismatch(p probe, a answer, servers []netip.AddrPort, masquerade bool) string {
	if a.err != nil || !slices.Contains(servers, a.server) {
		return a.String()
	}
	nodes, hairpin := c.testbed.traceHost().Addrs, a.server.Addr() == p.from() && !slices.Contains(c.testbed.traceHost().Addrs, p.from())
	switch {
	case hairpin && c.backend.Sockets && a.seen.Addr() == p.from():
		return "" // the connection does not leave the pod
	case masquerade && slices.Contains(nodes, a.server.Addr()):
		return "" // replies pass through this node without masquerading
	case (masquerade || hairpin) && !slices.Contains(nodes, a.seen.Addr()):
		return a.String() + ", expected the endpoint to see an address of the node"
	case !masquerade && !hairpin && a.seen.Addr() != p.from():
		return a.String() + ", expected the endpoint to see the client address"
	}
	return ""
}
