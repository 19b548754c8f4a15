// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// effects returns everything that the rest of a program takes from a configuration.
func effects(c *Config) string {
	logging := c.Logging()
	return fmt.Sprintf("%+v", []any{
		c.NodeName(), c.Mode(), c.HealthzAddress(), c.MetricsAddress(), c.BindAddressHardFail(), c.Profiling(), c.OOMScoreAdj(),
		c.HealthTimeout(), c.Client(), c.NFTables(nil), c.Nodelocal(nil), c.Conntrack(3), logging.Format, logging.Verbosity,
	})
}

// TestEveryFieldHasAnEffectOrIsNamed has a line for each field, with another value than the
// default. test/fidelity checks that kube-proxy has no further field.
func TestEveryFieldHasAnEffectOrIsNamed(t *testing.T) {
	lines, err := os.ReadFile("testdata/fields.txt")
	require.NoError(t, err)
	usual, err := load([]string{"--hostname-override="}, io.Discard)
	require.NoError(t, err)
	fields := 0
	for line := range strings.Lines(string(lines)) {
		fields++
		alpha := "" // the gate that some logging options require
		if strings.Contains(line, "options:") {
			alpha = "featureGates: {LoggingAlphaOptions: true}\n"
		}
		c, err := load([]string{"--config=" + writeFile(t, alpha+line)}, io.Discard)
		require.NoError(t, err, line)
		hasEffect, isNamed := effects(c) != effects(usual), len(c.Ignored()) == 1
		require.NotEqual(t, hasEffect, isNamed, "%s has an effect: %t, and is named: %q", line, hasEffect, c.Ignored())
	}
	require.Equal(t, 60, fields)
}
