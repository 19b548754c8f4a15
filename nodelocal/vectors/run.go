// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package vectors

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// An Implementation resolves the Services of one cluster for one node. Calls do not overlap. An
// error ends the story.
type Implementation interface {
	// Configure starts a new node, with settings such as "node node-1", in the cluster as it is.
	Configure(ctx context.Context, settings []string) error
	// Apply adds or replaces objects of the Kubernetes API, without apiVersion. Invalid values in
	// an object are no error.
	Apply(ctx context.Context, objects []json.RawMessage) error
	// Delete deletes objects, such as "Service default/web".
	Delete(ctx context.Context, names []string) error
	// Probe returns the outcome of each probe, "CLIENT PROTOCOL ADDRESS:PORT".
	Probe(ctx context.Context, probes []string) ([]string, error)
	// Close frees the implementation. No call follows.
	Close() error
}

// A Describer is an Implementation that prints its desired state as this module does.
type Describer interface {
	// State returns the text of the desired state, as localsink.Service.Text prints it.
	State(ctx context.Context) (string, error)
}

// A Result is what became of an expectation.
type Result struct {
	Step *Step
	// Skipped reports that the implementation is no [Describer] and the expectation is a state.
	Skipped bool
	// Got is the text of the step with the actual result: equal to Step.Text if it passed.
	Got string
}

// Passed reports whether the expectation is met, or skipped.
func (r Result) Passed() bool { return r.Skipped || r.Got == r.Step.Text }

// Difference lists the lines that differ, "- " before those that are expected and "+ " before
// those of the implementation; "" if the expectation is met.
func (r Result) Difference() string {
	if r.Passed() {
		return ""
	}
	var b strings.Builder
	want, got := strings.Split(strings.TrimSuffix(r.Step.Text, "\n"), "\n"), strings.Split(strings.TrimSuffix(r.Got, "\n"), "\n")
	for i := range max(len(want), len(got)) {
		if i < len(want) && i < len(got) && want[i] == got[i] {
			continue
		}
		if i < len(want) {
			fmt.Fprintln(&b, "- "+want[i])
		}
		if i < len(got) {
			fmt.Fprintln(&b, "+ "+got[i])
		}
	}
	return b.String()
}

// Run runs a story with an implementation that has received nothing, and closes it. It returns a
// result for each expectation, in order. An error names the story and the file in which the
// implementation failed; the results before it are returned.
func Run(ctx context.Context, s *Story, impl Implementation) (results []Result, err error) {
	defer func() {
		if closed := impl.Close(); err == nil && closed != nil {
			err = fmt.Errorf("story %s: %w", s.Name, closed)
		}
	}()
	for i := range s.Steps {
		step := &s.Steps[i]
		result, err := step.run(ctx, impl)
		if err != nil {
			return results, fmt.Errorf("story %s: %s.%s: %w", s.Name, step.Name, step.Kind, err)
		}
		if result != nil {
			results = append(results, *result)
		}
	}
	return results, nil
}

// run returns the result of an expectation, and nil for any other step.
func (s *Step) run(ctx context.Context, impl Implementation) (*Result, error) {
	switch s.Kind {
	case StepConfig:
		return nil, impl.Configure(ctx, joined(s.Text))
	case StepApply:
		objects, err := s.objects()
		if err != nil {
			return nil, err
		}
		return nil, impl.Apply(ctx, objects)
	case StepDelete:
		return nil, impl.Delete(ctx, joined(s.Text))
	case StepState:
		d, ok := impl.(Describer)
		if !ok {
			return &Result{Step: s, Skipped: true}, nil
		}
		text, err := d.State(ctx)
		return &Result{Step: s, Got: text}, err
	case StepProbes:
	}
	probes, err := s.probes()
	if err != nil {
		return nil, err
	}
	outcomes, err := impl.Probe(ctx, probes)
	if err != nil {
		return nil, err
	}
	if len(outcomes) != len(probes) {
		return nil, fmt.Errorf("%d outcomes for %d probes", len(outcomes), len(probes))
	}
	return &Result{Step: s, Got: s.withOutcomes(outcomes)}, nil
}
