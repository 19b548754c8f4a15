// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package execsink

import (
	"encoding/json"
	"errors"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzAnswer parses the answer of a program: only {"ok":REVISION} acknowledges an update, only
// {"error":TEXT} is an error after which the program continues, and all else ends it.
func FuzzAnswer(f *testing.F) {
	for _, line := range []string{`{"ok":7}`, `{"ok":8}`, `{"ok":7,"error":"x"}`, `{"error":"x"}`, `{"error":1}`, `{"ok":7.0}`, `{"ok":"7"}`, `null`, "", `{"ok":null,"OK":7}`} {
		f.Add([]byte(line), uint64(7))
	}
	f.Fuzz(func(t *testing.T, line []byte, revision uint64) {
		err := parseAnswer(line, revision)
		var fields map[string]any
		isObject := json.Unmarshal(line, &fields) == nil
		var fatal fatalError
		switch {
		case err == nil:
			require.True(t, isObject)
			require.Contains(t, string(line), strconv.FormatUint(revision, 10))
		case errors.As(err, &fatal):
			require.Error(t, fatal.Unwrap())
		default:
			require.True(t, isObject)
			require.Regexp(t, `^error of the program: "`, err.Error())
		}
	})
}
