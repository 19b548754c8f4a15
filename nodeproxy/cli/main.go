// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/dataplane"
	"sigs.k8s.io/kpng/remote/inspect"
)

// Exit codes beside those of package command.
const (
	exitDiffers = 1 // kpng diff, as that of diff, and kpng vectors
	exitLagging = 3 // kpng progress: nodes lag
)

// Main runs the command line of this process and returns its exit code. SIGTERM and an interrupt end
// it.
func Main(registry Registry, plugins ...Plugin) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := registry.With(plugins...).Run(ctx, os.Args, os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, inspect.ErrNodesLagging):
		return exitLagging // the answer is on stdout
	case errors.Is(err, errDiffers), errors.Is(err, errVectors):
		return exitDiffers
	}
	return command.ExitCode(programName(os.Args[0]), err, os.Stderr)
}

// Run runs a command line, whose first element is the name of the program, until it ends or ctx is
// done.
func (r Registry) Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := r.command(programName(args[0]), stdout, stderr) //nolint:contextcheck // cobra passes it to the commands
	root.SetArgs(args[1:])
	return withLongFlags(root.ExecuteContext(ctx))
}

// kubectlPrefix is the prefix of the file names of plugins of kubectl.
const kubectlPrefix = "kubectl-"

// programName returns the name of the program as users type it.
func programName(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), ".exe")
	if plugin, found := strings.CutPrefix(name, kubectlPrefix); found {
		return "kubectl " + plugin
	}
	return name
}

// command returns the root command.
func (r Registry) command(name string, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:         strings.ReplaceAll(name, " ", "-"),
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: name},
		Short:       "Kubernetes service proxies from the command line",
		Long: `Kubernetes service proxies from the command line: any source of Services with any sink.

` + r.help() + `
Exit codes: 0 done; 1 failed, or a negative answer; 2 invalid command line; 3 nodes lag (progress).
`,
		Example: `  kpng run --from kube --to nftables,conntrack,healthcheck
  kpng run --from file:./manifests --node node-1 --to text
  kpng explain node-1 default/web --server 127.0.0.1:10270`,
		Version:      command.Version(),
		SilenceUsage: true, SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; %s --help lists the commands", args[0], name)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", command.ErrUsage, err) })
	root.AddCommand(r.runCommand(stdout, stderr), r.diffCommand(stdout, stderr), testCommand(stderr), vectorsCommand(stdout, stderr), cleanupCommand(stderr))
	root.AddCommand(serverCommands(name, stdout, stderr)...)
	return root
}

// cleanupCommand returns kpng cleanup.
func cleanupCommand(stderr io.Writer) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:     "cleanup",
		Short:   "Remove the rules of all sinks, and those of kube-proxy, from this node",
		Example: "  kpng cleanup",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return dataplane.Cleanup(cmd.Context(), command.NewLogger(stderr, verbose))
		},
	}
	cmd.Flags().BoolVarP(&verbose, flagVerbose, flagVerbose, false, "log debug messages")
	return cmd
}
