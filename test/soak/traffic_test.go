// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/test/netns"
)

const (
	// dialLimit is the maximum time until an answer on a new connection.
	dialLimit = 5 * time.Second
	// dialInterval is the time between two connections of a client.
	dialInterval = 100 * time.Millisecond
	// slowDial is the time from which a connection counts as slow: its first packet was lost.
	slowDial = 900 * time.Millisecond
	// servingPort is the port of the pods that answer.
	servingPort = 8080
	// timeFormat is that of operations.log.
	timeFormat = "15:04:05.000"
	// answer is what they send.
	answer = "ok\n"
)

// stableAddrs returns the cluster IPs of the Service that no operation changes, of a number from one.
func stableAddrs(number int) []string {
	return []string{fmt.Sprintf("10.96.0.%d", 100+number), fmt.Sprintf("fd00:96::%d", 100+number)}
}

// An interval is a time in which connections of a node may fail: from an external change of its rules
// to its repair.
type interval struct{ from, to time.Time }

// A connection is a connection that failed or was slow.
type connection struct {
	node     int
	from, to time.Time
	text     string
}

// traffic is the clients and servers of the Services that no operation changes.
type traffic struct {
	mu       sync.Mutex
	drifted  map[int][]interval // by node; the zero time is the end of one that lasts
	failures []connection
	slow     []connection
	dials    int

	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// startServers starts the pods that answer.
func startServers(ctx context.Context, n *network) (*traffic, error) {
	t := &traffic{drifted: map[int][]interval{}}
	ctx, t.stop = context.WithCancel(ctx)
	for _, m := range n.machines {
		for _, is4 := range []bool{true, false} {
			l, err := m.Listen(ctx, "tcp", net.JoinHostPort(podAddr(m.number, servingPod, is4), fmt.Sprint(servingPort)))
			if err != nil {
				t.Close()
				return nil, err
			}
			context.AfterFunc(ctx, func() { l.Close() })
			t.tasks.Go(func() { serve(l) })
		}
	}
	return t, nil
}

// serve answers connections until the listener is closed.
func serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, answer)
		conn.Close()
	}
}

// startClients starts a client on each node, and one of the hub for each node.
func (t *traffic) startClients(ctx context.Context, n *network) {
	stopped, cancel := context.WithCancel(ctx)
	stopServers := t.stop
	t.stop = func() { cancel(); stopServers() }
	for _, m := range n.machines {
		var all []string
		for number := 1; number <= nodes; number++ {
			all = append(all, stableAddrs(number)...)
		}
		t.tasks.Go(func() { t.client(stopped, m.Namespace, m, all) })
		t.tasks.Go(func() { t.client(stopped, n.hub, m, stableAddrs(m.number)) })
	}
}

// Close ends clients and servers.
func (t *traffic) Close() {
	t.stop()
	t.tasks.Wait()
}

// client dials addresses in turn, through a node, until ctx is done.
func (t *traffic) client(ctx context.Context, from *netns.Namespace, node *machine, addrs []string) {
	ticks := time.NewTicker(dialInterval)
	defer ticks.Stop()
	for i := 0; ; i++ {
		addr := addrs[i%len(addrs)]
		begin := time.Now()
		port, err := ask(ctx, from, net.JoinHostPort(addr, "80"))
		if ctx.Err() != nil {
			return
		}
		c := connection{node: node.number, from: begin, to: time.Now(), text: fmt.Sprintf("%s through %s", addr, node.Name)}
		if err != nil {
			tracked, trackErr := node.tracked(addr)
			c.text += fmt.Sprintf(" from port %d: %v\n%s", port, errors.Join(err, trackErr), tracked)
			if since, found := untranslatedSince(tracked, addr, port, c.to); found {
				c.from, c.to = since.Add(-trackedPrecision), since.Add(trackedPrecision)
			}
		}
		t.record(c, err != nil)
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}

// localPort returns the port of a socket, zero if it has none.
func localPort(socket int) int {
	addr, _ := unix.Getsockname(socket)
	switch addr := addr.(type) {
	case *unix.SockaddrInet4:
		return addr.Port
	case *unix.SockaddrInet6:
		return addr.Port
	}
	return 0
}

// tracked returns the lines of connection tracking about an address that have not ended.
func (m *machine) tracked(addr string) (text string, err error) {
	err = m.Do(func() error {
		data, err := os.ReadFile("/proc/thread-self/net/nf_conntrack")
		for line := range strings.Lines(string(data)) {
			if strings.Contains(line, "dst="+netip.MustParseAddr(addr).StringExpanded()+" ") && !strings.Contains(line, "TIME_WAIT") {
				text += line
			}
		}
		return err
	})
	return text, err
}

const (
	// unansweredLifetime is how long the kernel tracks a TCP connection without an answer. Repeated
	// packets do not extend it.
	unansweredLifetime = 120 * time.Second
	// trackedPrecision is the precision of times of connection tracking.
	trackedPrecision = 2 * time.Second
)

// untranslatedSince returns since when the kernel tracks a connection from a port without
// translation. It does not translate a later connection from that port either.
func untranslatedSince(tracked, addr string, port int, now time.Time) (time.Time, bool) {
	untranslated := fmt.Sprintf(" sport=%d dport=80 [UNREPLIED] src=%s ", port, netip.MustParseAddr(addr).StringExpanded())
	for line := range strings.Lines(tracked) {
		fields := strings.Fields(line)
		if !strings.Contains(line, untranslated) || len(fields) < 6 || fields[5] != "SYN_SENT" {
			continue
		}
		if remaining, err := strconv.Atoi(fields[4]); err == nil {
			return now.Add(time.Duration(remaining)*time.Second - unansweredLifetime), true
		}
	}
	return time.Time{}, false
}

func (t *traffic) record(f connection, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dials++
	if failed {
		t.failures = append(t.failures, f)
	} else if f.to.Sub(f.from) > slowDial {
		t.slow = append(t.slow, f)
	}
}

// ask connects and reads the answer. It returns the source port.
func ask(ctx context.Context, from *netns.Namespace, to string) (port int, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	socket := -1 // a duplicate, because a failed dial closes the socket
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var dupErr error
		err := raw.Control(func(fd uintptr) { socket, dupErr = unix.Dup(int(fd)) })
		return errors.Join(err, dupErr)
	}}
	conn, err := from.DialContext(ctx, dialer, "tcp", to)
	port = localPort(socket)
	err = errors.Join(err, unix.Close(socket))
	if err != nil {
		return port, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return port, err
	}
	got, err := io.ReadAll(conn)
	if err == nil && string(got) != answer {
		err = fmt.Errorf("answer %q", got)
	}
	return port, err
}

// drift begins an interval; the result ends it.
func (t *traffic) drift(node int) (repaired func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := len(t.drifted[node])
	t.drifted[node] = append(t.drifted[node], interval{from: time.Now()})
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.drifted[node][at].to = time.Now()
	}
}

// check returns an error that names the connections that failed outside of the intervals. It may be
// called while no interval lasts.
func (t *traffic) check() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if lines := t.outside(t.failures); len(lines) > 0 {
		return errors.New("connections failed although no other program changed the rules:\n" + strings.Join(lines, "\n"))
	}
	return nil
}

// outside describes the connections that do not overlap with an interval. The mutex must be held.
func (t *traffic) outside(all []connection) (lines []string) {
	for _, c := range all {
		overlaps := func(i interval) bool { return i.from.Before(c.to) && (i.to.IsZero() || c.from.Before(i.to)) }
		if !slices.ContainsFunc(t.drifted[c.node], overlaps) {
			lines = append(lines, fmt.Sprintf("%s to %s: %s", c.from.Format(timeFormat), c.to.Format(timeFormat), c.text))
		}
	}
	return lines
}

// summary returns the numbers of connections.
func (t *traffic) summary() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	slow := t.outside(t.slow)
	return fmt.Sprintf("%d connections, %d failed and %d were slow during external changes, %d were slow at other times\n%s",
		t.dials, len(t.failures), len(t.slow)-len(slow), len(slow), strings.Join(slow, "\n"))
}
