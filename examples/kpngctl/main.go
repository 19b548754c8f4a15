// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kpngctl prints what a server has sent to its nodes, how far they have applied
// it, and why. This file has the flags and exit codes; package inspect has the commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/remoteflags"
	"sigs.k8s.io/kpng/remote/inspect"
)

const usage = `Usage: kpngctl [FLAGS] COMMAND

Commands:
` + inspect.Syntax + `
Columns: SENT and APPLIED are revisions; LAG is the time since the server sent the oldest
update that the node has not applied. Of the nodes CONNECTED to this server, CURRENT have
applied the newest revision, and FAILING could not apply the last one that was sent;
DISCONNECTED nodes exist and are not connected. P50, P99 and MAX are the median, the 99th
percentile and the maximum of LAG.

Exit codes: 0 done; 1 failed, or the node does not exist (the output is the state that a
node of that name would have); 2 invalid command line; 3 (progress) nodes that are connected
to the server lag.

Flags:
`

// exitLagging is the exit code if nodes lag.
const exitLagging = 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, inspect.ErrNodesLagging) {
		os.Exit(exitLagging) // the answer is on stdout
	}
	os.Exit(command.ExitCode("kpngctl", err, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	fs := flag.NewFlagSet("kpngctl", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	server := remoteflags.DefineClient(fs, "server", "", "127.0.0.1:10270")
	format := fs.String("o", "table", "output `format`: table or json")
	timeout := fs.Duration("timeout", 30*time.Second, "maximum `duration` of a command, except watch")
	words, err := command.ParseMixed(fs, args)
	if err != nil {
		return err
	}
	if *format != "table" && *format != "json" {
		return fmt.Errorf("%w: -o %q: want table or json", command.ErrUsage, *format)
	}
	if *timeout <= 0 {
		return fmt.Errorf("%w: -timeout %v: must be positive", command.ErrUsage, *timeout)
	}
	cmd, err := inspect.Parse("kpngctl", words)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrUsage, err)
	}
	conns, err := server.Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conns.Close()) }()
	if !cmd.Endless() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	warn := func(message string) { fmt.Fprintln(stderr, "kpngctl:", message) }
	return cmd.Run(ctx, inspect.Config{Out: stdout, Warn: warn, JSON: *format == "json"}, conns.Conns...)
}
