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
	fd     int
	seq    uint32 // sequence number of the next message
	sndbuf int    // size of the send buffer in bytes
	buf    []byte
}

// Open opens a Conn in the network namespace of the calling thread.
func Open() (*Conn, error) {
	fd, err := open()
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
	return &Conn{fd: fd, seq: 1, buf: make([]byte, 64<<10)}, nil
}

// open returns a bound netlink socket.
func open() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, os.NewSyscallError("socket(AF_NETLINK, NETLINK_NETFILTER)", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

// growBuffer sets a socket buffer to size bytes, or to the limit of the system without the
// privilege to exceed it.
func growBuffer(fd, force, polite, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, polite, size)
	}
}

// Commit sends the batch as one transaction and waits for its outcome. If it returns nil, the
// transaction took effect; with an *[Error], it did not; with another error, its effect is
// unknown. The batch may be sent again. An empty batch has no effect.
func (c *Conn) Commit(b *Batch) error { return c.send(b, true) }

// Check returns the error that Commit would return, and changes nothing.
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
	return result.result()
}

// Generation returns the generation of the rules: a number other than zero that changes with
// each transaction in the network namespace, whatever its table; see [AddGenerations].
func (c *Conn) Generation() (uint32, error) {
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
	return binary.BigEndian.Uint32(generation), nil
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
		list, err := c.receiveElements(listRequest(family, table, set))
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

// listRequest returns the request for all elements of a set.
func listRequest(family uint8, table, set string) *Batch {
	b := &Batch{}
	b.header(subsysNftables<<8|msgGetSetElem, flagRequest|flagDump, family, 0)
	b.String(ElemListTable, table)
	b.String(ElemListSet, set)
	return b
}

// Get returns single elements of a set or map, in an order that is undefined. keys is the content
// of the attribute ElemListElements, with at most MaxGet elements. The time does not depend on
// the size of the set. If there is no such set or no such element, the error is an *[Error] with
// ENOENT.
func (c *Conn) Get(family uint8, table, set string, keys []byte) ([]Element, error) {
	var b Batch
	b.header(subsysNftables<<8|msgGetSetElem, flagRequest|flagAck, family, 0)
	b.String(ElemListTable, table)
	b.String(ElemListSet, set)
	list := b.Nest(ElemListElements)
	b.Raw(keys)
	b.End(list)
	return c.receiveElements(&b)
}

// SetDigest returns the sum of the digests of all elements of a set or map; see [Digest]. If
// there is no such set, the error is an *[Error].
func (c *Conn) SetDigest(family uint8, table, set string) (sum uint64, err error) {
	err = c.eachElement(listRequest(family, table, set), func(elem []byte) { sum += Digest(elem) })
	return sum, err
}

// receiveElements sends a request for elements and returns the reply.
func (c *Conn) receiveElements(b *Batch) (all []Element, err error) {
	err = c.eachElement(b, func(elem []byte) { all = append(all, parseElement(elem)) })
	if err != nil {
		return nil, err
	}
	return all, nil
}

// eachElement sends a request for elements and calls each with every encoded element of the reply.
func (c *Conn) eachElement(b *Batch, each func(elem []byte)) error {
	data, end := b.number(c.seq)
	list := elementList{seq: c.seq, each: each}
	c.seq = end
	if err := c.sendto(data); err != nil {
		return err
	}
	// The kernel writes the next part of a long list when one is received.
	err := c.drain(list.add)
	switch {
	case err != nil:
		return err
	case list.err != nil:
		return list.err
	case !list.done:
		return errors.New("nf_tables did not list all elements")
	}
	return nil
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
