// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
)

// A constantSource is a reconciler.Source whose desired state never changes.
type constantSource []*localsink.Service

func (s constantSource) Refresh(t *reconciler.Tracker) (newer <-chan struct{}) {
	t.Update(func(tx *reconciler.Tx) {
		for _, svc := range s {
			tx.Set(svc)
		}
	})
	return nil // never receives
}

// runBackend keeps these Services in the backend's tables until the test ends.
func runBackend(t *testing.T, b *Backend, services ...*localsink.Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	synced := make(chan struct{}, 1)
	onSync := func(err error, _ time.Duration) {
		if err == nil {
			select {
			case synced <- struct{}{}:
			default:
			}
		}
	}
	wg.Go(func() {
		_ = reconciler.Run(ctx, reconciler.NewTracker(testNode()), constantSource(services), b, reconciler.Config{OnSync: onSync})
	})
	<-synced
}

// A lockedBuffer is a bytes.Buffer that may be used concurrently.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// connIn returns a connection to the kernel's nf_tables in ns.
func connIn(t *testing.T, ns *netnstest.Namespace) *nfnl.Conn {
	var conn *nfnl.Conn
	ns.Do(func() (err error) {
		conn, err = nfnl.Open()
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Flushes do not compete with the backend, so each of them is repaired at once. Until then the
// backend reports the drift.
func TestFlushedRulesAreAbsentBriefly(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	all := manyServices(200, 5).serviceList
	runBackend(t, b, all...)
	conn := connIn(t, ns)
	present := func() bool {
		elements, err := conn.Elements(nfnl.FamilyIPv4, DefaultTable, mapServiceIPs)
		return err == nil && len(elements) == len(all)
	}
	require.True(t, present())
	for i := range 8 {
		_, err := ns.Command("nft", "flush", "ruleset")
		require.NoError(t, err)
		flushed := time.Now()
		reported := false
		require.Eventually(t, func() bool {
			drifted := !b.DriftedSince().IsZero() // read before the rules, which the repair writes first
			reported = reported || drifted
			return present()
		}, 5*time.Second, time.Millisecond)
		absent := time.Since(flushed)
		t.Logf("flush %d: rules absent for %v", i+1, absent)
		require.Less(t, absent, 500*time.Millisecond)
		require.True(t, reported, "drift is reported")
		require.Eventually(t, func() bool { return b.DriftedSince().IsZero() }, 5*time.Second, time.Millisecond)
		next := time.NewTimer(time.Second)
		<-next.C // as in an operator's loop; sooner changes would compete with the repairs
	}
}

// otherTableEnv makes the test below a second process with a backend of its own.
const otherTableEnv = "KPNG_TEST_OTHER_TABLE"

// Backends with different tables share a namespace, in one process and in two, with other users
// of nf_tables. None of them reacts to the others.
func TestOtherTablesCauseNoReload(t *testing.T) {
	services := manyServices(2000, 10).serviceList
	if table := os.Getenv(otherTableEnv); table != "" {
		b, err := New(Config{Table: table})
		require.NoError(t, err)
		for range 5 { // the loads are large
			require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), services...)))
			b.tables[0].state = nil
		}
		require.NoError(t, b.Close())
		return
	}
	ns := netnstest.New(t)
	var logs lockedBuffer
	var backends []*Backend
	var loads sync.WaitGroup
	for i := range 2 {
		b := backendIn(t, ns, Config{Table: fmt.Sprintf("table%d", i), Logger: slog.New(slog.NewTextHandler(&logs, nil))})
		backends = append(backends, b)
		loads.Go(func() { runBackend(t, b, services...) })
	}
	loads.Wait()
	rebuilds := func() (n []uint64) {
		for _, b := range backends {
			n = append(n, b.Stats().Tables[0].Rebuilds, b.Stats().Tables[1].Rebuilds)
		}
		return n
	}
	before := rebuilds()
	t.Logf("rebuilds of the first load: %d", before)

	ns.Do(func() error {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestOtherTablesCauseNoReload$")
		cmd.Env = append(os.Environ(), otherTableEnv+"=table2")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return nil
	})
	conn := connIn(t, ns)
	var batch nfnl.Batch
	for range 1000 {
		batch.Reset()
		batch.Start(nfnl.MsgNewTable, nfnl.FlagCreate, nfnl.FamilyIPv4)
		batch.String(nfnl.TableName, "firewall")
		require.NoError(t, conn.Commit(&batch))
	}
	// Notifications arrive in order: with the next one, all before are processed.
	for i, b := range backends {
		require.Zero(t, b.Stats().ExternalChanges)
		_, err := ns.Command("nft", "add", "chain", "ip", fmt.Sprintf("table%d", i), "foreign")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return b.Stats().ExternalChanges > 0 && b.DriftedSince().IsZero() }, 5*time.Second, time.Millisecond)
		require.EqualValues(t, 1, b.Stats().ExternalChanges)
		before[2*i]++
		before[2*i+1]++
	}
	require.Equal(t, before, rebuilds(), "only the last change is repaired")
	require.NotContains(t, logs.String(), "keeps changing")
	require.Equal(t, 2, strings.Count(logs.String(), "\n"), logs.String())
}

// After a transaction that replaced the table, reading it back detects each kind of change.
func TestReadBackFindsChanges(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	services := manyServices(300, 10).serviceList
	services = append(services, affinityService(ipFamilies()[0], time.Hour, 0, 1, 2))
	table := b.tables[0]
	require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), services...)))
	found := func(command string) (ok bool, took time.Duration) {
		checked := false
		commit := table.commitWithoutListener
		defer func() { table.commitWithoutListener = commit }()
		table.commitWithoutListener = func(batch *nfnl.Batch, intact func() (bool, error)) error {
			require.NoError(t, table.kernel.Commit(batch))
			if command != "" {
				_, err := ns.Command("nft", command)
				require.NoError(t, err)
			}
			began := time.Now()
			var err error
			if ok, err = intact(); !errors.Is(err, syscall.ENOENT) { // no table
				require.NoError(t, err)
			}
			took, checked = time.Since(began), true
			return nil
		}
		table.state = nil
		require.NoError(t, b.Sync(context.Background(), &localsink.Update{Node: testNode(), All: services}))
		require.True(t, checked)
		return ok, took
	}
	for command, want := range map[string]bool{
		"": true,
		"add table ip other; add chain ip other c; add set ip other s { type mark; }": true,
		"add chain ip kpng c":                                                false,
		"add rule ip kpng services drop":                                     false,
		"flush chain ip kpng drop-chain":                                     false,
		"flush chain ip kpng drop-chain; add rule ip kpng drop-chain accept": false,
		"add set ip kpng s { type mark; }":                                   false,
		"delete element ip kpng cluster-ips { 10.96.0.1 }":                   false,
		"add element ip kpng hairpin-connections { 1.2.3.4 . 1.2.3.4 }":      false,
		"delete element ip kpng service-ips { 10.96.0.1 . tcp . 80 }; add element ip kpng service-ips { 10.96.0.1 . tcp . 80 : goto drop-chain }": false,
		"delete element ip kpng cluster-ips { 10.96.0.1 }; add element ip kpng cluster-ips { 10.99.0.1 }":                                         false,
		"delete table ip kpng": false,
	} {
		ok, took := found(command)
		require.Equal(t, want, ok, command)
		if ok {
			t.Logf("read %d elements back in %v", b.Stats().Tables[0].Elements, took)
		}
	}
}
