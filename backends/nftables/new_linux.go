// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/drift"
	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// New returns a backend for the network namespace of the calling thread. A caller that
// switches namespaces must have locked its goroutine to the thread. New changes nothing in
// the kernel; the first Sync does.
//
// New returns an error, which names the remedy, if the kernel is older than 5.13, lacks parts
// of nf_tables, or denies CAP_NET_ADMIN. If only IPv6 is missing, the backend works without
// it, and [Backend.Unsupported] contains that feature. If the kernel does not support
// [Config.CountConnections], New returns an error too.
func New(cfg Config) (*Backend, error) {
	cfg, err := cfg.withDefaults()
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
	b := &Backend{release: conn.Close, counting: cfg.CountConnections, busy: make(chan struct{}, 1)}
	for _, f := range []*family{ipv4(), ipv6()} {
		t := newTable(f, cfg, conn)
		err := t.probe(conn)
		if err == nil {
			err = t.probeCounters(conn)
		}
		if hashErr := t.probeHash(conn); err == nil && hashErr != nil {
			t.cfg.withoutHash = true
			b.unsupported |= localsink.FeatureSelectionClient | localsink.FeatureSelectionFlow
			cfg.Logger.Warn("Consistent selection is not supported on this system: load the module nft_hash, or build it in", "err", hashErr)
		}
		switch {
		case errors.Is(err, errNoCounters):
			return nil, errors.Join(err, conn.Close())
		case err == nil:
			b.tables = append(b.tables, t)
		case f.number == nfnl.FamilyIPv6 && !errors.Is(err, unix.EPERM):
			b.unsupported |= localsink.FeatureIPv6
			cfg.Logger.Warn("IPv6 Services are not supported on this system", "err", err)
		default:
			return nil, errors.Join(explain(err), conn.Close())
		}
	}
	if err := b.startMonitor(cfg.Logger); err != nil {
		return nil, errors.Join(explain(err), conn.Close())
	}
	return b, nil
}

// startMonitor begins to detect changes by other programs.
func (b *Backend) startMonitor(log *slog.Logger) error {
	conn, err := nfnl.Open()
	if err != nil {
		return err
	}
	v, err := newVerifier(b.tables, b.busy, conn)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	b.monitor = drift.NewMonitor(drift.Poll(pollInterval, log, v.check), log)
	closeFirst := b.release
	b.release = func() error { return errors.Join(closeFirst(), conn.Close()) }
	return nil
}

// probe returns an error if the kernel does not support all that a table may need.
func (t *table) probe(conn *nfnl.Conn) error {
	if t.family.number == nfnl.FamilyIPv6 {
		if _, err := os.Stat("/proc/thread-self/net/if_inet6"); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("IPv6 is disabled: %w", syscall.EAFNOSUPPORT)
		}
	}
	tx := transaction{family: t.family, table: t.cfg.Table + "-check", replaceTable: true}
	node := &localsink.Node{LocalPods: localsink.PodSources{Interface: "x", InterfacePrefix: "y"}}
	st := newTableState(t.family, newNodeMatches(t.family, node), Config{MasqueradeMark: t.cfg.MasqueradeMark}, &tx)
	st.ensureDispatchChain(dispatch{count: 3, branches: [maxPools]branch{
		{from: localsink.FromLocalPods, pool: 1, size: 1},
		{from: localsink.FromThisNode, pool: 2, size: 1, masquerade: true},
		{from: localsink.FromAny},
	}})
	pool := func(port uint16) localsink.Pool {
		return localsink.Pool{Endpoints: []localsink.Endpoint{{Addr: netip.AddrPortFrom(t.family.loopback.Addr(), port), Weight: 1}}}
	}
	st.updateAffinityPort("probe", &desiredFrontend{
		key: frontendKey{proto: localsink.ProtocolTCP}, portPools: []localsink.Pool{pool(1), pool(2)}, affinity: time.Hour, refused: 1,
	})
	st.sizeSets()
	return conn.Check(tx.encode())
}

// probeHash returns an error if the kernel, which supports all else, cannot compute hashes.
func (t *table) probeHash(conn *nfnl.Conn) error {
	tx := transaction{family: t.family, table: t.cfg.Table + "-check", replaceTable: true}
	tx.newChain(chainSpec{name: chainReject, rules: []rule{hashOfClient(t.family, localsink.SelectionFlow, 2)}})
	return conn.Check(tx.encode())
}

// errNoCounters means that the kernel does not support counters in maps.
var errNoCounters = errors.New("nftables: Config.CountConnections: this kernel does not support counters in maps: " +
	"load the module nft_counter, or build it in, or leave CountConnections unset")

// probeCounters returns errNoCounters if connections are to be counted and the kernel, which
// supports all else, does not support that.
func (t *table) probeCounters(conn *nfnl.Conn) error {
	if !t.cfg.CountConnections {
		return nil
	}
	tx := transaction{family: t.family, table: t.cfg.Table + "-check", replaceTable: true}
	st := newTableState(t.family, newNodeMatches(t.family, nil), t.cfg, &tx)
	st.add(st.serviceIPs, element{key: frontendKey{netip.AddrPortFrom(t.family.loopback.Addr(), 1), localsink.ProtocolTCP}, chain: chainReject})
	st.sizeSets()
	if err := conn.Check(tx.encode()); err != nil {
		return fmt.Errorf("%w: %w", errNoCounters, err)
	}
	return nil
}

// Cleanup removes the tables with that name from the network namespace of the calling
// thread. Connections through Services end with them. An empty name means DefaultTable.
// Cleanup returns nil if there is nothing to remove.
func Cleanup(table string) error {
	cfg, err := Config{Table: table}.withDefaults()
	if err != nil {
		return err
	}
	_, err = DeleteTables(cfg.Table)
	return err
}
