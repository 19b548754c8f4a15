// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/backendtest"
	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
)

func TestMain(m *testing.M) { os.Exit(backendtest.Main(m)) }

// TestConformance checks nftables, conntrack and localhost together.
func TestConformance(t *testing.T) {
	report := backendtest.Run(t, backendtest.Backend{
		Name: "nftables, conntrack and localhost",
		New: func(_ context.Context, node backendtest.Namespace) (localsink.Sink, error) {
			rules, err := nftables.New(nftables.Config{})
			if err != nil {
				return nil, err
			}
			flows, err := conntrack.New(conntrack.Config{})
			if err != nil {
				return nil, err
			}
			loopback, err := localhost.New(localhost.Config{Dial: backendtest.DialIn(node)})
			return localsink.Chain(rules, flows, loopback), err
		},
		LoopbackNodePorts: true,
		Drift:             func() error { return exec.Command("nft", "flush", "ruleset").Run() },
	})
	t.Log(report.Text())
	checkTable(t, "nftables", report)
}

// checkBackend checks all behaviours of a backend and its table if KPNG_CONFORMANCE is all or the
// table is written, and otherwise those that it lists, or some of each kind: all of them take
// minutes for each backend.
func checkBackend(t *testing.T, name string, backend backendtest.Backend) {
	t.Helper()
	if os.Getenv("KPNG_CONFORMANCE") != "all" && os.Getenv("UPDATE_CONFORMANCE") != "1" {
		ids := cmp.Or(os.Getenv("KPNG_CONFORMANCE"), "DP-01,DP-04,DP-15,DP-16,DP-20,DP-22,DP-27,DP-30,DP-40,SEL-20,endpoints-change,CT-03,OP-05,OP-14,OP-16")
		report := backendtest.Try(t, backend, strings.Split(ids, ",")...)
		require.Empty(t, report.Failed(), report.Text())
		return
	}
	report := backendtest.Run(t, backend)
	t.Log(report.Text())
	checkTable(t, name, report)
}

// page is the documentation with a table for each backend, between the comments
// "begin BACKEND" and "end BACKEND".
const page = "../../docs/conformance.md"

// checkTable checks that the table of a backend lists the behaviours of the report. With
// UPDATE_CONFORMANCE=1 it writes the table, with the outcomes of this machine.
func checkTable(t *testing.T, backend string, report *backendtest.Report) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	begin, end := "<!-- begin "+backend+" -->\n", "<!-- end "+backend+" -->\n"
	before, rest, ok1 := strings.Cut(string(text), begin)
	table, after, ok2 := strings.Cut(rest, end)
	require.True(t, ok1 && ok2, "%s: no markers of the table of %s", page, backend)
	if os.Getenv("UPDATE_CONFORMANCE") == "1" {
		require.Len(t, report.Results, len(backendtest.IDs()), "the table needs a run of all behaviours")
		require.NoError(t, os.WriteFile(page, []byte(before+begin+report.Markdown()+end+after), 0o644))
		return
	}
	for _, res := range report.Results {
		require.Contains(t, table, "| "+res.ID+" | "+res.Title+" |", "UPDATE_CONFORMANCE=1 writes the table")
	}
}
