// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDialFlags: TLS that is asked for is not left out in silence, and errors name flags
// with their prefix.
func TestDialFlags(t *testing.T) {
	dial := func(line string) error {
		var d Dialer
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		d.Define(fs, "upstream", "upstream-", "localhost:1")
		require.NoError(t, ParseAll(fs, strings.Fields(line), io.Discard))
		conns, err := d.Dial()
		Close(conns)
		return err
	}
	for line, want := range map[string]string{
		"-upstream ,":                                "-upstream names no server",
		"-upstream-cert a":                           "one of -upstream-cert and -upstream-key without the other",
		"-upstream-key a":                            "one of -upstream-cert and -upstream-key without the other",
		"-upstream-insecure -upstream-ca a":          "-upstream-insecure and -upstream-ca",
		"-upstream-insecure -upstream-token-file a":  "-upstream-insecure and -upstream-token-file",
		"-upstream-insecure -upstream-server-name a": "-upstream-insecure and -upstream-server-name",
	} {
		err := dial(line)
		require.ErrorIs(t, err, ErrUsage, line)
		require.ErrorContains(t, err, want, line)
	}
	for line, want := range map[string]string{
		"-upstream-ca nope":                      "-upstream-ca: open nope",
		"-upstream-cert nope -upstream-key nope": "-upstream-cert: open nope",
		"-upstream-ca dial_test.go":              "-upstream-ca dial_test.go: ",
		"-upstream-token-file nope":              "-upstream-token-file: open nope",
	} {
		err := dial(line)
		require.ErrorContains(t, err, want, line)
		require.NotContains(t, err.Error(), "Files", line)
	}
	require.NoError(t, dial("-upstream-insecure"))
	for line, want := range map[string]string{"": "insecure", "-server-name a": "tls"} {
		var d Dialer
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		d.Define(fs, "server", "", "localhost:1")
		require.NoError(t, ParseAll(fs, strings.Fields(line), io.Discard))
		conns, err := d.Dial()
		require.NoError(t, err)
		require.Equal(t, want, d.credentials("localhost:1").Info().SecurityProtocol)
		Close(conns)
	}
}
