// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newRoot returns a root directory whose parameters have the value 7.
func newRoot(t *testing.T) string {
	root := t.TempDir()
	for _, name := range []string{
		netfilterDirectory + "/nf_conntrack_max", moduleDirectory + "/hashsize", netfilterDirectory + "/nf_conntrack_tcp_be_liberal",
		netfilterDirectory + "/nf_conntrack_tcp_timeout_established", netfilterDirectory + "/nf_conntrack_tcp_timeout_close_wait",
		netfilterDirectory + "/nf_conntrack_udp_timeout", netfilterDirectory + "/nf_conntrack_udp_timeout_stream",
	} {
		write(t, root, name, "7\n")
	}
	return root
}

func write(t *testing.T, root, name, text string) {
	path := filepath.Join(root, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestKN02ConntrackParameters(t *testing.T) {
	root := newRoot(t)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		return strings.TrimSpace(string(data))
	}
	require.NoError(t, Conntrack{}.Apply(root, logger))
	require.Empty(t, log.String(), "a zero field changes nothing")

	c := Conntrack{Max: 131072, TCPEstablishedTimeout: 24 * time.Hour, TCPCloseWaitTimeout: time.Hour, UDPTimeout: time.Minute}
	require.NoError(t, c.Apply(root, logger))
	require.Equal(t, "131072", read(netfilterDirectory+"/nf_conntrack_max"))
	require.Equal(t, "32768", read(moduleDirectory+"/hashsize"))
	require.Equal(t, "86400", read(netfilterDirectory+"/nf_conntrack_tcp_timeout_established"))
	require.Equal(t, "3600", read(netfilterDirectory+"/nf_conntrack_tcp_timeout_close_wait"))
	require.Equal(t, "60", read(netfilterDirectory+"/nf_conntrack_udp_timeout"))
	require.Equal(t, "7", read(netfilterDirectory+"/nf_conntrack_udp_timeout_stream"))
	require.Equal(t, "7", read(netfilterDirectory+"/nf_conntrack_tcp_be_liberal"))
	require.Equal(t, 5, strings.Count(log.String(), "Kernel parameter set"), log.String())

	log.Reset()
	write(t, root, netfilterDirectory+"/nf_conntrack_max", "99999999\n")
	write(t, root, moduleDirectory+"/hashsize", "99999999\n")
	require.NoError(t, c.Apply(root, logger))
	require.Empty(t, log.String(), "limits are never lowered, and values that are set are not written")

	require.NoError(t, Conntrack{TCPBeLiberal: true, UDPStreamTimeout: time.Second}.Apply(root, nil))
	require.Equal(t, "1", read(netfilterDirectory+"/nf_conntrack_tcp_be_liberal"))
	require.Equal(t, "1", read(netfilterDirectory+"/nf_conntrack_udp_timeout_stream"))
}

func TestParametersThatCannotBeSetAreNamed(t *testing.T) {
	root := newRoot(t)
	require.NoError(t, os.Remove(filepath.Join(root, moduleDirectory, "hashsize")))
	var log bytes.Buffer
	err := Conntrack{Max: 8, UDPTimeout: time.Second}.Apply(root, slog.New(slog.NewTextHandler(&log, nil)))
	require.ErrorContains(t, err, "hashsize = 2: ")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Contains(t, log.String(), "Kernel parameter not set")
	data, err := os.ReadFile(filepath.Join(root, netfilterDirectory, "nf_conntrack_udp_timeout"))
	require.NoError(t, err)
	require.Equal(t, "1", string(data), "later parameters are set nevertheless")
	require.NoFileExists(t, filepath.Join(root, moduleDirectory, "hashsize"))
}

func TestKN01OnlineCPUs(t *testing.T) {
	root := t.TempDir()
	require.Equal(t, runtime.NumCPU(), OnlineCPUs(root))
	for list, want := range map[string]int{"0\n": 1, "0-3\n": 4, "0-1,4,6-7\n": 5, "\n": runtime.NumCPU(), "3-1\n": runtime.NumCPU()} {
		write(t, root, "sys/devices/system/cpu/online", list)
		require.Equal(t, want, OnlineCPUs(root), list)
	}
	require.Positive(t, OnlineCPUs(Root))
}
