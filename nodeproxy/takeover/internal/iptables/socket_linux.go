// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options of sockets, which are the same for IPv4 and IPv6.
const (
	optGetInfo     = 64
	optGetEntries  = 65
	optReplace     = 64
	optAddCounters = 65
)

// Sizes and offsets of the kernel's structures for 64-bit programs, in bytes.
const (
	tableNameLen = 32

	infoValidHooks = tableNameLen
	infoHookEntry  = infoValidHooks + 4
	infoUnderflow  = infoHookEntry + 4*hookCount
	infoNumEntries = infoUnderflow + 4*hookCount
	infoSize       = infoNumEntries + 4
	infoLen        = infoSize + 4

	entriesSize = tableNameLen
	entriesData = 40

	replaceNumEntries  = tableNameLen + 4
	replaceSize        = replaceNumEntries + 4
	replaceHookEntry   = replaceSize + 4
	replaceUnderflow   = replaceHookEntry + 4*hookCount
	replaceNumCounters = replaceUnderflow + 4*hookCount
	replaceCounters    = replaceNumCounters + 4
	replaceData        = replaceCounters + 8

	countersNumber = tableNameLen
	countersData   = 40
	counterLen     = 16 // packets and bytes
)

// A socket gives access to the legacy tables of one address family. CAP_NET_ADMIN is
// required, CAP_NET_RAW is not: any kind of socket will do.
type socket struct {
	fd     int
	level  int
	layout layout
}

func openSocket(isIPv6 bool) (*socket, error) {
	domain, s := unix.AF_INET, &socket{level: unix.IPPROTO_IP, layout: layout4()}
	if isIPv6 {
		domain, s = unix.AF_INET6, &socket{level: unix.IPPROTO_IPV6, layout: layout6()}
	}
	var err error
	s.fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	return s, os.NewSyscallError("socket", err)
}

func (s *socket) close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }

func (s *socket) get(option int, buf []byte) error {
	size := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), uintptr(s.level), uintptr(option),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // x/sys has no such option
	return errnoError("getsockopt", errno)
}

func (s *socket) set(option int, buf []byte) error {
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(s.fd), uintptr(s.level), uintptr(option),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0) //nolint:gosec // x/sys has no such option
	return errnoError("setsockopt", errno)
}

func errnoError(call string, errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError(call, errno)
}

// read returns the content of a table, which must exist.
func (s *socket) read(table string) ([]chain, *blob, error) {
	info := make([]byte, infoLen)
	copy(info, table)
	if err := s.get(optGetInfo, info); err != nil {
		return nil, nil, fmt.Errorf("information about table %s: %w", table, err)
	}
	number := func(at int) uint32 { return binary.NativeEndian.Uint32(info[at:]) }
	b := &blob{validHooks: number(infoValidHooks), layout: s.layout, numEntries: int(number(infoNumEntries))}
	for hook := range hookCount {
		b.hookEntry[hook], b.underflow[hook] = number(infoHookEntry+4*hook), number(infoUnderflow+4*hook)
	}
	size := number(infoSize)
	buf := make([]byte, entriesData+int(size))
	copy(buf, table)
	binary.NativeEndian.PutUint32(buf[entriesSize:], size)
	if err := s.get(optGetEntries, buf); err != nil { // EAGAIN: the table has just changed
		return nil, nil, fmt.Errorf("rules of table %s: %w", table, err)
	}
	b.data = buf[entriesData:]
	if err := b.parse(); err != nil {
		return nil, nil, fmt.Errorf("rules of table %s: %w", table, err)
	}
	chains, err := b.list()
	return chains, b, err
}

// replace replaces the content of a table, if it still has as many entries as old. The
// counters of the entries that remain are kept.
func (s *socket) replace(table string, old *blob, changed *newBlob) error {
	counters := make([]byte, counterLen*len(old.entries))
	buf := make([]byte, replaceData, replaceData+len(changed.data))
	copy(buf, table)
	put := func(at int, v uint32) { binary.NativeEndian.PutUint32(buf[at:], v) }
	put(infoValidHooks, old.validHooks)
	put(replaceNumEntries, uint32(len(changed.from)))
	put(replaceSize, uint32(len(changed.data)))
	for hook := range hookCount {
		put(replaceHookEntry+4*hook, changed.hookEntry[hook])
		put(replaceUnderflow+4*hook, changed.underflow[hook])
	}
	put(replaceNumCounters, uint32(len(old.entries)))
	// The kernel writes the counters at the moment of the replacement to this address.
	var pinner runtime.Pinner
	defer pinner.Unpin()
	pinner.Pin(&counters[0])
	address := uintptr(unsafe.Pointer(&counters[0])) //nolint:gosec // pinned until the kernel has written to it
	binary.NativeEndian.PutUint64(buf[replaceCounters:], uint64(address))
	if err := s.set(optReplace, append(buf, changed.data...)); err != nil {
		return fmt.Errorf("replace the rules: %w", err)
	}
	add := make([]byte, countersData, countersData+counterLen*len(changed.from))
	copy(add, table)
	binary.NativeEndian.PutUint32(add[countersNumber:], uint32(len(changed.from)))
	for _, i := range changed.from {
		add = append(add, counters[counterLen*i:][:counterLen]...)
	}
	if err := s.set(optAddCounters, add); err != nil {
		return fmt.Errorf("restore the counters of the rules: %w", err)
	}
	return nil
}
