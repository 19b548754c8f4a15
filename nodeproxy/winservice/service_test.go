// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package winservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServiceStops(t *testing.T) {
	failed := errors.New("failed")
	for _, c := range []struct {
		name string
		stop func(stop chan struct{}, cancel func())
		run  func(ctx context.Context) error
		want error
	}{
		{"by request", func(stop chan struct{}, _ func()) { close(stop) }, func(ctx context.Context) error { <-ctx.Done(); return nil }, nil},
		{"by the context", func(_ chan struct{}, cancel func()) { cancel() }, func(ctx context.Context) error { <-ctx.Done(); return nil }, nil},
		{"by itself", func(chan struct{}, func()) {}, func(context.Context) error { return failed }, failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop := make(chan struct{})
			var states []state
			require.ErrorIs(t, supervise(ctx, stop, func(s state) {
				if states = append(states, s); s == running {
					c.stop(stop, cancel)
				}
			}, c.run), c.want)
			require.Equal(t, []state{starting, running, stopping}, states)
		})
	}
}

// A fakeLog notes events with their severity.
type fakeLog []string

func (l *fakeLog) add(severity, text string) error {
	*l = append(*l, severity+" "+text[strings.Index(text, "m"):])
	return nil
}

func (l *fakeLog) Info(_ uint32, text string) error    { return l.add("info", text) }
func (l *fakeLog) Warning(_ uint32, text string) error { return l.add("warning", text) }
func (l *fakeLog) Error(_ uint32, text string) error   { return l.add("error", text) }
func (*fakeLog) Close() error                          { return nil }

func TestEventsHaveTheLevelOfLines(t *testing.T) {
	withoutTime := &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	for format, handler := range map[string]func(l *EventLog) slog.Handler{
		"text": func(l *EventLog) slog.Handler { return slog.NewTextHandler(l, withoutTime) },
		"json": func(l *EventLog) slog.Handler { return slog.NewJSONHandler(l, withoutTime) },
	} {
		t.Run(format, func(t *testing.T) {
			events := &fakeLog{}
			log := slog.New(handler(&EventLog{events}))
			log.Debug("d")
			log.Info("Text level=ERROR", "k", `"level":"ERROR"`)
			log.Warn("w")
			log.Error("e")
			var severities []string
			for _, e := range *events {
				severities = append(severities, strings.Fields(e)[0])
			}
			require.Equal(t, []string{"info", "info", "warning", "error"}, severities)
		})
	}
	events := &fakeLog{}
	n, err := (&EventLog{events}).Write([]byte("m1\n\nm2\r\n" + strings.Repeat("m", 2*maxEvent)))
	require.NoError(t, err)
	require.Equal(t, 8+2*maxEvent, n)
	require.Equal(t, []string{"info m1", "info m2", "info " + strings.Repeat("m", maxEvent)}, []string(*events))
}

func ExampleRun() {
	err := Run(context.Background(), "kube-proxy", func(ctx context.Context) error {
		<-ctx.Done() // the proxy
		return nil
	})
	fmt.Println(errors.Is(err, ErrNotService))
	// Output: true
}
