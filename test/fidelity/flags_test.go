// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// flagsOf returns type and default of each flag in the output of --help.
func flagsOf(t *testing.T, path string) map[string]string {
	t.Helper()
	code, help, stderr := execute(t, path, "--help")
	require.Zero(t, code, stderr)
	line := regexp.MustCompile(`^ {2,6}((?:-\w, )?--\S+)((?: \S+)?) {2,}(.*)$`)
	defaults := regexp.MustCompile(`\(default (.*)\)$`)
	flags := map[string]string{}
	for text := range strings.Lines(help) {
		m := line.FindStringSubmatch(strings.TrimSuffix(text, "\n"))
		if m == nil {
			continue
		}
		value := strings.TrimSpace(m[2])
		if value == "" {
			value = "bool"
		}
		if d := defaults.FindStringSubmatch(m[3]); d != nil {
			value += " " + d[1]
		}
		flags[m[1]] = value
	}
	return flags
}

func TestFlags(t *testing.T) {
	kubeProxy, here := build(t)
	theirs, ours := flagsOf(t, kubeProxy), flagsOf(t, here)
	// Deprecated flags are not in the help.
	for _, flag := range []string{"--healthz-port=1", "--metrics-port=1"} {
		for path, flags := range map[string]map[string]string{kubeProxy: theirs, here: ours} {
			code, _, stderr := execute(t, path, flag, "--version")
			require.Zero(t, code, stderr)
			if strings.Contains(stderr, "has been deprecated") {
				flags[flag] = "deprecated"
			}
		}
	}
	require.Len(t, theirs, 57)
	compare(t, flagsTitle, theirs, ours)
}

// TestEveryFlagIsCompared checks that the flags of the field cases are all flags for fields.
func TestEveryFlagIsCompared(t *testing.T) {
	kubeProxy, _ := build(t)
	given := strings.Join(everyFlag(), " ") + " "
	for flag := range flagsOf(t, kubeProxy) {
		_, name, _ := strings.Cut(flag, "--")
		name, _, _ = strings.Cut(name, "[")
		switch name {
		case "config", "write-config-to", "cleanup", "init-only", "help", "version", "show-hidden-metrics-for-version":
		case "v":
			require.Contains(t, given, "-v=")
		default:
			require.Regexp(t, "--"+name+"[= ]", given)
		}
	}
}
