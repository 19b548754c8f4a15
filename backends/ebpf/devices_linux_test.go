// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// TestDevices: devices appear and disappear, and what others detach is attached again.
func TestDevices(t *testing.T) {
	for _, withoutTCX := range []bool{false, true} {
		t.Run(fmt.Sprint("without tcx ", withoutTCX), func(t *testing.T) {
			b := newOutsideBed(t, Config{Devices: []string{"out[0-9]", "eth*.7"}})
			k := b.backend.kernel.(*linuxKernel)
			k.withoutTCX = withoutTCX
			f := families()["IPv4"]
			b.sync(external(f, localsink.ProtocolTCP, nil, f.endpoints[0]))
			attached := func(want ...string) {
				t.Helper()
				require.EventuallyWithT(t, func(c *assert.CollectT) {
					b.backend.mu.Lock()
					defer b.backend.mu.Unlock()
					got := []string{}
					b.node.Do(func() error {
						for index, d := range k.devices {
							l, err := netlink.LinkByIndex(index)
							if err != nil {
								continue
							}
							if d.isAttached(l, fmt.Sprint(b.cfg.PinDirectory, "/", devicePin, index)) {
								got = append(got, l.Attrs().Name)
							}
						}
						return nil
					})
					assert.ElementsMatch(c, want, got)
				}, 3*time.Second, 10*time.Millisecond)
			}
			attached("out0")
			command := func(args ...string) {
				t.Helper()
				_, err := b.node.Command("ip", args...)
				require.NoError(t, err)
			}
			command("link", "add", "eth0.7", "type", "veth", "peer", "name", "a")
			command("link", "add", "out10", "type", "veth", "peer", "name", "b")
			attached("out0", "eth0.7")
			command("link", "del", "eth0.7")
			attached("out0")
			if k.withoutTCX {
				_, err := b.node.Command("tc", "qdisc", "del", "dev", "out0", "clsact")
				require.NoError(t, err)
			} else {
				index := indexOf(t, b.node, "out0")
				b.backend.mu.Lock()
				err := k.devices[index].link.Detach()
				b.backend.mu.Unlock()
				require.NoError(t, err)
			}
			attached("out0")
			pods := *b.driver.Node
			pods.LocalPods.InterfacePrefix = "out"
			b.driver.Node = &pods
			b.sync(external(f, localsink.ProtocolTCP, nil, f.endpoints[0]))
			attached()
		})
	}
}

func TestDevicesAreValidated(t *testing.T) {
	_, err := New(Config{Devices: []string{"eth0"}})
	require.EqualError(t, err, "ebpf: Devices: requires Combined, because the packet path translates the packets")
	for _, pattern := range []string{"", "eth[0"} {
		_, err := New(Config{Combined: true, Devices: []string{"eth0", pattern}})
		require.EqualError(t, err, fmt.Sprintf("ebpf: Devices: %q is not a pattern of names", pattern))
	}
}

// TestDevicesNeedKernel: the error names what is missing.
func TestDevicesNeedKernel(t *testing.T) {
	err := explain(explainDevices(fmt.Errorf("kfunc %q: %w", "bpf_skb_ct_alloc", ebpf.ErrNotSupported)))
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "ebpf: load programs: Devices: needs Linux 6.1 with the connection tracking and address translation of netfilter")
	require.NotErrorIs(t, explainDevices(unix.EPERM), errors.ErrUnsupported)
}

func indexOf(t testing.TB, ns *netnstest.Namespace, name string) (index int) {
	t.Helper()
	ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	})
	return index
}
