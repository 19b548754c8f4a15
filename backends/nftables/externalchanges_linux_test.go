// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// verifierOf returns a verifier of the tables of b, which no longer checks them itself.
func verifierOf(t testing.TB, b *Backend, kernel kernelReader) *verifier {
	b.monitor.Close()
	v, err := newVerifier(b.tables, b.busy, kernel)
	require.NoError(t, err)
	return v
}

// verifyAll reports whether v finds a change when it verifies everything.
func verifyAll(t *testing.T, v *verifier) (changed bool) {
	v.generation = nfnl.AddGenerations(v.generation, 1<<32-2) // as if there was one more transaction
	for first := true; first || !changed && v.elements.verified < v.changes; first = false {
		v.objects.next, v.elements.next = time.Time{}, time.Time{}
		var err error
		changed, err = v.check(t.Context())
		require.NoError(t, err)
	}
	return changed
}

// A withoutCounts is a kernel that does not return the number of elements of sets.
type withoutCounts struct{ *nfnl.Conn }

func (k withoutCounts) Objects(family uint8, table string) ([]nfnl.Object, bool, error) {
	all, exact, err := k.Conn.Objects(family, table)
	for i := range all {
		all[i].Elements = -1
	}
	return all, exact, err
}

// Each kind of change of the own tables is found, and no other change.
func TestVerificationFindsChanges(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	services := manyServices(300, 10).serviceList
	services = append(services, affinityService(ipFamilies()[0], time.Hour, 0, 1, 2))
	conn := connIn(t, ns)
	replace := func() {
		for _, table := range b.tables {
			table.state = nil
		}
		require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), services...)))
	}
	v := verifierOf(t, b, conn)
	for command, want := range map[string]bool{
		"add table ip other; add chain ip other c; add set ip other s { type mark; }": false,
		"add chain ip kpng c":                                                true,
		"add rule ip kpng services drop":                                     true,
		"flush chain ip kpng drop-chain":                                     true,
		"flush chain ip kpng drop-chain; add rule ip kpng drop-chain accept": true,
		"rename chain ip kpng drop-chain drop-it":                            true,
		"add set ip kpng s { type mark; }":                                   true,
		"add table ip kpng { flags dormant; }":                               true,
		"delete element ip kpng cluster-ips { 10.96.0.1 }":                   true,
		"flush map ip kpng service-ips":                                      true,
		"add element ip kpng hairpin-connections { 1.2.3.4 . 1.2.3.4 }":      true,
		"delete element ip kpng service-ips { 10.96.0.1 . tcp . 80 }; add element ip kpng service-ips { 10.96.0.1 . tcp . 80 : goto drop-chain }": true,
		"delete element ip kpng cluster-ips { 10.96.0.1 }; add element ip kpng cluster-ips { 10.99.0.1 }":                                         true,
		"delete table ip kpng": true,
		"flush ruleset":        true,
	} {
		for _, kernel := range []kernelReader{conn, withoutCounts{conn}} {
			replace()
			v.kernel = kernel
			require.False(t, verifyAll(t, v), "before %q", command)
			_, err := ns.Command("nft", command)
			require.NoError(t, err)
			require.Equal(t, want, verifyAll(t, v), command)
		}
	}
}

// What the backend itself does, and packets, is no change by another program.
func TestVerificationAcceptsOwnChanges(t *testing.T) {
	for _, cfg := range []Config{{}, {CountConnections: true}} {
		ns := netnstest.New(t)
		b := backendIn(t, ns, cfg)
		v := verifierOf(t, b, connIn(t, ns))
		g := newGenerator(t)
		d := sinktest.Driver{Sink: b, Node: testNode()}
		all := map[localsink.ServiceName]*localsink.Service{}
		for range 150 {
			for range 1 + g.IntN(10) {
				s := g.service(g.IntN(30))
				if all[s.Name] = s; g.IntN(3) == 0 {
					delete(all, s.Name)
				}
			}
			require.NoError(t, d.Sync(t.Context(), sinktest.NewState(slices.Collect(maps.Values(all))...)))
			require.False(t, verifyAll(t, v))
		}
		require.Less(t, b.Stats().Tables[0].Rebuilds, uint64(10))
	}
}

// A socket that listens to nf_tables, in any network namespace of the machine, makes large loads
// many times slower.
func TestBackendDoesNotListen(t *testing.T) {
	ns := netnstest.New(t)
	backendIn(t, ns, Config{})
	ns.Do(func() error {
		sockets, err := os.ReadFile("/proc/thread-self/net/netlink")
		require.NoError(t, err)
		found := 0
		for line := range strings.Lines(string(sockets)) {
			if f := strings.Fields(line); f[1] == strconv.Itoa(unix.NETLINK_NETFILTER) && f[2] != "0" {
				require.Equal(t, "00000000", f[3], "groups of the socket")
				found++
			}
		}
		require.Equal(t, 2, found)
		return nil
	})
}

// While another program changes rules of its own all the time, its changes cost little and a flush
// of the tables is repaired as fast as otherwise.
func TestBusyRulesDoNotDelayRepairs(t *testing.T) {
	ns := netnstest.New(t)
	b := backendIn(t, ns, Config{})
	runBackend(t, b, manyServices(200, 10).serviceList...)
	conn := connIn(t, ns)
	stop := make(chan struct{})
	var other sync.WaitGroup
	defer other.Wait()
	defer close(stop)
	other.Go(func() {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		var batch nfnl.Batch
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				changeOtherTable(&batch)
				if conn.Commit(&batch) != nil {
					return
				}
			}
		}
	})
	// Elements are verified meanwhile: nothing is repaired.
	quiet := time.NewTimer(3 * time.Second)
	<-quiet.C
	require.Zero(t, b.Stats().ExternalChanges)
	require.EqualValues(t, 1, b.Stats().Tables[0].Rebuilds)
	for range 3 {
		changes := b.Stats().ExternalChanges
		_, err := ns.Command("nft", "delete", "table", "ip", "kpng")
		require.NoError(t, err)
		deleted := time.Now()
		require.Eventually(t, func() bool { return b.Stats().ExternalChanges > changes && b.DriftedSince().IsZero() }, 5*time.Second, time.Millisecond)
		t.Logf("repaired after %v", time.Since(deleted))
		require.Less(t, time.Since(deleted), 2*time.Second, "a quarter of a second, unless the machine is busy")
	}
}
