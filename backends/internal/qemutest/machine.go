// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package qemutest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/kpng/backends/internal/guest"
)

// A Machine is an emulated computer for amd64 that runs a script.
type Machine struct {
	// Kernel and Initramfs are paths of files.
	Kernel, Initramfs string
	// Script is the path of a script for bash, in the initramfs.
	Script string
	// Modules are kernel modules to load before.
	Modules []string
	// Memory is in MiB; zero means 1536.
	Memory int
}

// Boot starts the machine, passes each line of its console to the function, and returns when the
// script has ended and the machine is off. The end of ctx ends the machine. The result is the CPU
// time of the host.
func (m Machine) Boot(ctx context.Context, console func(line string)) (time.Duration, error) {
	arguments := []string{
		"console=ttyS0", "quiet", "panic=-1", "no_timer_check", "rdinit=/init", "systemd.unified_cgroup_hierarchy=1",
		guest.EnvScript + "=" + m.Script, guest.EnvModules + "=" + strings.Join(m.Modules, ","), guest.EnvModulesDir + "=" + ModulesDir,
	}
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(cmp.Or(m.Memory, 1536)),
		"-accel", "tcg", "-icount", "shift=1,sleep=off", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", m.Kernel, "-initrd", m.Initramfs, "-append", strings.Join(arguments, " "))
	output, err := qemu.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var problems strings.Builder
	qemu.Stderr = &problems
	if err := qemu.Start(); err != nil {
		return 0, err
	}
	passed, readErr := guest.ReadConsole(output, console)
	err = errors.Join(qemu.Wait(), readErr)
	cpu := qemu.ProcessState.UserTime() + qemu.ProcessState.SystemTime()
	switch {
	case ctx.Err() != nil:
		return cpu, fmt.Errorf("qemutest: the guest did not end in time: %w", ctx.Err())
	case err != nil:
		return cpu, fmt.Errorf("qemutest: qemu-system-x86_64: %w: %s", err, problems.String())
	case !passed:
		return cpu, guest.ErrFailed
	}
	return cpu, nil
}
