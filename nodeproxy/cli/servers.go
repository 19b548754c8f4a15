// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/remoteflags"
	"sigs.k8s.io/kpng/remote/inspect"
)

// defaultTimeout is the maximum duration of a question to a server.
const defaultTimeout = 30 * time.Second

// A question is a command that asks servers.
type question struct{ name, arguments, short, long, example string }

func questions() []question {
	const (
		service = "NAMESPACE/NAME is the name of a Service. That of another object follows its origin and a colon,\nsuch as ServiceImport:shop/cart."
		columns = "SENT and APPLIED are revisions; LAG is the time since the server sent the oldest update that the\nnode has not applied."
		unknown = "If the node does not exist, the output is the state that a node of that name would have"
	)
	return []question{
		{"nodes", "[PREFIX]", "List nodes: connected, revisions, delay, last error", columns, "  kpng nodes node-1"},
		{"state", "NODE [NAMESPACE/NAME]", "Print the desired state of a node, for all Services or one",
			service + "\n\n" + unknown + ",\nand the exit code is 1.",
			"  kpng state node-1 default/web\n  kpng state node-1 -o json | jq '.services[].name'"},
		{"watch", "NODE", "Print the desired state of a node, and then each change of it", unknown + ".", "  kpng watch node-1"},
		{"explain", "NODE NAMESPACE/NAME", "Print what a node does for a Service, and the reason for each endpoint",
			service + "\n\n" + unknown + ",\nand the exit code is 1.",
			"  kpng explain node-1 default/web"},
		{"progress", "NAMESPACE/NAME", "List the nodes that have not applied the last change of a Service",
			service + "\n\n" + columns + "\n\nThe exit code is 3 if nodes that are connected to the server lag.", "  kpng progress default/web"},
		{"lag", "", "Summarize the lag of all nodes",
			"Of the nodes CONNECTED to this server, CURRENT have applied the newest revision, and FAILING could\n" +
				"not apply the last one that was sent; DISCONNECTED nodes exist and are not connected. P50, P99 and\n" +
				"MAX are the median, the 99th percentile and the maximum of LAG.",
			"  kpng lag -o json"},
	}
}

// serverCommands returns the commands that ask servers.
func serverCommands(program string, stdout, stderr io.Writer) (all []*cobra.Command) {
	for _, q := range questions() {
		all = append(all, q.command(program, stdout, stderr))
	}
	return all
}

func (q question) command(program string, stdout, stderr io.Writer) *cobra.Command {
	goFlags := flag.NewFlagSet("", flag.ContinueOnError)
	server := remoteflags.DefineClient(goFlags, "server", "", "127.0.0.1:10270")
	var format string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: strings.TrimSpace(q.name + " " + q.arguments), Short: q.short, Example: q.example,
		Long: strings.TrimSpace(q.short + ".\n\n" + q.long),
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			asked, err := inspect.Parse(program, append([]string{q.name}, args...))
			if err != nil {
				return usagef("%w", err)
			}
			cfg := inspect.Config{Warn: func(message string) { fmt.Fprintln(stderr, program+":", message) }}
			if cfg.Out, cfg.JSON, err = output(format, stdout); err != nil {
				return err
			}
			if timeout <= 0 {
				return usagef("--timeout %v: must be positive", timeout)
			}
			return ask(cmd.Context(), server, asked, timeout, cfg)
		},
	}
	fs := cmd.Flags()
	fs.AddGoFlagSet(goFlags)
	fs.StringVarP(&format, "output", "o", formatTable, "output `format`: table, json or yaml")
	fs.DurationVar(&timeout, "timeout", defaultTimeout, "maximum `duration` of a command, except watch")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{formatTable, formatJSON, formatYAML}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func ask(ctx context.Context, server *remoteflags.Client, asked *inspect.Command, timeout time.Duration, cfg inspect.Config) (err error) {
	conns, err := server.Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conns.Close()) }()
	if !asked.Endless() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return asked.Run(ctx, cfg, conns.Conns...)
}

// Formats of output.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// output returns the writer of a format, and whether it takes JSON.
func output(format string, stdout io.Writer) (out io.Writer, json bool, err error) {
	switch format {
	case formatTable:
		return stdout, false, nil
	case formatJSON:
		return stdout, true, nil
	case formatYAML:
		return &yamlWriter{out: stdout}, true, nil
	}
	return nil, false, fmt.Errorf("%w: -o %q: want table, json or yaml", command.ErrUsage, format)
}

// A yamlWriter converts JSON documents, one in each Write, to YAML documents.
type yamlWriter struct {
	out   io.Writer
	first bool // a document was written
}

func (w *yamlWriter) Write(document []byte) (int, error) {
	text, err := yaml.JSONToYAML(document)
	if err != nil {
		return 0, err
	}
	var b bytes.Buffer
	if w.first {
		b.WriteString("---\n")
	}
	w.first = true
	b.Write(text)
	if _, err := w.out.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(document), nil
}
