// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A tally counts where the connections of one variant went. The zero address stands for
// refused connections.
type tally struct {
	connections int
	expected    map[netip.AddrPort]float64
	observed    map[netip.AddrPort]int
	messages    int // refused connections whose client got a message
}

// refusedAddr is the key of refused connections in a tally.
func refusedAddr() netip.AddrPort { return netip.AddrPort{} }

// expect adds the expectation for one connection.
func (t *tally) expect(o sinktest.Outcome) {
	t.connections++
	refused := float64(o.RefusedPerMille) / 1000
	if refused > 0 {
		t.expected[refusedAddr()] += refused
	}
	sum := 0.0
	weight := func(i int) float64 {
		if o.Weights == nil {
			return 1
		}
		return float64(o.Weights[i])
	}
	for i := range o.Endpoints {
		sum += weight(i)
	}
	for i, e := range o.Endpoints {
		t.expected[e] += (1 - refused) * weight(i) / sum
	}
}

// mismatch describes a distribution that differs from the expected one by more than chance.
func (t *tally) mismatch() string {
	chi := 0.0
	for e, want := range t.expected {
		d := float64(t.observed[e]) - want
		chi += d * d / want
	}
	if limit := chiLimit(len(t.expected) - 1); chi <= limit {
		return ""
	}
	var texts []string
	for _, e := range slices.SortedFunc(maps.Keys(t.expected), netip.AddrPort.Compare) {
		name := e.String()
		if e == refusedAddr() {
			name = "refused"
		}
		texts = append(texts, fmt.Sprintf("%s: expected %.0f, observed %d", name, t.expected[e], t.observed[e]))
	}
	return fmt.Sprintf("%d connections were not distributed as required: %s", t.connections, strings.Join(texts, "; "))
}

// chiLimit returns the value of chi-square that a correct distribution exceeds less than once
// in a million runs.
func chiLimit(degreesOfFreedom int) float64 {
	limits := []float64{0, 23.93, 27.63, 30.66, 33.38, 35.89}
	return limits[min(max(degreesOfFreedom, 0), len(limits)-1)]
}

// runPaced runs probes of which many are refused with ICMP messages, so slowly that the kernel,
// which limits these per second, sends all: a packet that is sent again because there was no
// answer would be refused with another probability. A proxy sends no ICMP messages.
func (c *checker) runPaced(probes []probe) []answer {
	if c.backend.Proxy {
		return c.runLimited(probes, maxParallel, c.waitForRefusal)
	}
	return c.runLimited(probes, 4, func(probe) time.Duration {
		c.pause(time.Millisecond)
		return c.testbed.limits.Answer
	})
}

// checkDistribution connects, and compares the number of connections of each endpoint, and of
// refused ones, with the weights and the refused share.
func (c *checker) checkDistribution(when string, probes []probe) {
	var fast, paced []probe
	for _, p := range probes {
		if c.expect(p).RefusedPerMille > 0 && p.variant.protocol != localsink.ProtocolTCP {
			paced = append(paced, p)
		} else {
			fast = append(fast, p)
		}
	}
	tallies := map[variant]*tally{}
	answers := slices.Concat(c.run(fast), c.runPaced(paced))
	for i, p := range slices.Concat(fast, paced) {
		a := answers[i]
		t := tallies[p.variant]
		if t == nil {
			t = &tally{expected: map[netip.AddrPort]float64{}, observed: map[netip.AddrPort]int{}}
			tallies[p.variant] = t
		}
		want := c.expect(p)
		t.expect(want)
		switch {
		case want.RefusedPerMille > 0 && a.refused:
			t.observed[refusedAddr()]++
			t.messages++
		case want.RefusedPerMille > 0 && a.silent && p.variant.protocol != localsink.ProtocolTCP:
			t.observed[refusedAddr()]++
			continue
		default:
			t.observed[a.server]++
		}
		if mismatch := c.mismatch(p, a); mismatch != "" {
			c.failf(p.variant, "%s: %s: expected %s, observed: %s", when, p, c.expectation(p), mismatch)
		}
	}
	for v, t := range tallies {
		if mismatch := t.mismatch(); mismatch != "" {
			c.failf(v, "%s: %s", when, mismatch)
		}
		if t.expected[refusedAddr()] > 0 && t.messages == 0 && !(c.backend.Proxy && v.protocol == localsink.ProtocolUDP) {
			c.failf(v, "%s: none of %d connections was refused with a message", when, t.connections)
		}
	}
}
