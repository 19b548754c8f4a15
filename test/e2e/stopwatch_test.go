// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A stopwatch records, independently of the proxy, when packets from the API server reach
// the node and when the nftables rules of the node change.
type stopwatch struct {
	changed chan struct{} // receives after a new time; capacity 1

	mu      sync.Mutex
	packets []time.Time
	rules   []time.Time
	err     error
}

// startStopwatch records on the node until the test ends.
func startStopwatch(t *testing.T, fx *fixture) *stopwatch {
	t.Helper()
	s := &stopwatch{changed: make(chan struct{}, 1)}
	packets, rules := -1, -1
	require.NoError(t, fx.Node.Namespace.Do(func() (err error) {
		if packets, err = openPackets("eth0"); err == nil {
			rules, err = openRules()
		}
		return err
	}))
	api := fx.control.Addr()
	var readers sync.WaitGroup
	files := []*os.File{os.NewFile(uintptr(packets), "packets"), os.NewFile(uintptr(rules), "rules")}
	readers.Go(func() {
		s.read(files[0], func(b []byte) bool { return isDataFrom(b, api) }, &s.packets)
	})
	readers.Go(func() {
		s.read(files[1], func([]byte) bool { return true }, &s.rules)
	})
	t.Cleanup(func() {
		for _, f := range files {
			require.NoError(t, f.Close())
		}
		readers.Wait()
	})
	return s
}

// openPackets opens a socket that receives copies of the IPv4 packets of an interface.
func openPackets(name string) (int, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return -1, err
	}
	const ipv4 = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, ipv4)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	// The kernel adds the arrival time, because the read may be late.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return -1, fmt.Errorf("timestamps of packet socket: %w", err)
	}
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: device.Index})
}

// openRules opens a socket that receives all change notifications of nftables.
func openRules() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, fmt.Errorf("netlink socket: %w", err)
	}
	const nftables = 7 // NFNLGRP_NFTABLES
	return fd, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (nftables - 1)})
}

// isDataFrom reports whether an IPv4 packet is a TCP segment with data from an address.
func isDataFrom(b []byte, from netip.AddrPort) bool {
	if len(b) < 40 || b[9] != unix.IPPROTO_TCP || netip.AddrFrom4([4]byte(b[12:16])) != from.Addr() {
		return false
	}
	ip, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if len(b) < ip+20 || binary.BigEndian.Uint16(b[ip:]) != from.Port() {
		return false
	}
	return total > ip+int(b[ip+12]>>4)*4
}

// read appends the arrival time of each matching message to times, until f is closed.
func (s *stopwatch) read(f *os.File, match func([]byte) bool, times *[]time.Time) {
	buffer := make([]byte, 1<<16)
	for {
		n, at, err := receive(f, buffer)
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err = err
			return
		}
		if !match(buffer[:n]) {
			continue
		}
		s.mu.Lock()
		*times = append(*times, at)
		s.mu.Unlock()
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// receive reads a message. at is its arrival time if the kernel provides it, or else now.
func receive(f *os.File, buffer []byte) (n int, at time.Time, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, at, err
	}
	control := make([]byte, 256)
	controlLen, readErr := 0, error(nil)
	err = conn.Read(func(fd uintptr) bool {
		n, controlLen, _, _, readErr = unix.Recvmsg(int(fd), buffer, control, 0)
		return !errors.Is(readErr, unix.EAGAIN)
	})
	at = time.Now()
	if err = errors.Join(err, readErr); err != nil {
		return 0, at, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			at = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return n, at, err
}

// time runs write and returns the time from the packet with the change to the first change
// of rules after it.
func (s *stopwatch) time(t *testing.T, limit time.Duration, write func()) time.Duration {
	t.Helper()
	s.mu.Lock()
	s.packets, s.rules = nil, nil
	s.mu.Unlock()
	write()
	for timeout := time.After(limit); ; {
		s.mu.Lock()
		packets, rules, err := s.packets, s.rules, s.err
		s.mu.Unlock()
		require.NoError(t, err)
		if len(packets) > 0 {
			for _, at := range rules {
				if at.After(packets[0]) {
					return at.Sub(packets[0])
				}
			}
		}
		select {
		case <-s.changed:
		case <-timeout:
			t.Fatalf("no new rules within %v", limit)
		}
	}
}
