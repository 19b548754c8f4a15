// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/test/controlplane"
)

// umlEnv is 1 in the environment of the guest.
const umlEnv = "KPNG_INSIDE_UML"

// TestIPVSInUserMode runs all cases and live tests with the mode ipvs, on a kernel in user mode,
// because few hosts have the module ip_vs. It runs only if KPNG_REQUIRE_UML is 1: `make uml`
// sets it. KPNG_CASES selects cases.
func TestIPVSInUserMode(t *testing.T) {
	if os.Getenv(umlEnv) == "1" {
		fx := newFixture(t)
		// IPVS confuses connections from one port of a client to two Services with the same endpoint
		// (backends/ipvs, "Limits").
		for _, place := range fx.Places {
			place.OwnSourcePorts = true
		}
		runProxy(t, fx, ipvsProxy())
		return
	}
	if os.Getenv("KPNG_REQUIRE_UML") != "1" {
		t.Skip("takes minutes: set KPNG_REQUIRE_UML=1, or call make uml")
	}
	dir := t.TempDir()
	binaries, err := controlplane.OpenBinaries()
	require.NoError(t, err)
	programs, err := binaries.Build(t.Context(), controlplane.EtcdPackage, controlplane.APIServerPackage, controlplane.KPNGProxyPackage)
	require.NoError(t, err)
	binary, script, boot := filepath.Join(dir, "e2e.test"), filepath.Join(dir, "run.sh"), filepath.Join(dir, "boot")
	for _, args := range [][]string{
		{"test", "-c", "-o", binary, "."},
		{"build", "-o", boot, "sigs.k8s.io/kpng/backends/internal/umltest/boot"},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	here, err := os.Getwd()
	require.NoError(t, err)
	commands := fmt.Sprintf("cd %q && %s=1 KPNG_REQUIRE_NETNS=1 KPNG_TEST_BIN=%q KPNG_TEST_BIN_COMPLETE=1 KPNG_CASES=%q %q -test.v -test.run '^%s$' -test.timeout 30m\n",
		here, umlEnv, filepath.Dir(programs[0]), os.Getenv("KPNG_CASES"), binary, t.Name())
	require.NoError(t, os.WriteFile(script, []byte(commands), 0o600))
	cmd := exec.CommandContext(t.Context(), boot, "-memory", "3000", "-modules", "ipv6,ip_vs,veth,dummy", script)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	require.NoError(t, cmd.Run())
}

// ipvsProxy is the drop-in in the mode ipvs.
func ipvsProxy() *proxyUnderTest {
	return &proxyUnderTest{
		name: "kpng-ipvs", pkg: controlplane.KPNGProxyPackage, mode: "ipvs", differences: ipvsDifferences(),
		restoresRules: true, legacyIPTables: true, keepsAffinity: true,
	}
}
