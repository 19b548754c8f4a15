// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	"k8s.io/klog/v2"
)

func newLog(t *testing.T, cfg Config) (*Log, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	l, err := New(&out, cfg)
	require.NoError(t, err)
	return l, &out
}

func TestVerbosityOfKubernetesIsALevel(t *testing.T) {
	for verbosity, want := range map[int]string{0: "I", 2: "I 2", 4: "I 2 D", 8: "I 2 D 8"} {
		l, out := newLog(t, Config{Verbosity: verbosity})
		require.Equal(t, verbosity, l.Verbosity())
		require.Equal(t, verbosity >= 4, l.Enabled(4))
		logger := logr.FromSlogHandler(l.Logger().Handler())
		l.Logger().Info("I")
		logger.V(2).Info("2")
		l.Logger().Debug("D")
		logger.V(8).Info("8")
		var got []string
		for line := range strings.Lines(out.String()) {
			_, message, _ := strings.Cut(strings.TrimSpace(line), "msg=")
			got = append(got, message)
		}
		require.Equal(t, want, strings.Join(got, " "))
	}
	l, out := newLog(t, Config{})
	require.NoError(t, l.SetVerbosity(2))
	logr.FromSlogHandler(l.Logger().Handler()).V(2).Info("x")
	require.Contains(t, out.String(), "level=V2 msg=x")
	require.ErrorContains(t, l.SetVerbosity(-1), "Verbosity: -1 is out of range")
}

func TestJSONHasTheKeysOfKubernetes(t *testing.T) {
	l, out := newLog(t, Config{Format: FormatJSON, Verbosity: 4})
	before := time.Now()
	l.Logger().Info("One", "service", "a/b")
	l.Logger().Debug("Two")
	l.Logger().Error("Three", "err", errors.New("injected"))
	var lines []map[string]any
	for line := range strings.Lines(out.String()) {
		var object map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &object))
		ts, ok := object["ts"].(float64)
		require.True(t, ok)
		require.InDelta(t, before.UnixMilli(), ts, 10_000)
		delete(object, "ts")
		lines = append(lines, object)
	}
	require.Equal(t, []map[string]any{
		{"v": 0.0, "msg": "One", "service": "a/b"}, {"v": 4.0, "msg": "Two"}, {"level": "ERROR", "msg": "Three", "err": "injected"},
	}, lines)
}

func TestInvalidConfig(t *testing.T) {
	_, err := New(nil, Config{Format: "xml"})
	require.EqualError(t, err, `logging: Format: "xml": want text or json`)
	_, err = New(nil, Config{Verbosity: -1})
	require.ErrorContains(t, err, "Verbosity")
}

// TestRepeatedMessagesAreLimited logs one message 100 times a second for an hour, between
// lines with another message.
func TestRepeatedMessagesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out := newLog(t, Config{})
		logger := l.Logger().With("k", "v")
		const total = 3600 * 100
		for i := range total {
			logger.Warn("Repeated", "i", i)
			if i%(600*100) == 0 {
				logger.WithGroup("g").Info("Rare", "i", i)
			}
			time.Sleep(10 * time.Millisecond)
		}
		require.Equal(t, 6, strings.Count(out.String(), "msg=Rare"))
		logged := strings.Count(out.String(), "msg=Repeated")
		require.InDelta(t, burst+120, logged, 2, "two lines a minute")
		leftOut := 0
		for line := range strings.Lines(out.String()) {
			if _, text, ok := strings.Cut(line, `msg="Lines left out of the log" k=v message=Repeated lines=`); ok {
				var n int
				_, err := fmt.Sscan(text, &n)
				require.NoError(t, err)
				leftOut += n
			}
		}
		require.InDelta(t, total-logged, leftOut, 60*100, "all but those of the last minute are counted")
		require.Less(t, strings.Count(out.String(), "\n"), 60*4)
	})
}

func TestDebugIsNotLimited(t *testing.T) {
	l, out := newLog(t, Config{Verbosity: 4})
	for range 10 * burst {
		l.Logger().Debug("Repeated")
	}
	require.Equal(t, 10*burst, strings.Count(out.String(), "\n"))
}

// TestMessagesOfLibrariesAreBounded logs messages that contain numbers.
func TestMessagesOfLibrariesAreBounded(t *testing.T) {
	h := newLimitHandler(slog.DiscardHandler)
	limited, ok := h.(*limitHandler)
	require.True(t, ok)
	for i := range 3 * maxMessages {
		limited.limits.take(fmt.Sprint("message ", i), time.Now())
	}
	require.Len(t, limited.limits.messages, maxMessages)
}

// TestKlogUsesTheLog redirects klog, and changes the verbosity of both.
func TestKlogUsesTheLog(t *testing.T) {
	defer klog.ClearLogger()
	l, out := newLog(t, Config{Format: FormatJSON})
	setVerbosity, err := l.RedirectKlog()
	require.NoError(t, err)
	klog.InfoS("from klog", "key", "value")
	klog.V(3).InfoS("hidden")
	require.Contains(t, out.String(), `"msg":"from klog"`)
	require.Contains(t, out.String(), `"key":"value"`)
	require.NotContains(t, out.String(), "hidden")
	require.NoError(t, setVerbosity("3"))
	require.Equal(t, 3, l.Verbosity())
	klog.V(3).InfoS("shown")
	klog.ErrorS(errors.New("injected"), "failed")
	require.Contains(t, out.String(), `"v":3,"msg":"shown"`)
	require.Contains(t, out.String(), `"err":"injected"`)
	for _, text := range []string{"", "x", "-1", "99999999999"} {
		require.Error(t, setVerbosity(text), text)
	}
	require.NoError(t, setVerbosity("0"))
}
