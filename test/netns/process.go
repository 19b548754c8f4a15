// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Process is a running program with its output in a log file.
type Process struct {
	// Name is the name in errors and of the log file.
	Name string
	// Log is the path of the log file.
	Log  string
	cmd  *exec.Cmd
	done chan struct{}
}

// A Program describes a process to start.
type Program struct {
	// Name is the name in errors and of the log file.
	Name string
	Path string
	Args []string
	// Dir is the directory of the log file. The output is appended to that of an earlier
	// process with the same name.
	Dir string
}

// Run starts a program in the namespace. The caller must end the process with Stop or Kill.
func (n *Namespace) Run(p Program) (*Process, error) {
	log := filepath.Join(p.Dir, p.Name+".log")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd := exec.Command(p.Path, p.Args...) //nolint:noctx // Stop and Kill end it
	cmd.Stdout, cmd.Stderr = file, file
	if err := n.Start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	process := &Process{Name: p.Name, Log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(process.done)
		_ = cmd.Wait() // ProcessState has the result
	}()
	return process, nil
}

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill sends SIGKILL and waits for the end of the process. It may be called again.
func (p *Process) Kill() error { return p.signal(context.Background(), syscall.SIGKILL) }

// Stop sends SIGTERM and waits for the end of the process. If ctx is done first, it kills the
// process and returns an error.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.signal(ctx, syscall.SIGTERM); err != nil {
		return errors.Join(err, p.Kill()) //nolint:contextcheck // ctx has ended, and the process must end too
	}
	return nil
}

func (p *Process) signal(ctx context.Context, s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for end of %s: %w", p.Name, ctx.Err())
	}
}

// Exited returns an error with the end of the log if the process has ended, and nil while it
// runs.
func (p *Process) Exited() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%v): %s", p.Name, p.cmd.ProcessState, p.Tail(20))
	default:
		return nil
	}
}

// Tail returns the last lines of the log.
func (p *Process) Tail(lines int) string {
	data, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// clockTick is the unit of CPU times in /proc. USER_HZ is 100 on every Linux architecture
// that Go supports.
const clockTick = 10 * time.Millisecond

// CPU returns the CPU time of the process and of its children that it has waited for.
func (p *Process) CPU() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, err
	}
	// The second field is the name of the program in parentheses, which may contain spaces.
	_, afterName, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(afterName)
	const utime, cstime = 11, 14 // utime, stime, cutime, cstime
	if len(fields) <= cstime {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields after the name, want at least %d", p.PID(), len(fields), cstime+1)
	}
	ticks := 0
	for _, f := range fields[utime : cstime+1] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// Memory returns the current and the peak resident memory of the process, in bytes.
func (p *Process) Memory() (current, peak int64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		var into *int64
		switch name {
		case "VmRSS":
			into = &current
		case "VmHWM":
			into = &peak
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, 0, err
		}
		*into = kib << 10
	}
	return current, peak, nil
}
