// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package netns makes network namespaces that have no name and that die with
// their maker; it knows nothing of what they are for.
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

// A Namespace is a network namespace. One thread lives in it until Close, so
// that the kernel reclaims the namespace, and ends the processes that Start
// began, even when this process is killed.
type Namespace struct {
	handle netns.NsHandle
	home   netns.NsHandle
	// isHome says that this process runs in it, so there is no need to enter it,
	// which takes root.
	isHome bool
	starts chan func()
	ended  chan struct{}
	close  sync.Once
}

// New makes an empty namespace, with its loopback interface down.
func New() (*Namespace, error) {
	return open(false, func() error { return unix.Unshare(unix.CLONE_NEWNET) })
}

// Host returns the namespace in which this process runs. It needs no rights.
func Host() (*Namespace, error) { return open(true, func() error { return nil }) }

func open(isHome bool, enter func() error) (*Namespace, error) {
	home, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("current network namespace: %w", err)
	}
	n := &Namespace{home: home, isHome: isHome, starts: make(chan func()), ended: make(chan struct{})}
	ready := make(chan error)
	go n.live(enter, ready)
	if err := <-ready; err != nil {
		home.Close()
		return nil, fmt.Errorf("new network namespace: %w", err)
	}
	return n, nil
}

// live keeps a thread in the namespace. It never unlocks, so that the thread ends
// with the goroutine instead of returning to the runtime in a strange namespace.
func (n *Namespace) live(enter func() error, ready chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The first thread never ends and speaks for the process: leave it alone,
		// and hold it until another one has taken the place.
		go n.live(enter, ready)
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

// Close lets go of the namespace. Processes begun by Start are killed.
func (n *Namespace) Close() error {
	var err error
	n.close.Do(func() {
		close(n.starts)
		<-n.ended
		err = errors.Join(n.handle.Close(), n.home.Close())
	})
	return err
}

// Handle returns the namespace for use with netlink; it belongs to n.
func (n *Namespace) Handle() netns.NsHandle { return n.handle }

// Do runs fn with its goroutine's thread in the namespace. Goroutines that fn
// starts are not. Calls may overlap.
func (n *Namespace) Do(fn func() error) error {
	if n.isHome {
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
		// A thread that cannot go home stays locked, and so ends here.
		if netns.Set(n.home) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// Start starts cmd in the namespace. The process is killed when the namespace is
// closed or this process ends, however it ends.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// The kernel ties this to the parent thread, which is why starts take place
	// on the one thread that lives as long as the namespace.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	result := make(chan error, 1)
	n.starts <- func() { result <- cmd.Start() }
	return <-result
}

// Output runs a command in the namespace and returns what it wrote.
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

// DialContext dials a literal address from the namespace, by way of d. (A name
// would be looked up by other threads.)
func (n *Namespace) DialContext(ctx context.Context, d net.Dialer, network, addr string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial in a network namespace: %w", err)
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
