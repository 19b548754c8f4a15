// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package netns creates anonymous network namespaces, and starts processes in them. The
// kernel deletes a namespace when the process that created it ends.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Namespace is a network namespace. One OS thread stays in it until Close. Because the
// namespace and its processes depend on that thread, the kernel deletes the namespace and
// kills the processes of Start even if this process is killed.
type Namespace struct {
	handle   netns.NsHandle
	original netns.NsHandle // of this process
	// isHost reports whether this is the namespace of this process, which can be used
	// without root because no thread needs to enter it.
	isHost bool
	starts chan func() // executed by the thread in the namespace
	ended  chan struct{}
	close  sync.Once
}

// New creates a namespace whose only interface is a loopback interface that is down. It needs
// root.
func New() (*Namespace, error) {
	return open(false, func() error { return unix.Unshare(unix.CLONE_NEWNET) })
}

// Host returns the namespace of this process. It does not need root.
func Host() (*Namespace, error) { return open(true, func() error { return nil }) }

func open(isHost bool, enter func() error) (*Namespace, error) {
	original, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("current network namespace: %w", err)
	}
	n := &Namespace{original: original, isHost: isHost, starts: make(chan func()), ended: make(chan struct{})}
	ready := make(chan error)
	go n.holdThread(enter, ready)
	if err := <-ready; err != nil {
		return nil, errors.Join(fmt.Errorf("new network namespace: %w", err), original.Close())
	}
	return n, nil
}

// holdThread keeps an OS thread in the namespace. It does not unlock the thread, so the
// thread ends with the goroutine and the runtime does not reuse it in the wrong namespace.
func (n *Namespace) holdThread(enter func() error, ready chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread never ends, and its namespace is the one in /proc/PID. It must not
		// change: block it, so that the new goroutine gets another thread.
		go n.holdThread(enter, ready)
		<-n.ended
		runtime.UnlockOSThread()
		return
	}
	defer close(n.ended)
	err := enter()
	if err == nil {
		n.handle, err = netns.Get()
	}
	ready <- err
	if err != nil {
		return
	}
	for start := range n.starts {
		start()
	}
}

// Close kills the processes of Start and releases the namespace. Further calls do nothing.
func (n *Namespace) Close() error {
	var err error
	n.close.Do(func() {
		close(n.starts)
		<-n.ended
		err = errors.Join(n.handle.Close(), n.original.Close())
	})
	return err
}

// Handle returns the namespace for use with netlink. It is valid until Close.
func (n *Namespace) Handle() netns.NsHandle { return n.handle }

// Do calls fn on a thread in the namespace. Goroutines that fn starts are not in the
// namespace. Calls may overlap.
func (n *Namespace) Do(fn func() error) error {
	if n.isHost {
		return fn()
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(n.handle); err != nil {
			result <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err := fn()
		// A thread that cannot return to the original namespace stays locked and ends.
		if netns.Set(n.original) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// Start starts cmd in the namespace. The kernel kills it when the namespace is closed or when
// this process ends for any reason.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// The kernel sends the signal when the parent thread ends. Processes are therefore
	// started by the thread that lives as long as the namespace.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	result := make(chan error, 1)
	n.starts <- func() { result <- cmd.Start() }
	return <-result
}

// Output runs a command in the namespace and returns its output and errors.
func (n *Namespace) Output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := []byte(nil), error(nil)
	cmd := exec.CommandContext(ctx, name, args...)
	if doErr := n.Do(func() error { out, err = cmd.CombinedOutput(); return nil }); doErr != nil {
		return "", doErr
	}
	if err != nil {
		return string(out), fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return string(out), nil
}

// DialContext connects to a literal address from the namespace with d. Host names are not
// supported, because other threads would resolve them.
func (n *Namespace) DialContext(ctx context.Context, d net.Dialer, network, addr string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial in network namespace: %w", err)
	}
	var conn net.Conn
	err := n.Do(func() (err error) {
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens on a literal TCP address in the namespace.
func (n *Namespace) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(ctx, network, addr)
		return err
	})
	return l, err
}

// ListenPacket listens on a literal UDP address in the namespace.
func (n *Namespace) ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error) {
	var c net.PacketConn
	err := n.Do(func() (err error) {
		c, err = (&net.ListenConfig{}).ListenPacket(ctx, network, addr)
		return err
	})
	return c, err
}
