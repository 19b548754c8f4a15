// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package umltest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/guest"
)

// insideEnv is set in the environment of a test binary that runs in the guest.
const insideEnv = "KPNG_INSIDE_UML"

// RequireEnv names an environment variable. If it is 1, tests fail if the kernel is not
// installed, instead of being skipped.
const RequireEnv = "KPNG_REQUIRE_UML"

// Inside reports whether the process runs in the guest.
func Inside() bool { return os.Getenv(insideEnv) == "1" }

// A Guest is what [Run] boots.
type Guest struct {
	// Flags are those of the test binary, such as -test.run=TestName.
	Flags []string
	// Modules are kernel modules to load before. The kernel loads others on demand.
	Modules []string
	// Env lists further variables of the environment, each as NAME=VALUE.
	Env []string
	// Writable is a directory of the host that the guest may write to; empty if there is none.
	Writable string
	// Memory is that of the guest in MiB; zero means 512.
	Memory int
	// TimeLimit ends the guest; zero means three minutes.
	TimeLimit time.Duration
}

// tools are the programs that the guest needs; test/tools.sh installs them.
func tools() []string {
	return []string{"linux.uml", "modprobe", "ip", "ipset", "ipvsadm", "iptables-legacy", "bash"}
}

// Run runs the tests of the package of the calling test in a guest, prints their output, and
// fails t if they fail. It skips t if the kernel is not installed or not [Supported], and with -short.
func Run(t *testing.T, g Guest) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a kernel: skipped with -short")
	}
	for _, tool := range tools() {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv(RequireEnv) == "1" {
				t.Fatalf("needs %s (%s is set): %v", tool, RequireEnv, err)
			}
			t.Skipf("needs %s, which test/tools.sh installs on Debian for amd64: %v", tool, err)
		}
	}
	if err := Supported(); err != nil {
		if os.Getenv(RequireEnv) == "1" {
			t.Fatalf("%v (%s is set)", err, RequireEnv)
		}
		t.Skip(err)
	}
	limit := cmp.Or(g.TimeLimit, 3*time.Minute)
	dir, temporary := workingDirectory(t), t.TempDir()
	binary := filepath.Join(temporary, "package.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // the race detector needs more memory than a guest has
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	script := filepath.Join(temporary, "run.sh")
	require.NoError(t, os.WriteFile(script, g.script(dir, binary, limit), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), limit+30*time.Second)
	defer cancel()
	m := Machine{Script: script, Modules: g.Modules, Memory: g.Memory, Dir: temporary}
	require.NoError(t, m.Boot(ctx, func(line string) { t.Log(line) }))
}

func workingDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	return dir
}

// script returns the commands that the guest runs.
func (g Guest) script(dir, binary string, limit time.Duration) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "set -e\nexport %s=1 KPNG_REQUIRE_NETNS=1\n", insideEnv)
	for _, variable := range g.Env {
		fmt.Fprintf(&b, "export %s\n", guest.Quote(variable))
	}
	if g.Writable != "" {
		fmt.Fprintf(&b, "mount -t hostfs none %[1]s -o %[1]s\n", guest.Quote(g.Writable))
	}
	fmt.Fprintf(&b, "cd %s\n%s -test.timeout=%s", guest.Quote(dir), guest.Quote(binary), limit)
	for _, flag := range g.Flags {
		b.WriteString(" " + guest.Quote(flag))
	}
	b.WriteString("\n")
	return []byte(b.String())
}
