// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/test/cluster"
)

// syncLimit is the maximum time for a proxy to apply a few changes.
const syncLimit = 30 * time.Second

// TestProxies runs all cases and live tests with each proxy and compares the results.
// KPNG_CASES, a regular expression, selects cases by name, and KPNG_PROXIES proxies. The gate leaves out
// kube-proxy in the mode iptables, which changes with its version only.
func TestProxies(t *testing.T) {
	selected, err := regexp.Compile(os.Getenv("KPNG_PROXIES"))
	require.NoError(t, err)
	all := slices.DeleteFunc(proxies(), func(p *proxyUnderTest) bool { return !selected.MatchString(p.name) })
	require.NotEmpty(t, all, "KPNG_PROXIES")
	fx := newFixture(t)
	results := map[string][]result{}
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) { results[p.name] = runProxy(t, fx, p) })
	}
	for _, p := range all[1:] {
		t.Run("parity with "+p.name, func(t *testing.T) { compare(t, results["kpng"], results[p.name], p.differences) })
	}
}

// runProxy runs all cases and live tests with a proxy, and returns the results of the cases.
func runProxy(t *testing.T, fx *fixture, p *proxyUnderTest) (results []result) {
	p.build(t, fx)
	p.start(t, fx)
	fx.barrier(t, syncLimit)
	t.Run("cases", func(t *testing.T) { results = runCases(t, fx, p) })
	for _, live := range liveTests() {
		t.Run(live.name, func(t *testing.T) { live.run(t, fx, p) })
	}
	return results
}

// A caseRun is the execution of one case.
type caseRun struct {
	testCase
	addresses addressBook
	current   []service // of the last step that was applied
	results   []result
}

// runCases runs all cases concurrently, step by step, so that all share one barrier per
// step. It returns the results of all probes.
func runCases(t *testing.T, fx *fixture, p *proxyUnderTest) []result {
	selected, err := regexp.Compile(os.Getenv("KPNG_CASES"))
	require.NoError(t, err)
	var runs []*caseRun
	steps := 0
	for _, c := range cases() {
		if selected.MatchString(c.name) {
			runs = append(runs, &caseRun{testCase: c, addresses: addressBook{}})
			steps = max(steps, len(c.steps))
		}
	}
	prober := &prober{fixture: fx, conns: map[string]*cluster.Conn{}}
	defer prober.close()
	for i := range steps {
		begin := time.Now()
		for _, r := range runs {
			r.apply(t, fx, i)
		}
		fx.barrier(t, syncLimit)
		synced := time.Now()
		for _, probed := range probeAll(t, prober, runs, i, p.differences) {
			probed.run.results = append(probed.run.results, probed.result)
		}
		t.Logf("step %d: written and applied after %v, probed in %v", i+1,
			synced.Sub(begin).Round(time.Millisecond), time.Since(synced).Round(time.Millisecond))
		p.alive(t)
	}
	var all []result
	for _, r := range runs {
		fx.apply(t, r.current, nil)
		t.Run(r.name, func(t *testing.T) { report(t, r.results) })
		all = append(all, r.results...)
	}
	return all
}

func (r *caseRun) apply(t *testing.T, fx *fixture, i int) {
	if i >= len(r.steps) {
		return
	}
	for _, o := range fx.apply(t, r.current, r.steps[i].services) {
		r.addresses.add(fx, o)
	}
	r.current = r.steps[i].services
}

type probed struct {
	run *caseRun
	result
}

// probeAll runs the probes of one step of all cases, at most 64 at a time.
func probeAll(t *testing.T, prober *prober, runs []*caseRun, i int, differences []difference) []probed {
	var group sync.WaitGroup
	var mu sync.Mutex
	var all []probed
	slots := make(chan struct{}, 64)
	for _, r := range runs {
		if i >= len(r.steps) {
			continue
		}
		name := ""
		if services := r.steps[i].services; len(services) > 0 {
			name = services[0].name
		}
		probes, err := parseProbes(r.steps[i].probes, name)
		require.NoError(t, err, r.name)
		for _, p := range probes {
			var found bool
			p.at, found = r.addresses.find(p.service, p.kind, p.family, p.port, p.proto)
			require.True(t, found, "case %q: no address for %q", r.name, p.key())
			p.caseName, p.step = r.name, fmt.Sprint(i+1)
			p = withDifference(p, differences)
			group.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				got := prober.run(t.Context(), p)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, probed{r, got})
			})
		}
	}
	group.Wait()
	slices.SortFunc(all, func(a, b probed) int { return cmp.Compare(a.key(), b.key()) })
	return all
}

// report logs the results of a case and fails it if a result is not the expected one.
func report(t *testing.T, results []result) {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	failed := 0
	for _, r := range results {
		mark := ""
		if r.fail {
			mark = "WRONG"
			failed++
		}
		fmt.Fprintf(table, "%s\tstep %s\t%s\twant %s\tgot %s\n", mark, r.step, r.key(), r.expected(), r.got)
	}
	table.Flush()
	if failed > 0 {
		t.Errorf("%d of %d probes did not get the expected result\n%s", failed, len(results), text.String())
	} else {
		t.Logf("%d probes\n%s", len(results), text.String())
	}
}

// expected returns the expected result as text.
func (p *probe) expected() string {
	text := strings.Join(p.want, " ")
	if p.one {
		text = "one of " + text
	}
	if p.source != "" {
		text += " src=" + p.source
	}
	return text
}

// compare compares the results of two proxies. It fails the test if they differ in other
// probes than the documented differences predict.
func compare(t *testing.T, ours, theirs []result, expected []difference) {
	if len(ours) == 0 || len(theirs) == 0 {
		t.Skip("needs results of both proxies")
	}
	c := comparison{seen: map[string]int{}}
	c.run(ours, theirs)
	for _, d := range expected {
		if c.seen[d.id] == 0 && os.Getenv("KPNG_CASES") == "" {
			t.Errorf("no probe has difference %s: %s", d.id, d.why)
		}
	}
	if len(c.unexpected) > 0 {
		t.Errorf("of %d probes, these have an unlisted difference, or a listed one that did not occur:\n%s", len(ours), strings.Join(c.unexpected, "\n"))
	}
	t.Logf("%d probes, expected differences:\n%s", len(ours), strings.Join(c.expected, "\n"))
}

// A comparison is the result of comparing two proxies.
type comparison struct {
	expected, unexpected []string       // lines about probes that differ
	seen                 map[string]int // number of probes by ID of the difference
}

func (c *comparison) run(ours, theirs []result) {
	theirsByTitle := map[string]result{}
	for _, r := range theirs {
		theirsByTitle[r.title()] = r
	}
	for _, r := range ours {
		other, found := theirsByTitle[r.title()]
		delete(theirsByTitle, r.title())
		differs, listed := !found || other.got != r.got, other.difference != ""
		line := fmt.Sprintf("%-6s  %s: kpng %s, other %s", other.difference, r.title(), r.got, other.got)
		switch {
		case differs != listed:
			c.unexpected = append(c.unexpected, line)
		case differs:
			c.expected = append(c.expected, line)
			c.seen[other.difference]++
		}
	}
	for title := range theirsByTitle {
		c.unexpected = append(c.unexpected, "only the other proxy has a result of "+title)
	}
}
