// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// A Listener receives notifications of changes to the tables of one name, for IPv4 and IPv6, by
// all sockets but one. Changes of other tables do not wake it and take no room in its buffer.
// Wait must be called by one goroutine at a time; the other methods may be called during Wait.
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
	if err := attachFilter(fd, table, own.port); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Listener{file: os.NewFile(uintptr(fd), "nf_tables listener"), table: table, buf: make([]byte, 64<<10)}, nil
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
