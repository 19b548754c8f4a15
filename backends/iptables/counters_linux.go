// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An entryCounter counts the entries of the legacy tables.
type entryCounter struct {
	sockets []int // one for each family
	levels  []int // of socket options
}

func newEntryCounter(families []watchedFamily) (*entryCounter, error) {
	c := &entryCounter{}
	for _, f := range families {
		domain, level := unix.AF_INET, unix.SOL_IP
		if f.family.v6 {
			domain, level = unix.AF_INET6, unix.SOL_IPV6
		}
		s, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("iptables: raw socket: %w", err), c.close())
		}
		c.sockets, c.levels = append(c.sockets, s), append(c.levels, level)
	}
	return c, nil
}

// smallTable is the number of entries below which chains are listed after every change, also if
// it added rules.
const smallTable = 20_000

func (c *entryCounter) maybeRemoved(before, after []uint32) bool {
	for i := range before {
		if after[i] < before[i] || after[i] != before[i] && after[i] < smallTable {
			return true
		}
	}
	return false
}

// tableInfo is the struct ipt_getinfo of the kernel.
type tableInfo struct {
	name       [32]byte
	validHooks uint32
	hookEntry  [5]uint32
	underflow  [5]uint32
	numEntries uint32
	size       uint32
}

// sizeofTableInfo is the size of a tableInfo in bytes.
const sizeofTableInfo = 84

// getInfo is the socket option IPT_SO_GET_INFO and IP6T_SO_GET_INFO.
const getInfo = 64

func (c *entryCounter) read() ([]uint32, error) {
	var counts []uint32
	for i, s := range c.sockets {
		for _, table := range tables() {
			var info tableInfo
			copy(info.name[:], table)
			length := uint32(sizeofTableInfo)
			_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s), uintptr(c.levels[i]), getInfo,
				uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&length)), 0) //nolint:gosec // x/sys has no such option
			if errno != 0 {
				return nil, fmt.Errorf("iptables: number of entries of table %s: %w", table, errno)
			}
			counts = append(counts, info.numEntries)
		}
	}
	return counts, nil
}

func (c *entryCounter) close() error {
	var errs []error
	for _, s := range c.sockets {
		errs = append(errs, unix.Close(s))
	}
	return errors.Join(errs...)
}

// A transactionCounter reads the number of the last transaction of nf_tables in a namespace.
type transactionCounter struct{ socket int }

func newTransactionCounter() (*transactionCounter, error) {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("iptables: netlink socket: %w", err)
	}
	timeout := unix.Timeval{Sec: 1}
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return nil, errors.Join(fmt.Errorf("iptables: netlink socket: %w", err), unix.Close(s))
	}
	return &transactionCounter{s}, nil
}

func (c *transactionCounter) maybeRemoved(before, after []uint32) bool {
	return !slices.Equal(before, after)
}

// Numbers of nf_tables in netlink messages.
const (
	getGeneration = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN
	newGeneration = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN
	// generationOffset is where the number is in the reply: behind the header, a struct
	// nfgenmsg, and the header of the first attribute, NFTA_GEN_ID.
	generationOffset = unix.SizeofNlMsghdr + 4 + unix.SizeofNlAttr
)

func (c *transactionCounter) read() ([]uint32, error) {
	request := make([]byte, unix.SizeofNlMsghdr+4)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], getGeneration)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(c.socket, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("iptables: number of transactions: %w", err)
	}
	reply := make([]byte, 4096)
	n, _, err := unix.Recvfrom(c.socket, reply, 0)
	if err != nil {
		return nil, fmt.Errorf("iptables: number of transactions: %w", err)
	}
	if n < generationOffset+4 || binary.NativeEndian.Uint16(reply[4:]) != newGeneration {
		return nil, fmt.Errorf("iptables: number of transactions: unexpected reply of type %d with %d bytes", binary.NativeEndian.Uint16(reply[4:]), n)
	}
	return []uint32{binary.BigEndian.Uint32(reply[generationOffset:])}, nil
}

func (c *transactionCounter) close() error { return unix.Close(c.socket) }
