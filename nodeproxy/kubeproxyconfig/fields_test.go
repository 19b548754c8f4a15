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
	rules := map[string]any{ModeNFTables: c.NFTables(nil), ModeIPTables: c.IPTables(nil), ModeIPVS: c.IPVS(nil)}[c.Mode()]
	return fmt.Sprintf("%+v", []any{
		c.NodeName(), c.Mode(), c.HealthzAddress(), c.MetricsAddress(), c.BindAddressHardFail(), c.Profiling(), c.OOMScoreAdj(),
		c.HealthTimeout(), c.Client(), rules, c.Nodelocal(nil), c.Conntrack(3), logging.Format, logging.Verbosity,
	})
}

// TestEveryFieldHasAnEffectOrIsNamed has a line for each field, with another value than the
// default. test/fidelity checks that kube-proxy has no further field.
func TestEveryFieldHasAnEffectOrIsNamed(t *testing.T) {
	lines, err := os.ReadFile("testdata/fields.txt")
	require.NoError(t, err)
	usual := map[string]*Config{}
	for _, mode := range []string{ModeNFTables, ModeIPTables, ModeIPVS} {
		usual[mode], err = load([]string{"--config=" + writeFile(t, "mode: "+mode+"\n")}, io.Discard)
		require.NoError(t, err)
	}
	fields := 0
	for line := range strings.Lines(string(lines)) {
		fields++
		alpha := "" // the gate that some logging options require
		if strings.Contains(line, "options:") {
			alpha = "featureGates: {LoggingAlphaOptions: true}\n"
		}
		mode := "" // that of the section, or else the default
		if section, _, _ := strings.Cut(line, ":"); usual[section] != nil {
			mode = "mode: " + section + "\n"
		}
		c, err := load([]string{"--config=" + writeFile(t, alpha+mode+line)}, io.Discard)
		require.NoError(t, err, line)
		before := usual[c.Mode()]
		if strings.HasPrefix(line, "mode:") {
			before = usual[ModeNFTables]
		}
		hasEffect, isNamed := effects(c) != effects(before), len(c.Ignored()) == 1
		require.NotEqual(t, hasEffect, isNamed, "%s has an effect: %t, and is named: %q", line, hasEffect, c.Ignored())
	}
	require.Equal(t, 60, fields)
}
