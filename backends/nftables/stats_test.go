// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// TestFailedTransactionsAreCounted fails one transaction of each kind: the first of a
// change, and the second, which only removes what is unused.
func TestFailedTransactionsAreCounted(t *testing.T) {
	a := newGoldenTest(t, ipv4(), Config{})
	s := a.service([]localsink.Pool{a.pool(1, 2)}, a.frontend(localsink.KindExternalIP, 10))
	a.mustStep("no Service")
	failOnce := func(applies func(log string) bool) {
		failed := false
		a.kernel.fault = func(commit bool, log string) error {
			if commit && !failed && applies(log) {
				failed = true
				return errors.New("injected")
			}
			return nil
		}
	}
	failOnce(func(log string) bool { return strings.Contains(log, " service-ips 0a00000a") })
	a.mustStep("the first transaction fails", s)
	require.EqualValues(t, 1, a.table.stats.SyncFailures)
	require.Zero(t, a.table.stats.CleanupFailures)

	commits := 0
	failOnce(func(string) bool { commits++; return commits == 2 })
	a.mustStep("the second transaction fails", a.service([]localsink.Pool{a.pool(1)}, a.frontend(localsink.KindExternalIP, 10)))
	require.EqualValues(t, 2, a.table.stats.SyncFailures)
	require.EqualValues(t, 1, a.table.stats.CleanupFailures)
	require.False(t, a.table.repaired, "an error of another kind is no change by another program")
}
