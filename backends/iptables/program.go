// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// programs are the iptables commands of one family and variant.
type programs struct {
	main, restore, save string        // paths
	wait                time.Duration // maximum time to wait for the lock
}

// findPrograms returns the commands of a variant.
func findPrograms(f *family, v Variant, wait time.Duration) (*programs, error) {
	prefix := "iptables-"
	if f.v6 {
		prefix = "ip6tables-"
	}
	p := &programs{wait: wait}
	for _, c := range []struct {
		path *string
		name string
	}{{&p.main, prefix + string(v)}, {&p.restore, prefix + string(v) + "-restore"}, {&p.save, prefix + string(v) + "-save"}} {
		path, err := exec.LookPath(c.name)
		if err != nil {
			return nil, fmt.Errorf("iptables: %w: install iptables 1.8 or newer, with its variant %q", err, v)
		}
		*c.path = path
	}
	return p, nil
}

// waitDelay is how long the pipes of an ended command may stay open.
const waitDelay = 10 * time.Second

// maxOutput is the maximum number of bytes of an error message.
const maxOutput = 1000

// A commandError is the failure of a command.
type commandError struct {
	command string
	output  string // of its standard error
	line    int    // of the input that was refused, or 0
	err     error
}

func (e *commandError) Error() string {
	return fmt.Sprintf("iptables: %s: %v: %s", e.command, e.err, e.output)
}

func (e *commandError) Unwrap() error { return e.err }

// isRefusal reports whether the command ran and refused its input. Otherwise it did not get the
// lock, was ended, or could not run.
func isRefusal(err error) bool {
	var failed *commandError
	var exit *exec.ExitError
	return errors.As(err, &failed) && errors.As(err, &exit) && exit.Exited() && !strings.Contains(failed.output, "xtables lock")
}

// refusedLine finds the line number in the messages of the variants, "line 7 failed", "line 7:
// CHAIN_ADD failed" and "Error occurred at line: 7".
func refusedLine(output string) int {
	match := regexp.MustCompile(`line:? (\d+)`).FindStringSubmatch(output)
	if match == nil {
		return 0
	}
	n, err := strconv.Atoi(match[1])
	if err != nil {
		return 0
	}
	return n
}

// run runs a command and returns its output. It ends the command when ctx is done.
func run(ctx context.Context, input []byte, path string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // the commands of findPrograms, with constant arguments
	cmd.WaitDelay = waitDelay
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.Bytes(), nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	output := strings.TrimSpace(stderr.String())
	if len(output) > maxOutput {
		output = output[:maxOutput]
	}
	return nil, &commandError{command: path + " " + strings.Join(args, " "), output: output, line: refusedLine(output), err: err}
}

// apply passes input to iptables-restore.
func (p *programs) apply(ctx context.Context, input []byte) error {
	_, err := run(ctx, input, p.restore, "--noflush", "-w", p.waitSeconds())
	return err
}

func (p *programs) waitSeconds() string { return strconv.Itoa(int(p.wait.Seconds())) }

// read returns what a load needs to know about the present content of each table.
func (p *programs) read(ctx context.Context) (map[string]*savedTable, error) {
	all := map[string]*savedTable{}
	for _, table := range tables() {
		output, err := run(ctx, nil, p.save, "-t", table)
		if err != nil {
			return nil, err
		}
		if all[table], err = parseSaved(table, output); err != nil {
			return nil, fmt.Errorf("iptables: %s -t %s: %w", p.save, table, err)
		}
	}
	return all, nil
}

// isIntact reports whether the canaries and the jumps exist.
func (p *programs) isIntact(ctx context.Context) (bool, error) {
	for _, table := range tables() {
		if intact, err := p.hasRules(ctx, table, chainCanary, canaryRules()); err != nil || !intact {
			return false, err
		}
	}
	byChain := map[sharedName][]string{}
	for _, j := range jumps(false) {
		name := sharedName{j.table, j.from}
		byChain[name] = append(byChain[name], j.rule)
	}
	for name, rules := range byChain {
		if intact, err := p.hasRules(ctx, name.table, name.chain, rules); err != nil || !intact {
			return false, err
		}
	}
	return true, nil
}

// hasRules reports whether a chain has some rules.
func (p *programs) hasRules(ctx context.Context, table, chain string, rules []string) (bool, error) {
	output, err := run(ctx, nil, p.main, "-w", p.waitSeconds(), "-t", table, "-S", chain)
	if isRefusal(err) {
		return false, nil // no such chain
	}
	if err != nil {
		return false, err
	}
	for _, rule := range rules {
		if !bytes.Contains(output, []byte("-A "+chain+" "+rule+"\n")) {
			return false, nil
		}
	}
	return true, nil
}
