// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"sigs.k8s.io/kpng/localsink"
)

// TestOutsideTracksState: the kernel tracks the windows and the end of a TCP connection whose entry
// the program has added, so rules that drop invalid packets do not concern it.
func TestOutsideTracksState(t *testing.T) {
	b := newOutsideBed(t, Config{})
	for _, command := range [][]string{
		{"add", "chain", "inet", "empty", "forward", "{ type filter hook forward priority 0; }"},
		{"add", "rule", "inet", "empty", "forward", "ct", "state", "invalid", "drop"},
		{"add", "rule", "inet", "empty", "forward", "ct", "status", "dnat", "accept"}, // as firewalls do
		{"add", "rule", "inet", "empty", "forward", "drop"},
	} {
		_, err := b.node.Command("nft", command...)
		require.NoError(t, err)
	}
	for name, f := range families() {
		t.Run(name, func(t *testing.T) {
			b.sync(external(f, localsink.ProtocolTCP, nil, f.endpoints[0]))
			var l net.Listener
			b.pod.Do(func() (err error) {
				l, err = new(net.ListenConfig).Listen(context.Background(), "tcp", f.endpoints[0])
				return err
			})
			defer l.Close()
			go func() {
				if c, err := l.Accept(); err == nil {
					_, _ = io.Copy(c, c)
					_ = c.Close()
				}
			}()
			c, err := dial(b.client, "tcp", f.frontend)
			require.NoError(t, err)
			require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
			data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
			go func() {
				_, _ = c.Write(data)
				_ = c.(*net.TCPConn).CloseWrite()
			}()
			received, err := io.ReadAll(c)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, received))
			require.NoError(t, c.Close())
			port := netip.MustParseAddrPort(c.LocalAddr().String()).Port()
			require.Eventually(t, func() bool {
				for _, e := range b.entries(t) {
					tcp, ok := e.ProtoInfo.(*netlink.ProtoInfoTCP)
					if e.Forward.SrcPort == port && ok && tcp.State == 7 { // TIME_WAIT
						return true
					}
				}
				return false
			}, 3*time.Second, 10*time.Millisecond)
		})
	}
}
