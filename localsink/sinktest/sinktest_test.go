// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// model is a sink of the fast kind: it looks at the distance only. Its faults can be
// switched on.
type model struct {
	services              map[localsink.ServiceName]string
	neverRemoves, appends bool
	log                   []string
}

func (m *model) Sync(ctx context.Context, u *localsink.Update) error {
	for _, svc := range u.Changed {
		if m.appends {
			m.log = append(m.log, svc.Name.String())
		}
		m.services[svc.Name] = svc.Text()
		if err := ctx.Err(); err != nil {
			return err // half way: the next update lists all of this again
		}
	}
	for _, svc := range u.Removed {
		if !m.neverRemoves {
			delete(m.services, svc.Name)
		}
	}
	return nil
}

func (m *model) describe() string {
	var all []string
	for _, text := range m.services {
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(append(all, m.log...), "")
}

func harness(m model) Harness {
	return Harness{New: func(*testing.T) (localsink.Sink, func() string) {
		fresh := m
		fresh.services = map[localsink.ServiceName]string{}
		return &fresh, fresh.describe
	}}
}

func TestLawsHoldForARightSink(t *testing.T) { TestSink(t, harness(model{})) }

// TestLawsCatchWrongSinks runs the laws against faulty sinks, in a test of its own
// that nobody sees fail.
func TestLawsCatchWrongSinks(t *testing.T) {
	for name, law := range map[string]struct {
		fault model
		law   func(Harness) func(*testing.T)
	}{
		"never removes":             {model{neverRemoves: true}, func(h Harness) func(*testing.T) { return h.emptied }},
		"never removes, in passing": {model{neverRemoves: true}, func(h Harness) func(*testing.T) { return h.history }},
		"adds what is there":        {model{appends: true}, func(h Harness) func(*testing.T) { return h.idempotent }},
	} {
		t.Run(name, func(t *testing.T) {
			require.False(t, passes(law.law(harness(law.fault))))
		})
	}
}

// passes runs a test function on its own.
func passes(f func(*testing.T)) bool {
	return testing.RunTests(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "inner", F: f}})
}

func TestRecorderCatchesBadDrivers(t *testing.T) {
	w := newWorld(2, 0)
	node, a, b := w.node(), w.state(), w.state()
	for name, updates := range map[string][]*localsink.Update{
		"change left out":      {NewUpdate(node, nil, a), {Node: node, All: b}},
		"removal left out":     {NewUpdate(node, nil, a), {Node: node, All: NewState()}},
		"node change left out": {{Node: node, All: NewState()}},
		"removed twice":        {NewUpdate(node, nil, a), NewUpdate(node, a, NewState()), NewUpdate(node, a, NewState())},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Recorder{}
			for _, u := range updates {
				require.NoError(t, r.Sync(t.Context(), u))
			}
			require.Error(t, r.Err())
		})
	}
	var over *Recorder
	over = &Recorder{Fail: func(*localsink.Update) error {
		require.Error(t, over.Sync(t.Context(), NewUpdate(node, nil, a)), "a call within a call")
		require.Empty(t, over.Updates(), "Fail may ask the recorder")
		return nil
	}}
	require.NoError(t, over.Sync(t.Context(), NewUpdate(node, nil, a)))
	require.ErrorContains(t, over.Err(), "overlap")

	r := &Recorder{}
	require.NoError(t, r.Sync(t.Context(), NewUpdate(node, nil, a)))
	require.NoError(t, r.Sync(t.Context(), NewUpdate(node, a, b)))
	require.NoError(t, r.Wait(t.Context(), 2))
	require.NoError(t, r.Err())
	for svc := range b.All() {
		require.Same(t, svc, r.Service(svc.Name))
	}
}
