// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package remoteflags

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodeproxy/command"
)

// TestClientFlagsAreNeverIgnored checks that flags without effect are errors, and that
// errors name flags with their prefix.
func TestClientFlagsAreNeverIgnored(t *testing.T) {
	dial := func(line string) error {
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		c := DefineClient(fs, "upstream", "upstream-", "localhost:1")
		require.NoError(t, command.Parse(fs, strings.Fields(line)))
		conns, err := c.Dial()
		if err == nil {
			require.NoError(t, conns.Close())
		}
		return err
	}
	for line, want := range map[string]string{
		"-upstream ,":                                "-upstream: required, at least one address",
		"-upstream-cert a":                           "one of -upstream-cert and -upstream-key without the other",
		"-upstream-key a":                            "one of -upstream-cert and -upstream-key without the other",
		"-upstream-insecure -upstream-ca a":          "-upstream-insecure and -upstream-ca",
		"-upstream-insecure -upstream-token-file a":  "-upstream-insecure and -upstream-token-file",
		"-upstream-insecure -upstream-server-name a": "-upstream-insecure and -upstream-server-name",
	} {
		err := dial(line)
		require.ErrorIs(t, err, command.ErrUsage, line)
		require.ErrorContains(t, err, want, line)
	}
	for line, want := range map[string]string{
		"-upstream-ca nope":                      "-upstream-ca: open nope",
		"-upstream-cert nope -upstream-key nope": "-upstream-cert: open nope",
		"-upstream-ca client_test.go":            "-upstream-ca client_test.go: ",
		"-upstream-token-file nope":              "-upstream-token-file: open nope",
	} {
		err := dial(line)
		require.ErrorContains(t, err, want, line)
		require.NotContains(t, err.Error(), "Files", line)
	}
	require.NoError(t, dial("-upstream-insecure"))
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	c := DefineClient(fs, "upstream", "upstream-", "")
	for addresses, want := range map[string]string{",": "usage: required, at least one address", "a\x7f:1": "server a\x7f:1: "} {
		_, err := c.DialAddresses(addresses)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "-upstream", "another place than the flag has the addresses")
	}
	for line, want := range map[string]string{"": "insecure", "-server-name a": "tls"} {
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		c := DefineClient(fs, "server", "", "localhost:1")
		require.NoError(t, command.Parse(fs, strings.Fields(line)))
		conns, err := c.Dial()
		require.NoError(t, err)
		require.Equal(t, want, c.credentials("localhost:1", conns.certificates).Info().SecurityProtocol)
		require.Equal(t, map[string]string{"insecure": "unix", "tls": "tls"}[want], c.credentials("unix:///run/a.sock", conns.certificates).Info().SecurityProtocol)
		require.Len(t, conns.Interfaces(), 1)
		require.NoError(t, conns.Close())
	}
}

func TestRebalanceInterval(t *testing.T) {
	for line, want := range map[string]time.Duration{"": time.Minute, "-upstream-rebalance-interval 5s": 5 * time.Second, "-upstream-rebalance-interval 0": -1} {
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		c := DefineWatcher(fs, "upstream", "upstream-")
		require.NoError(t, command.Parse(fs, strings.Fields(line)))
		require.Equal(t, want, c.RebalanceInterval(), line)
	}
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	c := DefineWatcher(fs, "server", "")
	require.NoError(t, command.Parse(fs, strings.Fields("-server localhost:1 -rebalance-interval -1s")))
	_, err := c.Dial()
	require.ErrorContains(t, err, "-rebalance-interval: must not be negative")
}
