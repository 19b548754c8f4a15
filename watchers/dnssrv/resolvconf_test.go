// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzResolvConf reads a file like /etc/resolv.conf: there is an error, or a server with a valid address.
func FuzzResolvConf(f *testing.F) {
	f.Add([]byte("# comment\nsearch example.com\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\noptions ndots:5\n"))
	f.Add([]byte("nameserver\nnameserver x\n nameserver\t::1 more\r\n"))
	path := filepath.Join(f.TempDir(), "resolv.conf")
	f.Fuzz(func(t *testing.T, data []byte) {
		require.NoError(t, os.WriteFile(path, data, 0o600))
		servers, err := systemServers(path)
		if err == nil {
			require.NotEmpty(t, servers)
		}
		for _, s := range servers {
			require.True(t, s.IsValid())
			require.EqualValues(t, portDNS, s.Port())
		}
	})
}
