// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestNotifierWatchesReplacedDirectory deletes a directory and creates another one at the
// same path.
func TestNotifierWatchesReplacedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "manifests")
	require.NoError(t, os.Mkdir(dir, 0o700))
	n := newNotifier(dir, false, slog.New(slog.DiscardHandler))
	defer n.close()
	require.False(t, n.renew())
	require.NoError(t, os.RemoveAll(dir))
	require.False(t, n.renew())
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.Eventually(t, n.renew, 20*time.Second, time.Millisecond)
	for empty := false; !empty; {
		select {
		case <-n.changed():
		default:
			empty = true
		}
	}
	put(t, filepath.Join(dir, "a.yaml"), "")
	select {
	case <-n.changed():
	case <-time.After(20 * time.Second):
		require.FailNow(t, "timeout waiting for a notification")
	}
}
