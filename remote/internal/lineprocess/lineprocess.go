// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lineprocess runs a child process that exchanges lines with this one: lines go to its
// standard input, and come from its standard output. It interprets no line.
package lineprocess

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// MaxLine is the maximum length of a line of the child in bytes.
const MaxLine = 256 << 20

// pipeDelay is how long output of the child may be read after it has exited.
const pipeDelay = time.Second

// A Config describes a child process.
type Config struct {
	// Command is the program and its arguments. Required.
	Command []string
	// Env are variables NAME=VALUE that the child has beside those of this process.
	Env []string
	// Stderr receives the standard error of the child; nil discards it.
	Stderr io.Writer
	// MaxLine is the maximum length of a line of the child in bytes; 0 means [MaxLine].
	MaxLine int
}

// Validate returns an error that names the invalid field.
func (cfg Config) Validate() error {
	if len(cfg.Command) == 0 || cfg.Command[0] == "" {
		return errors.New("Command: required")
	}
	return nil
}

// A Process is a child process. One goroutine may write, another one may read, and any may call
// the other methods. It must be closed.
type Process struct {
	cmd     *exec.Cmd
	stdin   *os.File
	stdout  *os.File
	lines   *bufio.Reader
	maxLine int
	exited  chan struct{} // closed after err is set
	err     error
	kill    sync.Once
}

// Start starts a child process.
func Start(cfg Config) (*Process, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	childIn, stdin, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("create pipe: %w", err)
	}
	stdout, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create pipe: %w", err), childIn.Close(), stdin.Close())
	}
	p := &Process{stdin: stdin, stdout: stdout, lines: bufio.NewReader(stdout), maxLine: cfg.MaxLine, exited: make(chan struct{})}
	if p.maxLine == 0 {
		p.maxLine = MaxLine
	}
	p.cmd = exec.Command(cfg.Command[0], cfg.Command[1:]...) //nolint:gosec,noctx // the user's program; Close ends it
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = childIn, childOut, cfg.Stderr
	p.cmd.Env = append(os.Environ(), cfg.Env...)
	p.cmd.WaitDelay = pipeDelay
	p.cmd.SysProcAttr = ownGroup()
	err = p.cmd.Start()
	err = errors.Join(err, childIn.Close(), childOut.Close())
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), stdout.Close())
	}
	go p.wait()
	return p, nil
}

// wait is the goroutine that reaps the child. It ends when the child has exited.
func (p *Process) wait() {
	err := p.cmd.Wait()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		err = errors.New("exit status 0")
	}
	p.Kill() // what the child has left behind in its group; later, the number may be that of another
	p.err = err
	close(p.exited)
	_ = p.stdin.Close()
	// Processes that the child has left behind hold its output open.
	_ = p.stdout.SetReadDeadline(time.Now().Add(pipeDelay))
}

// WriteLine writes a line, which must not contain a line break. The error is that of the child
// if it has exited.
func (p *Process) WriteLine(line []byte) error {
	_, err := p.stdin.Write(append(slices.Clip(line), '\n'))
	return p.because(err)
}

// ReadLine returns the next line without the line break. The error is that of the child if it
// has exited, or closed its output.
func (p *Process) ReadLine() ([]byte, error) {
	var line []byte
	for {
		part, err := p.lines.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > p.maxLine:
			return nil, fmt.Errorf("line is longer than %d bytes", p.maxLine)
		case err == nil:
			return line[:len(line)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, p.because(err)
		}
	}
}

// because returns the error of a child that has exited, or that exits soon, instead of the error
// of a pipe.
func (p *Process) because(err error) error {
	if err == nil {
		return nil
	}
	timer := time.NewTimer(pipeDelay)
	defer timer.Stop()
	select {
	case <-p.exited:
		return fmt.Errorf("process ended: %w", p.err)
	case <-timer.C:
		return fmt.Errorf("pipe of the process: %w", err)
	}
}

// Exited returns a channel that is closed when the child has exited.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Kill ends the child, and the processes in its group, at once. Reads and writes fail soon.
func (p *Process) Kill() {
	p.kill.Do(func() { killGroup(p.cmd.Process) })
}

// Close closes the standard input of the child, kills it after a grace period, and returns when it
// has exited.
func (p *Process) Close(grace time.Duration) {
	_ = p.stdin.Close()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
	}
	p.Kill()
	<-p.exited
	_ = p.stdout.Close()
}
