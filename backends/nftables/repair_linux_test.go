// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/drift"
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

// An update may find that another program has deleted a table, before the poll does. That counts as
// a change by another program, and requests a resync, so that other sinks compare everything.
func TestUpdateThatRepairsRequestsResync(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	b.monitor.Close() // there are no polls
	b.monitor = drift.NewMonitor(nil, slog.New(slog.DiscardHandler))
	all := manyServices(2, 2).serviceList
	require.NoError(t, b.Sync(t.Context(), firstUpdate(testNode(), all[0])))
	_, err := ns.Command("nft", "delete", "table", "ip", "kpng")
	require.NoError(t, err)
	require.NoError(t, b.Sync(t.Context(), nextUpdate(testNode(), all[:1], all)))
	require.EqualValues(t, 1, b.Stats().ExternalChanges)
	<-b.ResyncRequested()
	elements, err := connIn(t, ns).Elements(nfnl.FamilyIPv4, DefaultTable, mapServiceIPs)
	require.NoError(t, err)
	require.Len(t, elements, 2)

	rebuilds := b.Stats().Tables[0].Rebuilds
	require.NoError(t, b.Sync(t.Context(), nextUpdate(testNode(), all, all)))
	require.Equal(t, rebuilds, b.Stats().Tables[0].Rebuilds, "the resync writes nothing again")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, b.Sync(canceled, nextUpdate(testNode(), all, all)))
	require.EqualValues(t, 1, b.Stats().ExternalChanges)
}

// changeOtherTable makes batch a change of a table of another program.
func changeOtherTable(batch *nfnl.Batch) {
	batch.Reset()
	for _, kind := range []uint16{nfnl.MsgNewTable, nfnl.MsgDelTable} {
		batch.Start(kind, nfnl.FlagCreate, nfnl.FamilyIPv4)
		batch.String(nfnl.TableName, "firewall")
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
		changeOtherTable(&batch)
		require.NoError(t, conn.Commit(&batch))
	}
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
