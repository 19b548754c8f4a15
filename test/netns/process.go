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

// A Process is a running program whose output goes to a file.
type Process struct {
	// Name is what errors and log files call it.
	Name string
	// Log is the path of the file with its output.
	Log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// A Program is something to run.
type Program struct {
	// Name is what errors and the log file are called by.
	Name string
	Path string
	Args []string
	// Dir is where the log file goes; output of an earlier process of the same
	// name is kept.
	Dir string
}

// Run starts a program in the namespace. The process belongs to the caller, who
// ends it with Stop or Kill.
func (n *Namespace) Run(p Program) (*Process, error) {
	log := filepath.Join(p.Dir, p.Name+".log")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Stdout, cmd.Stderr = file, file
	if err := n.Start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	process := &Process{Name: p.Name, Log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(process.done)
		process.err = cmd.Wait()
	}()
	return process, nil
}

// PID returns the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process at once and waits for that. Killing it again is no error.
func (p *Process) Kill() error { return p.signal(context.Background(), syscall.SIGKILL) }

// Stop asks the process to end, and kills it when ctx ends first.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.signal(ctx, syscall.SIGTERM); err != nil {
		return errors.Join(err, p.Kill())
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
		return fmt.Errorf("%s did not end: %w", p.Name, ctx.Err())
	}
}

// Exited returns an error that says how the process ended, nil while it runs.
func (p *Process) Exited() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%v): %s", p.Name, p.err, p.Tail(20))
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

// clockTick is the unit of CPU times in /proc, USER_HZ, 100 on every Linux that
// Go runs on.
const clockTick = 10 * time.Millisecond

// CPU returns the processor time that the process has used, with that of the
// children it has waited for.
func (p *Process) CPU() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses and may hold spaces.
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	const utime, cstime = 11, 14 // utime, stime, cutime, cstime
	if len(fields) <= cstime {
		return 0, fmt.Errorf("/proc/%d/stat: unexpected form", p.PID())
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

// Memory returns the resident memory of the process and its highest so far, in
// bytes.
func (p *Process) Memory() (now, peak int64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		var into *int64
		switch name {
		case "VmRSS":
			into = &now
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
	return now, peak, nil
}
