// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodeagent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// clientFunc is a client whose Run is the function.
type clientFunc func(ctx context.Context, sink localsink.Sink) error

func (f clientFunc) Run(ctx context.Context, sink localsink.Sink) error { return f(ctx, sink) }

// A rulesSink is a backend with injected failures.
type rulesSink struct {
	err           error
	notProgrammed map[localsink.ServiceName]error
}

func (s *rulesSink) Sync(context.Context, *localsink.Update) error { return s.err }

func (s *rulesSink) NotProgrammed() map[localsink.ServiceName]error {
	return maps.Clone(s.notProgrammed)
}

func get(h http.Handler, path string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// TestAssembly checks that each observer receives the updates of the backend.
func TestAssembly(t *testing.T) {
	rules := &rulesSink{err: errors.New("injected")}
	var log bytes.Buffer
	firstSyncs := 0
	a, err := newAgent(Config{
		Client: clientFunc(nil), Rules: rules, AfterFirstSync: func() { firstSyncs++ },
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, a.pipeline.Close()) }()
	web := &localsink.Service{
		Name:     localsink.ServiceName{Namespace: "ns", Name: "web"},
		Problems: []localsink.Problem{{Object: "Service ns/web", Field: "spec.x", Message: "invalid"}},
	}
	d := sinktest.Driver{Sink: a.pipeline, Node: &localsink.Node{Name: "node-1"}}
	require.Error(t, d.Sync(t.Context(), sinktest.NewState(web)))
	require.NotContains(t, log.String(), "Applied first state")
	code, _ := get(a.pipeline.HealthHandler(), "/healthz")
	require.Equal(t, 503, code, "no state is applied")

	rules.err = nil
	rules.notProgrammed = map[localsink.ServiceName]error{web.Name: errors.New("no space")}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web)))
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web)))
	require.Equal(t, 1, firstSyncs)
	require.Regexp(t, `msg="Applied first state" node=node-1 services=1\n`, log.String())
	require.Regexp(t, `msg="Service not programmed as specified" service=ns/web`, log.String())
	for _, path := range []string{"/livez", "/healthz"} {
		code, _ := get(a.pipeline.HealthHandler(), path)
		require.Equal(t, 200, code, path)
	}
	for path, want := range map[string]string{
		"/healthz":      "ok",
		"/state":        "# node node-1",
		"/state/ns/web": "no space",
		"/metrics":      "\nkpng_services_not_programmed 1\n",
	} {
		code, body := get(a.operatorHandler, path)
		require.Equal(t, 200, code, path)
		require.Contains(t, body, want, path)
	}
	d.Node = &localsink.Node{Name: "node-1", Deleting: true}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web)))
	code, _ = get(a.pipeline.HealthHandler(), "/healthz")
	require.Equal(t, 503, code, "the node is being deleted")
}

// TestRun checks that Run ends with its context, and that an error names the field.
func TestRun(t *testing.T) {
	require.EqualError(t, Run(t.Context(), Config{Rules: &rulesSink{}}), "nodeagent: Client: required")
	require.EqualError(t, Run(t.Context(), Config{Client: clientFunc(nil)}), "nodeagent: Rules: required")

	untilDone := clientFunc(func(ctx context.Context, _ localsink.Sink) error { <-ctx.Done(); return nil })
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	for field, cfg := range map[string]Config{
		"HealthAddress":   {HealthAddress: listener.Addr().String()},
		"OperatorAddress": {OperatorAddress: listener.Addr().String()},
	} {
		cfg.Client, cfg.Rules = untilDone, &rulesSink{}
		require.ErrorContains(t, Run(t.Context(), cfg), field+": listen tcp", "the address is in use")
	}

	ctx, cancel := context.WithCancel(t.Context())
	client := clientFunc(func(ctx context.Context, sink localsink.Sink) error {
		err := sink.Sync(ctx, &localsink.Update{Node: &localsink.Node{Name: "node-1"}, NodeChanged: true, All: sinktest.NewState()})
		cancel()
		<-ctx.Done()
		return err
	})
	require.NoError(t, Run(ctx, Config{Client: client, Rules: &rulesSink{}, HealthAddress: "127.0.0.1:0", OperatorAddress: "127.0.0.1:0"}))
}
