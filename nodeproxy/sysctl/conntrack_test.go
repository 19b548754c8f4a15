// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKN02ConntrackParameters(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"nf_conntrack_tcp_timeout_established", "nf_conntrack_tcp_timeout_close_wait", "nf_conntrack_udp_timeout", "nf_conntrack_tcp_be_liberal"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("7\n"), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nf_conntrack_max"), []byte("99999999\n"), 0o600))
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	c := Conntrack{Max: 131072, TCPEstablishedTimeout: 24 * time.Hour, TCPCloseWaitTimeout: time.Hour, UDPTimeout: time.Minute}
	c.Apply(dir, logger)
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(data)
	}
	require.Equal(t, "86400", read("nf_conntrack_tcp_timeout_established"))
	require.Equal(t, "3600", read("nf_conntrack_tcp_timeout_close_wait"))
	require.Equal(t, "60", read("nf_conntrack_udp_timeout"))
	require.Equal(t, "7\n", read("nf_conntrack_tcp_be_liberal"), "a zero field changes nothing")
	require.Equal(t, "99999999\n", read("nf_conntrack_max"), "the limit is never lowered")
	require.Empty(t, log.String())

	c.TCPBeLiberal = true
	c.Max = 100_000_000
	c.Apply(dir, nil)
	require.Equal(t, "1", read("nf_conntrack_tcp_be_liberal"))
	require.Equal(t, "100000000", read("nf_conntrack_max"))

	c.Apply("/nowhere", logger)
	require.Contains(t, log.String(), "nf_conntrack_max")
	c.Apply("/nowhere", nil)
}
