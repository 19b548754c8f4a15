// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// Limits of the filter. The kernel stores it in memory that net.core.optmem_max limits, 20,480
// bytes on older kernels.
const (
	// filterMessages is the number of messages of a datagram that the filter examines. The
	// kernel fills datagrams of up to 3,776 bytes with messages of at least 56 bytes. The
	// filter accepts a datagram with more messages if the first ones do not decide.
	filterMessages = 72
	// filterWords is the number of 32-bit words of a table's name that the filter compares.
	filterWords = 4
)

// attachFilter makes the kernel discard notifications that are not about the table, and those
// of changes by port. So changes of other tables and a full load by the own Conn do not
// overrun the socket. All messages of a datagram belong to one transaction, and so have one
// author, but possibly different tables.
func attachFilter(fd int, table string, port uint32) error {
	program := append(discardAuthor(port), unix.SockFilter{Code: unix.BPF_LDX | unix.BPF_W | unix.BPF_IMM, K: 0})
	examine := examineMessage(table)
	for range filterMessages {
		program = append(program, examine...)
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: acceptAll})
	return os.NewSyscallError("setsockopt(SO_ATTACH_FILTER)", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET,
		unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}))
}

// acceptAll is the result of a filter that accepts all bytes of the datagram.
const acceptAll = 0xffffffff

// discardAuthor returns instructions that discard the datagram if port is its author.
func discardAuthor(port uint32) []unix.SockFilter {
	const authorOffset = 12
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: authorOffset},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: loaded(binary.NativeEndian.AppendUint32(nil, port)), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}

// loaded returns the number that the filter loads from four bytes: it reads in network order.
func loaded(word []byte) uint32 { return binary.BigEndian.Uint32(word) }

// examineMessage returns instructions that accept the datagram if the message at offset X is
// about the table, and otherwise advance X to the next message. A load beyond the end of the
// datagram discards it, so the instructions also end the loop.
func examineMessage(table string) []unix.SockFilter {
	load := func(size uint16, offset int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_IND, K: uint32(offset)}
	}
	name := AppendString(nil, TableName, table) // with its header
	var conditions []unix.SockFilter
	const attrOffset = nlmsgHeaderLen + nfgenmsgLen
	for at := 0; at < len(name) && at <= 4*filterWords; at += 4 {
		conditions = append(conditions, load(unix.BPF_W, attrOffset+at),
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: loaded(name[at:])})
	}
	for i := 1; i < len(conditions); i += 2 { // if it does not hold, continue after the RET
		conditions[i].Jf = uint8(len(conditions) - i)
	}
	lowByte, highByte := 0, 1 // of the length of the message
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		lowByte, highByte = 3, 2
	}
	const length, offset = 0, 1 // words of scratch memory
	return append(conditions, []unix.SockFilter{
		{Code: unix.BPF_RET | unix.BPF_K, K: acceptAll},
		{Code: unix.BPF_STX, K: offset},
		load(unix.BPF_B, highByte),
		{Code: unix.BPF_ALU | unix.BPF_LSH | unix.BPF_K, K: 8},
		{Code: unix.BPF_ST, K: length},
		load(unix.BPF_B, lowByte),
		{Code: unix.BPF_LDX | unix.BPF_W | unix.BPF_MEM, K: length},
		{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_X},
		{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_K, K: 3},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xfffffffc},
		{Code: unix.BPF_LDX | unix.BPF_W | unix.BPF_MEM, K: offset},
		{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_X},
		{Code: unix.BPF_MISC | unix.BPF_TAX},
	}...)
}
