// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// An Outcome is the outcome of a behaviour in one variant.
type Outcome string

// The outcomes. A variant to which a behaviour does not apply has no Cell.
const (
	OutcomePassed Outcome = "pass"
	OutcomeFailed Outcome = "FAIL"
	// OutcomeUnsupported: the backend declares a needed feature unsupported, see Cell.Reason.
	OutcomeUnsupported Outcome = "unsupported"
	// OutcomeUntested: the machine or the Backend does not allow the test, see Cell.Reason.
	OutcomeUntested Outcome = "untested"
)

// A Cell is the outcome of a behaviour in one variant.
type Cell struct {
	// Variant is the address family and the protocol, such as "IPv4 TCP".
	Variant string  `json:"variant"`
	Outcome Outcome `json:"outcome"`
	// Reason is set for OutcomeUnsupported and OutcomeUntested.
	Reason string `json:"reason,omitempty"`
	// Failures describes the first failures, each in at most 500 bytes.
	Failures []string `json:"failures,omitempty"`
	// Connections is the number of connection attempts. SlowestAnswer is the longest
	// time until an answer or a refusal.
	Connections   int           `json:"connections"`
	SlowestAnswer time.Duration `json:"slowestAnswerNanoseconds"`
}

// A Result is the outcome of one behaviour.
type Result struct {
	// ID identifies the behaviour; it never changes. It is also the name of the subtest.
	ID string `json:"id"`
	// Title states the behaviour.
	Title string `json:"title"`
	Cells []Cell `json:"cells"`
	// Hint names the usual cause, if a variant failed.
	Hint string `json:"hint,omitempty"`
	// Notes holds measurements.
	Notes []string `json:"notes,omitempty"`
	// Duration includes building the testbed.
	Duration time.Duration `json:"durationNanoseconds"`
}

// Failed reports whether any variant failed.
func (r *Result) Failed() bool {
	return slices.ContainsFunc(r.Cells, func(c Cell) bool { return c.Outcome == OutcomeFailed })
}

// failedEverywhere reports whether every variant that was checked failed.
func (r *Result) failedEverywhere() bool {
	return r.Failed() && !slices.ContainsFunc(r.Cells, func(c Cell) bool { return c.Outcome == OutcomePassed })
}

// skipped returns why no variant was checked, and "" if one was.
func (r *Result) skipped() string {
	var reasons []string
	for _, c := range r.Cells {
		if c.Outcome == OutcomePassed || c.Outcome == OutcomeFailed {
			return ""
		}
		if reason := fmt.Sprintf("%s: %s", c.Outcome, c.Reason); !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	return strings.Join(reasons, "; ")
}

// notChecked lists the variants that were not checked, with the reasons, one in each line.
func (r *Result) notChecked() string {
	var b strings.Builder
	for _, c := range r.Cells {
		if c.Reason != "" {
			fmt.Fprintf(&b, "%s: %s: %s\n", c.Variant, c.Outcome, c.Reason)
		}
	}
	return b.String()
}

// A Report is the outcome of all behaviours.
type Report struct {
	Backend string `json:"backend"`
	// Unsupported names the features that the backend does not support.
	Unsupported string   `json:"unsupported,omitempty"`
	Results     []Result `json:"results"`
}

// Failed returns the IDs of the behaviours that failed in some variant.
func (r *Report) Failed() []string {
	var ids []string
	for i := range r.Results {
		if r.Results[i].Failed() {
			ids = append(ids, r.Results[i].ID)
		}
	}
	return ids
}

// Result returns the result with an ID, or nil.
func (r *Report) Result(id string) *Result {
	i := slices.IndexFunc(r.Results, func(res Result) bool { return res.ID == id })
	if i < 0 {
		return nil
	}
	return &r.Results[i]
}

// JSON returns the report as indented JSON.
func (r *Report) JSON() ([]byte, error) { return json.MarshalIndent(r, "", "  ") }

// columns returns the variants in the order of the tables.
func columns() []string {
	var all []string
	for _, v := range allVariants() {
		all = append(all, v.String())
	}
	return all
}

// row returns the outcomes in the order of columns.
func (r *Result) row() []string {
	var row []string
	for _, column := range columns() {
		text := "-"
		for _, c := range r.Cells {
			if c.Variant == column {
				text = string(c.Outcome)
			}
		}
		row = append(row, text)
	}
	return row
}

// Text returns the report as a plain text table, followed by measurements and failures.
func (r *Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "backend %s", r.Backend)
	if r.Unsupported != "" {
		fmt.Fprintf(&b, ", unsupported features: %s", r.Unsupported)
	}
	fmt.Fprintln(&b)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\t%s\tduration\tslowest answer\t\n", strings.Join(columns(), "\t"))
	for i := range r.Results {
		res := &r.Results[i]
		var slowest time.Duration
		for _, c := range res.Cells {
			slowest = max(slowest, c.SlowestAnswer)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", res.ID, strings.Join(res.row(), "\t"),
			res.Duration.Round(time.Millisecond), slowest.Round(10*time.Microsecond), res.Title)
	}
	_ = w.Flush() // a strings.Builder does not fail
	for _, res := range r.Results {
		for _, note := range res.Notes {
			fmt.Fprintf(&b, "%s: %s\n", res.ID, note)
		}
	}
	r.reasons(&b, "")
	for _, res := range r.Results {
		for _, c := range res.Cells {
			for _, f := range c.Failures {
				fmt.Fprintf(&b, "%s: %s: %s\n", res.ID, c.Variant, f)
			}
		}
		if res.Hint != "" {
			fmt.Fprintf(&b, "%s: hint: %s\n", res.ID, res.Hint)
		}
	}
	fmt.Fprintln(&b, r.summary())
	return b.String()
}

// summary returns the number of each outcome and the failed behaviours.
func (r *Report) summary() string {
	count, text := map[Outcome]int{}, fmt.Sprintf("%d behaviours; variants", len(r.Results))
	for _, res := range r.Results {
		for _, c := range res.Cells {
			count[c.Outcome]++
		}
	}
	for i, o := range []Outcome{OutcomePassed, OutcomeFailed, OutcomeUnsupported, OutcomeUntested} {
		text += fmt.Sprintf("%c %d %s", ":,,,"[i], count[o], o)
	}
	if failed := r.Failed(); len(failed) > 0 {
		text += "; failed: " + strings.Join(failed, ", ")
	}
	return text
}

// reasons writes one line for each reason why variants are unsupported or untested.
func (r *Report) reasons(b *strings.Builder, bullet string) {
	type reason struct {
		outcome Outcome
		text    string
	}
	var order []reason
	where := map[reason][]string{}
	for _, res := range r.Results {
		for _, c := range res.Cells {
			if c.Reason == "" {
				continue
			}
			k := reason{c.Outcome, c.Reason}
			if where[k] == nil {
				order = append(order, k)
			}
			if !slices.Contains(where[k], res.ID) {
				where[k] = append(where[k], res.ID)
			}
		}
	}
	for _, k := range order {
		ids := strings.Join(where[k], ", ")
		if len(where[k]) > 8 {
			ids = fmt.Sprintf("%d behaviours", len(where[k]))
		}
		fmt.Fprintf(b, "%s%s: %s (%s)\n", bullet, k.outcome, k.text, ids)
	}
}

// Markdown returns the table for documentation. It has no durations, so that it changes
// with the outcomes only.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| ID | Behaviour | %s |\n", strings.Join(columns(), " | "))
	fmt.Fprintf(&b, "| --- | --- |%s\n", strings.Repeat(" --- |", len(columns())))
	for i := range r.Results {
		res := &r.Results[i]
		fmt.Fprintf(&b, "| %s | %s | %s |\n", res.ID, res.Title, strings.Join(res.row(), " | "))
	}
	b.WriteString("\n")
	r.reasons(&b, "- ")
	return b.String()
}

// A variant is an address family and a protocol.
type variant struct {
	v6       bool
	protocol localsink.Protocol
}

func allVariants() []variant {
	var all []variant
	for _, p := range []localsink.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP, localsink.ProtocolSCTP} {
		all = append(all, variant{false, p}, variant{true, p})
	}
	return all
}

func (v variant) family() string {
	if v.v6 {
		return "IPv6"
	}
	return "IPv4"
}

// String returns "IPv4 TCP".
func (v variant) String() string { return v.family() + " " + v.protocol.String() }

// needs returns the features that the variant needs.
func (v variant) needs() localsink.Features {
	f := localsink.FeatureIPv4
	if v.v6 {
		f = localsink.FeatureIPv6
	}
	switch v.protocol {
	case localsink.ProtocolTCP:
		f |= localsink.FeatureTCP
	case localsink.ProtocolUDP:
		f |= localsink.FeatureUDP
	case localsink.ProtocolSCTP:
		f |= localsink.FeatureSCTP
	}
	return f
}
