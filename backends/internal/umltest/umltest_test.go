// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package umltest_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/umltest"
)

// TestGuest runs TestInside in a guest.
func TestGuest(t *testing.T) {
	if umltest.Inside() {
		t.Skip("runs on the host")
	}
	dir := t.TempDir()
	umltest.Run(t, umltest.Guest{
		Flags: []string{"-test.run=TestInside$", "-test.v"}, Modules: []string{"ip_vs"},
		Env: []string{"OUTPUT=" + dir + "/it's written"}, Writable: dir,
	})
	text, err := os.ReadFile(dir + "/it's written")
	require.NoError(t, err)
	require.Equal(t, "from the guest", string(text))
}

// TestInside: the guest has IPVS, and writes to the host's directory.
func TestInside(t *testing.T) {
	if !umltest.Inside() {
		t.Skip("TestGuest runs this test")
	}
	out, err := exec.Command("ipvsadm", "-L", "-n").CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.WriteFile(os.Getenv("OUTPUT"), []byte("from the guest"), 0o600))
}
