// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// A Conn sends batches to the network namespace of the thread that opened it, whatever thread
// uses it. It is not safe for concurrent use.
type Conn struct {
	fd      int
	port    uint32 // netlink port, which identifies the socket
	seq     uint32 // sequence number of the next message
	sndbuf  int    // size of the send buffer in bytes
	commits uint32 // successful transactions
	buf     []byte
}

// Open opens a Conn in the network namespace of the calling thread.
func Open() (*Conn, error) {
	fd, port, err := open()
	if err != nil {
		return nil, err
	}
	for _, opt := range []int{unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK} {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, opt, 1); err != nil {
			unix.Close(fd)
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	growBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, 1<<20)
	return &Conn{fd: fd, port: port, seq: 1, buf: make([]byte, 64<<10)}, nil
}

// open returns a bound netlink socket and its port.
func open() (int, uint32, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, 0, os.NewSyscallError("socket(AF_NETLINK, NETLINK_NETFILTER)", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return -1, 0, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return -1, 0, os.NewSyscallError("getsockname", err)
	}
	local, ok := name.(*unix.SockaddrNetlink)
	if !ok {
		unix.Close(fd)
		return -1, 0, fmt.Errorf("getsockname: %T is not the address of a netlink socket", name)
	}
	return fd, local.Pid, nil
}

// growBuffer sets a socket buffer to size bytes, or to the limit of the system without the
// privilege to exceed it.
func growBuffer(fd, force, polite, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, polite, size)
	}
}

// Port returns the netlink port, by which notifications identify the author of a change.
func (c *Conn) Port() uint32 { return c.port }

// Commit sends the batch as one transaction and waits for its outcome. If it returns nil, the
// transaction took effect; with an *[Error], it did not; with another error, its effect is
// unknown. The batch must be Reset before its next use. An empty batch has no effect.
func (c *Conn) Commit(b *Batch) error { return c.send(b, true) }

// Check returns the error that Commit would return, and changes nothing. The batch must be
// Reset before its next use.
func (c *Conn) Check(b *Batch) error { return c.send(b, false) }

func (c *Conn) send(b *Batch, commit bool) error {
	if b.Messages() == 0 {
		return nil
	}
	result := batchResult{first: c.seq}
	data, end := b.finish(c.seq, commit)
	result.end, c.seq = end, end
	if need := len(data) + 4096; need > c.sndbuf {
		growBuffer(c.fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, need)
		c.sndbuf = need
	}
	if err := c.drain(func([]byte) error { return nil }); err != nil && !errors.Is(err, ErrOverrun) {
		return err
	}
	if err := c.sendto(data); err != nil {
		return err
	}
	// The kernel processes the batch during sendto, so all replies are in the buffer.
	if err := c.drain(result.add); err != nil {
		return err
	}
	err := result.result()
	if commit && err == nil {
		c.commits++
	}
	return err
}

// ExternalCommits returns a number that changes with each transaction in the network namespace
// that was not sent by c, whatever its table.
func (c *Conn) ExternalCommits() (uint32, error) {
	var b Batch
	b.header(subsysNftables<<8|msgGetGen, flagRequest, 0, 0)
	data, end := b.number(c.seq)
	seq := c.seq
	c.seq = end
	if err := c.sendto(data); err != nil {
		return 0, err
	}
	var generation []byte
	err := c.drain(func(datagram []byte) error {
		return eachMessage(datagram, func(h header, body []byte) {
			if h.seq == seq && h.kind == subsysNftables<<8|msgNewGen && len(body) > nfgenmsgLen {
				generation = findAttr(body[nfgenmsgLen:], genID)
			}
		})
	})
	if err == nil && len(generation) != 4 {
		err = errors.New("nf_tables did not return its generation")
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(generation) - c.commits, nil
}

// maxListings is the maximum number of reads of a set that changes meanwhile.
const maxListings = 5

// Elements returns the elements of a set or map, each once. Elements that are added or removed
// meanwhile may be missing. If there is no such set, the error is an *[Error].
//
// The kernel finds each part of a long list by counting from the beginning. While it resizes
// the set, some elements are listed twice and others not at all; then Elements reads the set
// again.
func (c *Conn) Elements(family uint8, table, set string) ([]Element, error) {
	all := map[string]Element{}
	for range maxListings {
		list, err := c.list(family, table, set)
		if err != nil {
			return nil, err
		}
		found := make(map[string]struct{}, len(list))
		for _, e := range list {
			found[string(e.Key)] = struct{}{}
			all[string(e.Key)] = e
		}
		if len(found) == len(list) {
			break
		}
	}
	return slices.Collect(maps.Values(all)), nil
}

func (c *Conn) list(family uint8, table, set string) ([]Element, error) {
	var b Batch
	b.header(subsysNftables<<8|msgGetSetElem, flagRequest|flagDump, family, 0)
	b.String(ElemListTable, table)
	b.String(ElemListSet, set)
	data, end := b.number(c.seq)
	list := elementList{seq: c.seq}
	c.seq = end
	if err := c.sendto(data); err != nil {
		return nil, err
	}
	// The kernel writes the next part of the list when one is received.
	err := c.drain(list.add)
	switch {
	case err != nil:
		return nil, err
	case list.err != nil:
		return nil, list.err
	case !list.done:
		return nil, errors.New("nf_tables did not list all elements")
	}
	return list.elements, nil
}

func (c *Conn) sendto(data []byte) error {
	for {
		err := unix.Sendto(c.fd, data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EMSGSIZE):
			return fmt.Errorf("transaction of %d bytes exceeds the limit for socket buffers: "+
				"raise the sysctl net.core.wmem_max, or run with CAP_NET_ADMIN in the initial user namespace: %w", len(data), err)
		default:
			return os.NewSyscallError("sendto", err)
		}
	}
}

// drain calls f for each datagram in the receive buffer, without waiting for more.
func (c *Conn) drain(f func([]byte) error) error {
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			if err := f(c.buf[:n]); err != nil {
				return err
			}
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS):
			return ErrOverrun
		default:
			return os.NewSyscallError("recvfrom", err)
		}
	}
}

// Close closes the socket. It must be called once.
func (c *Conn) Close() error { return os.NewSyscallError("close", unix.Close(c.fd)) }

// A Listener receives notifications of changes to one table, in all address families, by all
// sockets but one. Wait must be called by one goroutine at a time; the other methods may be
// called during Wait.
type Listener struct {
	file  *os.File
	table string
	buf   []byte
}

// Listen opens a Listener in the network namespace of the calling thread. It ignores changes
// by own. Notifications start with the first Resume.
func Listen(table string, own *Conn) (*Listener, error) {
	fd, _, err := open()
	if err != nil {
		return nil, err
	}
	growBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, 1<<20)
	if err := ignorePort(fd, own.port); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Listener{file: os.NewFile(uintptr(fd), "nf_tables listener"), table: table, buf: make([]byte, 64<<10)}, nil
}

// ignorePort makes the kernel discard notifications of changes by port, so that a full load by
// the own Conn does not overrun the socket. All messages of a datagram belong to one
// transaction, and so have one author.
func ignorePort(fd int, port uint32) error {
	const authorOffset = 12
	var native [4]byte
	binary.NativeEndian.PutUint32(native[:], port)
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: authorOffset},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(native[:]), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	return os.NewSyscallError("setsockopt(SO_ATTACH_FILTER)", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET,
		unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}))
}

// Wait waits for a notification. It returns nil after a change of the table, [ErrOverrun]
// after a possible change, and another error if no further notifications will arrive.
func (l *Listener) Wait() error {
	for {
		n, err := l.receive()
		if err != nil {
			return err
		}
		changed := false
		err = eachMessage(l.buf[:n], func(h header, body []byte) {
			changed = changed || concernsTable(h, body, l.table)
		})
		if changed || err != nil {
			return err
		}
	}
}

// Pause stops the notifications. Without listeners the kernel does not describe each element
// of a transaction, which costs far more than to apply it.
func (l *Listener) Pause() error { return l.membership(unix.NETLINK_DROP_MEMBERSHIP) }

// Resume starts the notifications of further changes.
func (l *Listener) Resume() error { return l.membership(unix.NETLINK_ADD_MEMBERSHIP) }

func (l *Listener) membership(option int) error {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, option, groupNftables)
	})
	return errors.Join(err, os.NewSyscallError("setsockopt(netlink membership)", failed))
}

func (l *Listener) receive() (n int, err error) {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var received error
	err = raw.Read(func(fd uintptr) bool {
		for received = unix.EINTR; errors.Is(received, unix.EINTR); {
			n, _, received = unix.Recvfrom(int(fd), l.buf, unix.MSG_DONTWAIT)
		}
		return !errors.Is(received, unix.EAGAIN)
	})
	switch {
	case err != nil:
		return 0, err
	case errors.Is(received, unix.ENOBUFS):
		return 0, ErrOverrun
	}
	return n, os.NewSyscallError("recvfrom", received)
}

// Close closes the socket. A pending Wait returns an error.
func (l *Listener) Close() error { return l.file.Close() }
