// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// A deltaSink is a sink that reads only the delta of its updates. Each of its faults breaks
// a law.
type deltaSink struct {
	node     string
	services map[localsink.ServiceName]string
	log      []string
	// Faults:
	ignoresRemoved, appendsToLog, keepsFirstNode, hidesCutOff bool
}

func (s *deltaSink) Sync(ctx context.Context, u *localsink.Update) error {
	if u.NodeChanged && (s.node == "" || !s.keepsFirstNode) {
		s.node = fmt.Sprint(*u.Node)
	}
	for _, svc := range u.Changed {
		if s.appendsToLog {
			s.log = append(s.log, svc.Name.String())
		}
		s.services[svc.Name] = svc.Text()
		if err := ctx.Err(); err != nil {
			if s.hidesCutOff {
				return nil
			}
			return err // the next update lists the same Services again
		}
	}
	for _, svc := range u.Removed {
		if !s.ignoresRemoved {
			delete(s.services, svc.Name)
		}
	}
	return nil
}

func (s *deltaSink) describe() string {
	var all []string
	for _, text := range s.services {
		all = append(all, text)
	}
	slices.Sort(all)
	return s.node + strings.Join(append(all, s.log...), "")
}

func harness(faults deltaSink) Harness {
	return Harness{New: func(*testing.T) (localsink.Sink, func() string) {
		fresh := faults
		fresh.services = map[localsink.ServiceName]string{}
		return &fresh, fresh.describe
	}}
}

func TestConformingSinkObeysAllLaws(t *testing.T) { TestSink(t, harness(deltaSink{})) }

// TestLawsDetectBrokenSinks runs each law against deliberately broken sinks.
func TestLawsDetectBrokenSinks(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault deltaSink
		law   func(*testing.T, Harness)
	}{
		{"ignores Removed at the end", deltaSink{ignoresRemoved: true}, removesEverything},
		{"ignores Removed in between", deltaSink{ignoresRemoved: true}, historyIndependent},
		{"ignores Removed after failures", deltaSink{ignoresRemoved: true}, retrySafe},
		{"appends instead of replacing", deltaSink{appendsToLog: true}, idempotent},
		{"keeps its first Node", deltaSink{keepsFirstNode: true}, followsNode},
		{"keeps its first Node among other changes", deltaSink{keepsFirstNode: true}, historyIndependent},
		{"returns nil for half of an update", deltaSink{hidesCutOff: true}, cutOff},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.False(t, passes(func(t *testing.T) { c.law(t, harness(c.fault)) }))
		})
	}
}

// passes reports whether f passes as a test of its own, whose failure does not fail the
// current test.
func passes(f func(*testing.T)) bool {
	return testing.RunTests(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "inner", F: f}})
}
