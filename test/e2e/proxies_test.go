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

// syncLimit is how long a proxy may take to act on a few changes.
const syncLimit = 30 * time.Second

// TestProxies runs each proxy through everything, then compares what packets came
// to. KPNG_CASES, a regular expression, chooses among the cases.
func TestProxies(t *testing.T) {
	w := newWorld(t)
	results := map[string][]result{}
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			p.build(t, w)
			p.start(t, w)
			w.barrier(t, syncLimit)
			t.Run("cases", func(t *testing.T) { results[p.name] = runCases(t, w, p) })
			for _, live := range liveTests() {
				t.Run(live.name, func(t *testing.T) { live.run(t, w, p) })
			}
		})
	}
	for _, p := range proxies()[1:] {
		t.Run("parity with "+p.name, func(t *testing.T) { compare(t, results["kpng"], results[p.name], p.differences) })
	}
}

// A run is a case on its way through its steps.
type run struct {
	testCase
	addresses book
	now       []service
	results   []result
}

// runCases runs all cases at once, step by step, so that one change of the
// canary serves them all, and returns what each probe saw.
func runCases(t *testing.T, w *world, p *proxyUnderTest) []result {
	chosen, err := regexp.Compile(os.Getenv("KPNG_CASES"))
	require.NoError(t, err)
	var runs []*run
	steps := 0
	for _, c := range cases() {
		if chosen.MatchString(c.name) {
			runs = append(runs, &run{testCase: c, addresses: book{}})
			steps = max(steps, len(c.steps))
		}
	}
	prober := &prober{world: w, kept: map[string]*cluster.Conn{}}
	defer prober.close()
	for i := range steps {
		begin := time.Now()
		for _, r := range runs {
			r.apply(t, w, i)
		}
		w.barrier(t, syncLimit)
		synced := time.Now()
		for _, probed := range probeAll(t, prober, runs, i, p.differences) {
			probed.run.results = append(probed.run.results, probed.result)
		}
		t.Logf("step %d: written and in force after %v, probed in %v", i+1,
			synced.Sub(begin).Round(time.Millisecond), time.Since(synced).Round(time.Millisecond))
		p.alive(t)
	}
	var all []result
	for _, r := range runs {
		w.apply(t, r.now, nil)
		t.Run(r.name, func(t *testing.T) { report(t, r.results) })
		all = append(all, r.results...)
	}
	return all
}

func (r *run) apply(t *testing.T, w *world, i int) {
	if i >= len(r.steps) {
		return
	}
	for _, o := range w.apply(t, r.now, r.steps[i].services) {
		r.addresses.add(w, o)
	}
	r.now = r.steps[i].services
}

type probed struct {
	run *run
	result
}

// probeAll runs the probes of one step of all cases, some at a time.
func probeAll(t *testing.T, prober *prober, runs []*run, i int, differences []difference) []probed {
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
			p = differing(p, differences)
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

// report shows the table of a case, and fails it when a probe saw what it should
// not.
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
		fmt.Fprintf(table, "%s\tstep %s\t%s\twant %s\tgot %s\n", mark, r.step, r.key(), r.wanted(), r.got)
	}
	table.Flush()
	if failed > 0 {
		t.Errorf("%d of %d probes saw something else than wanted\n%s", failed, len(results), text.String())
	} else {
		t.Logf("%d probes\n%s", len(results), text.String())
	}
}

func (p probe) wanted() string {
	text := strings.Join(p.want, " ")
	if p.one {
		text = "one of " + text
	}
	if p.source != "" {
		text += " src=" + p.source
	}
	return text
}

// compare lists the probes in which two proxies differ, and fails the test when those
// are not the ones in which they are expected to.
func compare(t *testing.T, ours, theirs []result, expected []difference) {
	if len(ours) == 0 || len(theirs) == 0 {
		t.Skip("needs the results of both proxies")
	}
	c := comparison{seen: map[string]int{}}
	c.run(ours, theirs)
	for _, d := range expected {
		if c.seen[d.id] == 0 && os.Getenv("KPNG_CASES") == "" {
			t.Errorf("no probe shows %s: %s", d.id, d.why)
		}
	}
	if len(c.wrong) > 0 {
		t.Errorf("of %d probes, these differ and are not listed, or are listed and do not differ:\n%s", len(ours), strings.Join(c.wrong, "\n"))
	}
	t.Logf("%d probes, expected differences:\n%s", len(ours), strings.Join(c.right, "\n"))
}

// A comparison is what has come of one.
type comparison struct {
	right, wrong []string
	seen         map[string]int // differences by id
}

func (c *comparison) run(ours, theirs []result) {
	others := map[string]result{}
	for _, r := range theirs {
		others[r.title()] = r
	}
	for _, r := range ours {
		other, found := others[r.title()]
		delete(others, r.title())
		differs, listed := !found || other.got != r.got, other.difference != ""
		line := fmt.Sprintf("%-6s  %s: kpng %s, other %s", other.difference, r.title(), r.got, other.got)
		switch {
		case differs != listed:
			c.wrong = append(c.wrong, line)
		case differs:
			c.right = append(c.right, line)
			c.seen[other.difference]++
		}
	}
	for title := range others {
		c.wrong = append(c.wrong, "only the other was asked "+title)
	}
}
