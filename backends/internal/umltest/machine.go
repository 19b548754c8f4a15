// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package umltest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kpng/backends/internal/guest"
)

// A Machine is a kernel in user mode that runs a script.
type Machine struct {
	// Script is the path of a script for bash.
	Script string
	// Modules are kernel modules to load before.
	Modules []string
	// Memory is in MiB; zero means 512.
	Memory int
	// Dir is an existing directory for files of the machine, which the caller removes.
	Dir string
}

// Supported returns an error on a processor with AMX: Linux 6.1 in user mode fails there to set the
// registers of its first process (ptrace returns EFAULT), and panics.
func Supported() error {
	processor, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	if bytes.Contains(processor, []byte(" amx_tile ")) {
		return errors.New("umltest: Linux 6.1 in user mode does not start on a processor with AMX")
	}
	return nil
}

// Boot starts the machine, passes each line of its console to the function, and returns when the
// script has ended and the machine is off. The end of ctx ends the machine.
func (m Machine) Boot(ctx context.Context, console func(line string)) error {
	if err := Supported(); err != nil {
		return err
	}
	initPath := filepath.Join(m.Dir, "init.sh")
	if err := os.WriteFile(initPath, guest.Init(), 0o700); err != nil {
		return err
	}
	kernel := exec.CommandContext(ctx, "linux.uml", fmt.Sprintf("mem=%dM", cmp.Or(m.Memory, 512)), "rootfstype=hostfs", "rootflags=/", "ro", "quiet",
		"init="+initPath, guest.EnvScript+"="+m.Script, guest.EnvModules+"="+strings.Join(m.Modules, ","), guest.EnvModulesDir+"=/usr/lib/uml/modules",
		"con=null", "con0=fd:0,fd:1")
	kernel.Env = append(os.Environ(), "TMPDIR="+m.Dir)
	output, err := kernel.StdoutPipe()
	if err != nil {
		return err
	}
	if err := kernel.Start(); err != nil {
		return err
	}
	passed, readErr := guest.ReadConsole(output, console)
	err = errors.Join(kernel.Wait(), readErr)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("umltest: the guest did not end in time: %w", ctx.Err())
	case err != nil:
		return fmt.Errorf("umltest: linux.uml: %w", err)
	case !passed:
		return guest.ErrFailed
	}
	return nil
}
