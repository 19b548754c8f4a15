// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestConntrackMax(t *testing.T) {
	n := func(v int32) *int32 { return &v }
	for _, row := range []struct {
		perCore, least *int32
		cpus, want     int
	}{
		{nil, nil, 2, 131072},
		{nil, nil, 8, 262144},
		{n(67890), n(0), 3, 203670},
		{n(1), n(123456), 3, 123456},
		{n(0), n(123456), 3, 0},
		{nil, nil, 512, 1 << 20},
		{n(67890), n(1 << 30), 3, 1 << 30},
	} {
		c := conntrackSection{MaxPerCore: row.perCore, Min: row.least}
		t.Run(fmt.Sprintf("6.7 TestGetConntrackMax KN-01 %d of %d processors", row.want, row.cpus), func(t *testing.T) {
			require.Equal(t, row.want, c.max(row.cpus))
		})
	}
}

func TestKN02Knobs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"nf_conntrack_tcp_timeout_established", "nf_conntrack_tcp_timeout_close_wait", "nf_conntrack_udp_timeout", "nf_conntrack_tcp_be_liberal"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("7\n"), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nf_conntrack_max"), []byte("99999999\n"), 0o600))
	var log bytes.Buffer
	c := conntrackSection{UDPTimeout: metav1.Duration{Duration: time.Minute}}
	knobs(dir).apply(&c, slog.New(slog.NewTextHandler(&log, nil)))
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(data)
	}
	require.Equal(t, "86400", read("nf_conntrack_tcp_timeout_established"))
	require.Equal(t, "3600", read("nf_conntrack_tcp_timeout_close_wait"))
	require.Equal(t, "60", read("nf_conntrack_udp_timeout"))
	require.Equal(t, "7\n", read("nf_conntrack_tcp_be_liberal"), "left alone")
	require.Equal(t, "99999999\n", read("nf_conntrack_max"), "never lowered")
	require.Empty(t, log.String())
	knobs("/nowhere").apply(&c, slog.New(slog.NewTextHandler(&log, nil)))
	require.Contains(t, log.String(), "nf_conntrack_max")
}
