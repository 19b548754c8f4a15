// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/remoteflags"
	"sigs.k8s.io/kpng/nodeproxy/servertier"
	"sigs.k8s.io/kpng/nodeproxy/tuning"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// runFlags are the flags of sources and sinks.
type runFlags struct {
	from, to            []string
	node, config        string
	kubeconfig, context string
	copyKeys            []string
	details             kubeapi.Details
	health, connections string
	rewrites            int
	devices             []string
	readiness           readinessFlags
	server              *remoteflags.Server
	upstream            *remoteflags.Client
	stdout, stderr      io.Writer
	set                 *pflag.FlagSet // nil if flags without effect are valid
}

// Names of flags that others replace.
const (
	flagListen   = "listen"
	flagUpstream = "upstream"
	flagVerbose  = "v"
)

// define defines the flags of sources, and with sinks those of sinks.
func (f *runFlags) define(fs *pflag.FlagSet, sinks bool) {
	host, _ := os.Hostname()
	fs.StringVar(&f.node, "node", strings.ToLower(host), "`name` of the node")
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file` (default: those of kubectl, or the service account of the pod)")
	fs.StringVar(&f.context, "context", "", "`context` of the kubeconfig file")
	fs.StringSliceVar(&f.copyKeys, "copy-keys", nil,
		"`patterns` (comma-separated) of labels and annotations that backends read as extensions, such as acme.example/*")
	goFlags := flag.NewFlagSet("", flag.ContinueOnError)
	f.upstream = remoteflags.DefineWatcher(goFlags, flagUpstream, flagUpstream+"-")
	f.server = remoteflags.DefineServer(goFlags)
	if sinks {
		f.set = fs
		fs.StringVar(&f.config, "config", "", "YAML `file` with values of flags by name, which the command line replaces")
		goFlags.TextVar(&f.details, "details", kubeapi.Details(0),
			"`names` (comma-separated) of what servers keep for clients that are not proxies: "+
				"headless, external-name, load-balancer-class, app-protocol, hostname, zone, target, or all")
		fs.StringVar(&f.health, "health", "", "`address` (host:port) that serves /healthz and /livez over HTTP; needs the sink healthcheck")
		f.readiness.define(fs)
		fs.StringVar(&f.connections, "count-connections", "",
			"count new connections, for /state, and for /metrics those of `services`, by frontend, or of endpoints too; needs the sinks nftables and healthcheck")
		fs.IntVar(&f.rewrites, "recent-rewrites", 0,
			"`number` of recent connections whose destination was replaced at the socket, for /state; needs the sinks ebpf and healthcheck")
		fs.StringSliceVar(&f.devices, "ebpf-devices", nil,
			"`names` (comma-separated) of devices, or patterns such as eth*, on which connections from outside are decided at tc; needs the sink ebpf")
	}
	resolver := append(resolverFlags(), flagVerbose)
	goFlags.VisitAll(func(g *flag.Flag) {
		switch {
		case g.Name == flagListen, g.Name == flagUpstream: // sources and sinks have addresses
		case sinks, strings.HasPrefix(g.Name, flagUpstream), slices.Contains(resolver, g.Name):
			fs.AddGoFlag(g)
		}
	})
}

// env returns the environment of sources and sinks.
func (f *runFlags) env() (*Env, error) {
	resolver, err := f.server.Resolver()
	if err != nil {
		return nil, err
	}
	env := &Env{
		NodeName: f.node, Filter: kubeapi.Filter{ProxyName: f.server.ProxyName(), Details: f.details},
		Stdout: f.stdout, Stderr: f.stderr, Logger: command.NewLogger(f.stderr, f.server.Verbose()),
		client:   kubeclient.Config{Kubeconfig: f.kubeconfig, Context: f.context, UserFiles: true},
		upstream: f.upstream, server: f.server, readiness: &f.readiness, servers: map[string]*servertier.Services{},
		countConnections: f.connections != "", recentRewrites: f.rewrites, devices: f.devices,
	}
	if f.readiness.condition != "" {
		env.Filter.Details |= kubeapi.DetailTarget
	}
	if len(f.copyKeys) > 0 {
		if env.Extend, err = kubeapi.CopyKeys(f.copyKeys...); err != nil {
			return nil, usagef("--copy-keys: %w", err)
		}
	}
	resolver.Logger = env.Logger
	env.Node = resolver.ForNode(f.node)
	return env, nil
}

func nftablesConfig(env *Env) nftables.Config {
	return nftables.Config{CountConnections: env.countConnections}
}

// runCommand returns kpng run.
func (r Registry) runCommand(stdout, stderr io.Writer) *cobra.Command {
	f := &runFlags{stdout: stdout, stderr: stderr}
	cmd := &cobra.Command{
		Use:   "run --from SOURCE... --to SINK[,SINK]...",
		Short: "Connect sources with sinks",
		Long: `Delivers the Services of all sources to all sinks, until it is interrupted.

Several --from are joined; an object that several sources have is that of the first. Sinks of one
--to, separated by commas, are called in this order, and each waits for those before it; several
--to are independent of each other. exec: takes the rest of its --to.

Rules stay when the program ends, and while it cannot reach a server; kpng cleanup removes them.
The servers and relays of a cluster need the same values of --proxy-name, --cluster-cidr, --node-cidr,
--nodeport-addresses, --masquerade-all, --ignore-external-ips, --no-masquerade-cidrs, --frontend-kinds
and --ip-families.

` + r.help(),
		Example: `  # what a node does for the Services of manifests, and each change of it
  kpng run --from file:./manifests --node node-1 --to text

  # a service proxy for this node
  kpng run --from kube --to nftables,conntrack,healthcheck --health :10256

  # a server for all nodes, a relay to it, and a node that it serves
  kpng run --from kube --to serve-node:127.0.0.1:10270,serve-cluster:127.0.0.1:10270
  kpng run --from cluster:127.0.0.1:10270 --to serve-node:127.0.0.1:10280
  kpng run --from node:127.0.0.1:10280 --to nftables,conntrack,healthcheck

  # a sink in any language
  kpng run --from kube --to 'exec:./sink.sh /var/lib/services'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := applyConfig(cmd.Flags(), f.config); err != nil {
				return err
			}
			return r.run(cmd.Context(), f)
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&f.from, "from", nil, "`source`, repeatable: "+strings.Join(r.sourceWords(), ", "))
	fs.StringArrayVar(&f.to, "to", nil, "`sinks` (comma-separated), repeatable: "+strings.Join(r.sinkWords(), ", "))
	f.define(fs, true)
	complete := func(flag string, words []string) {
		_ = cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return completions(words), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
		})
	}
	complete("from", r.sourceWords())
	complete("to", r.sinkWords())
	return cmd
}

// completions returns words without the placeholders of arguments.
func completions(words []string) (out []string) {
	for _, w := range words {
		name, _, argument := strings.Cut(w, ":")
		if argument {
			name += ":"
		}
		out = append(out, name)
	}
	return out
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// run runs sources and sinks until ctx is done.
func (r Registry) run(ctx context.Context, f *runFlags) (err error) {
	shown := f.showProgress()
	env, err := f.env()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.close()) }()
	env.progress = shown
	p, err := r.plan(ctx, env, f)
	if err != nil {
		return err
	}
	if shown != nil {
		if p.watcher != nil {
			shown.objects = func() (int, bool) { s := p.store.Snapshot(); return s.Len(), s.Synced() }
		}
		env.Go(shown.run)
	}
	untaint, err := f.readiness.ownTaint(env)
	if err != nil {
		return err
	}
	p.applied = afterAll(len(p.groups), func() {
		if len(p.clusters) == 0 && !p.many {
			tuning.AfterFirstSync()
		}
		untaint()
	})
	if p.many {
		tuning.ServerGarbageCollection()
	} else {
		tuning.BeforeFirstSync()
	}
	return command.RunAll(ctx, append(env.background, p.parts(env, f)...)...)
}

// showProgress returns what shows the first sync, and directs other output past it; nil if the
// standard error is no terminal.
func (f *runFlags) showProgress() *progress {
	if !isTerminal(f.stderr) {
		return nil
	}
	p := &progress{terminal: f.stderr, start: time.Now()}
	if isTerminal(f.stdout) {
		f.stdout = p.beside(f.stdout)
	}
	f.stderr = p.beside(f.stderr)
	return p
}

// metricsOf returns the address of --metrics for a group; servers have it otherwise.
func (f *runFlags) metricsOf(env *Env) string {
	if len(env.servers) > 0 {
		return ""
	}
	return f.server.Metrics()
}
