// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
)

func nativeUint32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// keyOf returns an address and port of the program as a key.
func keyOf(a bytecode.ServicesAddr, port uint16) endpointKey {
	var k endpointKey
	for i, w := range a.W {
		binary.NativeEndian.PutUint32(k[4*i:], w)
	}
	binary.NativeEndian.PutUint16(k[16:], port)
	return k
}

// findVictims returns the cookies of connected UDP sockets with a removed endpoint, by the cookie
// of their network namespace, and deletes their entries.
func (k *linuxKernel) findVictims(isRemoved func(frontendKey, endpointKey) bool) (map[uint64][]uint64, error) {
	victims := map[uint64][]uint64{}
	reverse := k.shared[bytecode.ServicesMapReverse]
	var cursor ebpf.MapBatchCursor
	keys, values := make([]bytecode.ServicesFlow, batch), make([]bytecode.ServicesOrigin, batch)
	for {
		n, err := reverse.BatchLookup(&cursor, keys, values, nil)
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !last {
			return nil, wrap("read UDP sockets", err)
		}
		for i := range n {
			f := frontendKey(keyOf(values[i].Frontend.Addr, values[i].Frontend.Port))
			f[18] = values[i].Frontend.Protocol
			if values[i].Connected == 0 || !isRemoved(f, keyOf(keys[i].Endpoint.Addr, keys[i].Endpoint.Port)) {
				continue
			}
			victims[values[i].Netns] = append(victims[values[i].Netns], keys[i].Socket)
			_ = reverse.Delete(&keys[i]) // may be gone already
		}
		if last {
			return victims, nil
		}
	}
}

// destroy closes sockets in their network namespaces, and returns their number.
func (k *linuxKernel) destroy(ctx context.Context, victims map[uint64][]uint64) (int, error) {
	total, errs := 0, []error(nil)
	one := func(ns *os.File, cookies []uint64) {
		errs = append(errs, inNamespace(ns, func() error { return k.destroyer.destroy(cookies) }))
		total += len(cookies)
	}
	if cookies := victims[k.hostNetns]; len(cookies) > 0 {
		one(k.hostFile, cookies)
		delete(victims, k.hostNetns)
	}
	if len(victims) == 0 {
		return total, errors.Join(errs...)
	}
	paths, err := k.cfg.FindNamespaces()
	if err != nil {
		return total, errors.Join(append(errs, err)...)
	}
	seen := map[uint64]bool{} // inodes
	for _, path := range paths {
		if len(victims) == 0 || ctx.Err() != nil {
			break
		}
		ns, cookie, err := openNamespace(path, seen)
		if err != nil || ns == nil {
			continue // the process has ended, or the namespace is known
		}
		if cookies := victims[cookie]; len(cookies) > 0 {
			one(ns, cookies)
			delete(victims, cookie)
		}
		_ = ns.Close()
	}
	return total, errors.Join(errs...) // namespaces that were not found have ended
}

// openNamespace opens a network namespace that has not been seen, and returns its cookie.
func openNamespace(path string, seen map[uint64]bool) (*os.File, uint64, error) {
	info := unix.Stat_t{}
	if err := unix.Stat(path, &info); err != nil || seen[info.Ino] {
		return nil, 0, err
	}
	seen[info.Ino] = true
	ns, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	cookie := uint64(0)
	err = inNamespace(ns, func() error {
		cookie, err = netnsCookie()
		return err
	})
	if err != nil {
		return nil, 0, errors.Join(err, ns.Close())
	}
	return ns, cookie, nil
}

// inNamespace runs f on a thread in a network namespace.
func inNamespace(ns *os.File, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // not unlocked, so that the thread ends with the goroutine
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace (needs CAP_SYS_ADMIN): %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// A destroyer closes UDP sockets, identified by cookies, in the network namespace of the thread.
type destroyer interface {
	destroy(cookies []uint64) error
	close() error
}

// newDestroyer returns an iterator if the kernel has what it needs (Linux 6.5 with BTF), otherwise
// netlink.
func newDestroyer() destroyer {
	d, err := newIteratorDestroyer()
	if err != nil {
		return netlinkDestroyer{}
	}
	return d
}

// An iteratorDestroyer runs an eBPF program for each socket.
type iteratorDestroyer struct {
	collection *ebpf.Collection
	iter       *link.Iter
}

func newIteratorDestroyer() (*iteratorDestroyer, error) {
	spec, err := bytecode.LoadCloser()
	if err != nil {
		return nil, err
	}
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, err
	}
	it, err := link.AttachIter(link.IterOptions{Program: c.Programs[bytecode.CloserProgCloseUdp]})
	if err != nil {
		c.Close()
		return nil, err
	}
	return &iteratorDestroyer{c, it}, nil
}

func (d *iteratorDestroyer) destroy(cookies []uint64) error {
	victims := d.collection.Maps[bytecode.CloserMapVictims]
	for i := range cookies {
		if err := victims.Put(&cookies[i], uint8(1)); err != nil {
			return wrap("note socket to close", err)
		}
	}
	r, err := d.iter.Open() // for the namespace of this thread
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		err = errors.Join(err, r.Close())
	}
	for i := range cookies {
		err = errors.Join(err, victims.Delete(&cookies[i]))
	}
	return wrap("close sockets", err)
}

func (d *iteratorDestroyer) close() error {
	err := d.iter.Close()
	d.collection.Close()
	return err
}

// A netlinkDestroyer uses the socket diagnosis of the kernel (CONFIG_INET_DIAG_DESTROY).
type netlinkDestroyer struct{}

func (netlinkDestroyer) destroy(cookies []uint64) error {
	victims := map[[2]uint32]bool{}
	for _, c := range cookies {
		victims[[2]uint32{uint32(c), uint32(c >> 32)}] = true
	}
	var errs []error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		all, err := netlink.SocketDiagUDP(family)
		if err != nil {
			errs = append(errs, wrap("list UDP sockets", err))
		}
		for _, s := range all {
			if victims[s.ID.Cookie] {
				errs = append(errs, destroyByNetlink(s))
			}
		}
	}
	return errors.Join(errs...)
}

// destroyByNetlink sends a struct inet_diag_req_v2.
func destroyByNetlink(s *netlink.Socket) error {
	b := []byte{s.Family, unix.IPPROTO_UDP, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, 1<<32-1) // any state
	b = binary.BigEndian.AppendUint16(b, s.ID.SourcePort)
	b = binary.BigEndian.AppendUint16(b, s.ID.DestinationPort)
	for _, ip := range [][]byte{s.ID.Source, s.ID.Destination} {
		var addr [16]byte
		copy(addr[:], ip)
		if s.Family == unix.AF_INET {
			addr = [16]byte{}
			copy(addr[:], s4(ip))
		}
		b = append(b, addr[:]...)
	}
	for _, v := range []uint32{s.ID.Interface, s.ID.Cookie[0], s.ID.Cookie[1]} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	req.AddRawData(b)
	_, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // closed meanwhile
	}
	return wrap("close UDP socket", err)
}

// s4 returns the four bytes of an IPv4 address in either form.
func s4(ip []byte) []byte { return ip[max(0, len(ip)-4):] }

func (netlinkDestroyer) close() error { return nil }
