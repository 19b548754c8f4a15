// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// New returns a backend for the network namespace of the calling thread; a caller
// that switches namespaces must have locked its goroutine to the thread. It changes
// nothing before the first Sync.
//
// It fails, saying what to do, when the kernel is older than 5.13, lacks parts of
// nf_tables, or denies CAP_NET_ADMIN. Where only IPv6 is missing, the backend does
// without and [Backend.Lacks] says so.
func New(c Config) (*Backend, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkKernel(); err != nil {
		return nil, err
	}
	conn, err := nfnl.Open()
	if err != nil {
		return nil, explain(err)
	}
	b := &Backend{release: conn.Close}
	for _, f := range []*family{ipv4(), ipv6()} {
		t := newTable(f, c, conn)
		if err := t.probe(conn); err == nil {
			b.tables = append(b.tables, t)
		} else if f.number == nfnl.FamilyIPv6 && !errors.Is(err, unix.EPERM) {
			b.unsupported |= localsink.FeatureIPv6
			c.Logger.Warn("this system has no IPv6 that Services could use", "error", err)
		} else {
			return nil, errors.Join(explain(err), conn.Close())
		}
	}
	l, err := nfnl.Listen(c.Table, conn)
	if err != nil {
		return nil, errors.Join(explain(err), conn.Close())
	}
	b.monitor = startDriftMonitor(l, c.Logger)
	for _, t := range b.tables {
		t.withoutNotifications = func(change func() error) error { return b.monitor.withoutNotifications(conn.ExternalCommits, change) }
	}
	return b, nil
}

// probe tells whether the kernel can do all that a table needs.
func (t *table) probe(conn *nfnl.Conn) error {
	if t.family.number == nfnl.FamilyIPv6 {
		if _, err := os.Stat("/proc/thread-self/net/if_inet6"); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("IPv6 is disabled: %w", syscall.EAFNOSUPPORT)
		}
	}
	script := transaction{family: t.family, table: t.cfg.Table + "-check", replaceTable: true}
	everything := &localsink.Node{LocalPods: localsink.PodSources{Interface: "x", InterfacePrefix: "y"}}
	m := newTableState(t.family, newNodeMatches(t.family, everything), t.cfg.MasqueradeMark, &script)
	m.ensureDispatchChain(dispatch{count: 3, branches: [maxPools]branch{
		{from: localsink.FromLocalPods, pool: 1, size: 1},
		{from: localsink.FromThisNode, pool: 2, size: 1, masquerade: true},
		{from: localsink.FromAny},
	}})
	some := func(port uint16) localsink.Pool {
		return localsink.Pool{Endpoints: []localsink.Endpoint{{Addr: netip.AddrPortFrom(t.family.loopback.Addr(), port)}}}
	}
	m.updateAffinityPort("probe", []localsink.Pool{some(1), some(2)}, time.Hour)
	m.sizeSets()
	return conn.Check(script.encode())
}

// Cleanup removes what backends with that table name left in the network namespace
// of the calling thread. Connections through Services end with it. That there is
// nothing to remove is no error; an empty name means the default.
func Cleanup(table string) error {
	c, err := Config{Table: table}.withDefaults()
	if err != nil {
		return err
	}
	conn, err := nfnl.Open()
	if err != nil {
		return explain(err)
	}
	errs := []error{}
	for _, f := range []*family{ipv4(), ipv6()} {
		var b nfnl.Batch
		b.Reset()
		b.Start(nfnl.MsgNewTable, nfnl.FlagCreate, f.number) // so that there is one to delete
		b.String(nfnl.TableName, c.Table)
		b.Start(nfnl.MsgDelTable, 0, f.number)
		b.String(nfnl.TableName, c.Table)
		err := conn.Commit(&b)
		if err != nil && !(f.number == nfnl.FamilyIPv6 && isFamilyUnsupported(err)) {
			errs = append(errs, explain(fmt.Errorf("table %s %s: %w", f.name, c.Table, err)))
		}
	}
	return errors.Join(append(errs, conn.Close())...)
}

func isFamilyUnsupported(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)
}

// checkKernel fails on kernels before 5.13, where maps with such keys do not work
// reliably.
func checkKernel() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return os.NewSyscallError("uname", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	if !releaseAtLeast(release, 5, 13) {
		return fmt.Errorf("nftables: Linux %s is too old: at least 5.13 is needed; update the kernel or use another backend", release)
	}
	return nil
}

func releaseAtLeast(release string, major, minor int) bool {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 {
		return false
	}
	a, _ := strconv.Atoi(parts[0])
	b, _ := strconv.Atoi(parts[1])
	return a > major || a == major && b >= minor
}

// explain adds what to do about an error.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("nftables: CAP_NET_ADMIN over this network namespace is needed: run privileged, or grant the capability: %w", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EINVAL) && errors.As(err, new(*os.SyscallError)):
		return fmt.Errorf("nftables: this kernel has no nf_tables: load the module nf_tables, or build it in (CONFIG_NF_TABLES): %w", err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("nftables: this kernel lacks part of nf_tables: load the modules nf_tables, nft_chain_nat, nft_nat, nft_masq, "+
			"nft_ct, nft_numgen, nft_fib_ipv4, nft_fib_ipv6, nft_reject_ipv4 and nft_reject_ipv6, or build them in: %w", err)
	}
	return fmt.Errorf("nftables: %w", err)
}
