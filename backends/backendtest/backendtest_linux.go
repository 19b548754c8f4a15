// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"slices"
	"testing"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
)

// Main runs the tests of a package as root. Without root privileges it runs them in a new
// user namespace. Call it from TestMain and exit with its result.
func Main(m *testing.M) int { return netnstest.Main(m) }

// Run checks all behaviours of a backend, each as a subtest of t, and returns the report.
// A subtest of which no variant can be checked is skipped, with the reason. Without the
// privilege to create network namespaces t is skipped, or fails if the environment variable
// KPNG_REQUIRE_NETNS is 1. It takes a minute or two, less with a higher -parallel. When the
// time limit of the test (-timeout) is near, what is not finished fails, and the report is
// returned. If a cluster IP leads to no endpoint in any variant, the remaining behaviours
// are untested: all of them would fail for that reason.
func Run(t *testing.T, b Backend) *Report {
	t.Helper()
	if err := b.validate(nil); err != nil {
		t.Fatal(err)
	}
	k := newKit(t, b)
	all := behaviours()
	results := make([]Result, len(all))
	t.Run(b.Name, func(t *testing.T) {
		for i, bh := range all {
			t.Run(bh.id, func(t *testing.T) {
				if bh.id != basicID {
					t.Parallel()
				}
				results[i] = k.check(t, bh)
				reportTo(t, &results[i])
			})
			if bh.id == basicID {
				k.unusable = results[i].failedEverywhere()
			}
		}
	})
	return k.report(results)
}

// reportTo fails or skips a subtest by its result.
func reportTo(t *testing.T, r *Result) {
	for _, c := range r.Cells {
		for _, f := range c.Failures {
			t.Errorf("%s: %s: %s", r.Title, c.Variant, f)
		}
	}
	if r.Hint != "" {
		t.Log("hint: " + r.Hint)
	}
	if reason := r.skipped(); reason != "" {
		t.Skip(reason)
	}
	if text := r.notChecked(); text != "" {
		t.Log(text)
	}
}

// Try checks the behaviours with the given IDs, or all without IDs, and returns the report.
// Failed behaviours do not fail t; a Backend without New and an unknown ID do.
func Try(t testing.TB, b Backend, ids ...string) *Report {
	t.Helper()
	if err := b.validate(ids); err != nil {
		t.Fatal(err)
	}
	k := newKit(t, b)
	var results []Result
	for _, bh := range behaviours() {
		if len(ids) == 0 || slices.Contains(ids, bh.id) {
			results = append(results, k.check(t, bh))
		}
	}
	return k.report(results)
}

// IDs returns the IDs of all behaviours in the order of reports.
func IDs() []string {
	var ids []string
	for _, bh := range behaviours() {
		ids = append(ids, bh.id)
	}
	return ids
}
