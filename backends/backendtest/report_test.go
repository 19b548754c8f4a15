// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// exampleReport returns a report with every outcome.
func exampleReport() *Report {
	return &Report{Backend: "example", Unsupported: "SCTP", Results: []Result{
		{ID: "A-1", Title: "it works", Duration: time.Second, Notes: []string{"fast"}, Cells: []Cell{
			{Variant: "IPv4 TCP", Outcome: OutcomePassed, Connections: 3, SlowestAnswer: 2 * time.Millisecond},
			{Variant: "IPv6 TCP", Outcome: OutcomeFailed, Failures: []string{"one", "two"}},
			{Variant: "IPv4 SCTP", Outcome: OutcomeUnsupported, Reason: "the backend does not support SCTP"},
		}},
		{ID: "A-2", Title: "it heals", Cells: []Cell{
			{Variant: "IPv4 TCP", Outcome: OutcomeUntested, Reason: "not on this kernel"},
			{Variant: "IPv4 SCTP", Outcome: OutcomeUnsupported, Reason: "the backend does not support SCTP"},
		}},
	}}
}

func TestReport(t *testing.T) {
	r := exampleReport()
	require.Equal(t, []string{"A-1"}, r.Failed())
	require.Equal(t, "it heals", r.Result("A-2").Title)
	require.Nil(t, r.Result("A-3"))
	require.Equal(t, `| ID | Behaviour | IPv4 TCP | IPv6 TCP | IPv4 UDP | IPv6 UDP | IPv4 SCTP | IPv6 SCTP |
| --- | --- | --- | --- | --- | --- | --- | --- |
| A-1 | it works | pass | FAIL | - | - | unsupported | - |
| A-2 | it heals | untested | - | - | - | unsupported | - |

- unsupported: the backend does not support SCTP (A-1, A-2)
- untested: not on this kernel (A-2)
`, r.Markdown())

	text := r.Text()
	for _, part := range []string{
		"backend example, unsupported features: SCTP\n", "A-1: fast\n",
		"A-1: IPv6 TCP: one\nA-1: IPv6 TCP: two\n", "untested: not on this kernel (A-2)\n",
	} {
		require.Contains(t, text, part)
	}
	require.True(t, strings.HasSuffix(text, "\n2 behaviours; variants: 1 pass, 1 FAIL, 2 unsupported, 1 untested; failed: A-1\n"), text)
	row := text[strings.Index(text, "A-1 "):]
	row = row[:strings.Index(row, "\n")]
	require.Equal(t, "A-1 pass FAIL - - unsupported - 1s 2ms it works", strings.Join(strings.Fields(row), " "))
}

func TestReportAsJSON(t *testing.T) {
	out, err := exampleReport().JSON()
	require.NoError(t, err)
	var back Report
	require.NoError(t, json.Unmarshal(out, &back))
	require.Equal(t, exampleReport(), &back)
	require.Contains(t, string(out), `"slowestAnswerNanoseconds": 2000000`)
}
