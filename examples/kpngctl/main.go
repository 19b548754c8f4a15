// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kpngctl asks a server of nodes how far its nodes are, and why they do what
// they do. It knows flags and tables; the answers are the server's.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/examples/internal/cli"
)

func main() { cli.Main("kpngctl", run) }

const usage = `Usage: kpngctl [FLAGS] COMMAND

Commands:
  nodes [PREFIX]           every node: connected, how far, how long behind, last error
  state NODE [NS/NAME]     what a node must do, for all Services or one
  watch NODE               the same, and then every change of it
  explain NODE NS/NAME     what a node does for a Service, and why
  progress NS/NAME         which nodes have not applied the last change of a Service
  lag                      how far nodes are behind, in all

Columns: SENT and APPLIED are revisions, BEHIND is for how long a node has not applied what
is newest; of the nodes CONNECTED to this server, CURRENT have applied the newest revision
and FAILING could not apply what they were sent; ABSENT ones exist and are not connected.

Exit codes: 0 done; 1 failed, or there is no such Node, of which the answer is what one of
that name would do, or no Node with that prefix; 2 used wrongly; 3 (progress) nodes are
behind that are connected to the server.

Flags:
`

// A ctl is one invocation.
type ctl struct {
	client    kpng.InspectServiceClient
	out, errs io.Writer
	json      bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var dialer cli.Dialer
	fs := flag.NewFlagSet("kpngctl", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	dialer.Define(fs, "server", "", "127.0.0.1:10270")
	format := fs.String("o", "table", "`format`: table, or json")
	timeout := fs.Duration("timeout", 30*time.Second, "give up after so `long`; watch goes on")
	words, err := cli.Parse(fs, args, stderr)
	switch {
	case err != nil:
		return err
	case *format != "table" && *format != "json":
		return fmt.Errorf("%w: -o %q: there are table and json", cli.ErrUsage, *format)
	case *timeout <= 0:
		return fmt.Errorf("%w: -timeout %v: there is no time for an answer", cli.ErrUsage, *timeout)
	case len(words) == 0:
		return fmt.Errorf("%w: which command? kpngctl -h tells", cli.ErrUsage)
	}
	do, err := command(words[0], words[1:])
	if err != nil {
		return err
	}
	conns, err := dialer.Dial()
	if err != nil {
		return err
	}
	defer cli.Close(conns)
	if words[0] != "watch" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	// The first server that answers will do.
	for i, conn := range conns {
		c := &ctl{client: kpng.NewInspectServiceClient(conn), out: stdout, errs: stderr, json: *format == "json"}
		if err = do(ctx, c); !unreachable(err) || i == len(conns)-1 {
			break
		}
		fmt.Fprintf(stderr, "kpngctl: %s: %v; asking the next\n", conn.Target(), tell(err))
	}
	return tell(err)
}

// command returns what does a command with its arguments.
func command(name string, args []string) (func(ctx context.Context, c *ctl) error, error) {
	least, most := 0, 0
	switch name {
	case "nodes":
		most = 1
	case "state":
		least, most = 1, 2
	case "watch", "progress":
		least, most = 1, 1
	case "explain":
		least, most = 2, 2
	case "lag":
	default:
		return nil, fmt.Errorf("%w: there is no command %q; kpngctl -h tells which there are", cli.ErrUsage, name)
	}
	if len(args) < least || len(args) > most {
		return nil, fmt.Errorf("%w: %s takes other arguments; kpngctl -h tells which", cli.ErrUsage, name)
	}
	at := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	node, service := at(0), at(1)
	if name == "progress" {
		service = at(0)
	}
	namespace, svc, ok := strings.Cut(service, "/")
	if service != "" && (!ok || namespace == "" || svc == "") {
		return nil, fmt.Errorf("%w: %q is not NAMESPACE/NAME", cli.ErrUsage, service)
	}
	return map[string]func(ctx context.Context, c *ctl) error{
		"nodes":    func(ctx context.Context, c *ctl) error { return c.nodes(ctx, node) },
		"state":    func(ctx context.Context, c *ctl) error { return c.state(ctx, node, namespace, svc) },
		"watch":    func(ctx context.Context, c *ctl) error { return c.watch(ctx, node) },
		"explain":  func(ctx context.Context, c *ctl) error { return c.explain(ctx, node, namespace, svc) },
		"progress": func(ctx context.Context, c *ctl) error { return c.progress(ctx, namespace, svc) },
		"lag":      func(ctx context.Context, c *ctl) error { return c.lag(ctx) },
	}[name], nil
}
