// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"flag"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/remoteflags"
)

// resolverFlags returns the names of the flags of how Services are resolved.
func resolverFlags() []string {
	return []string{
		"proxy-name", "cluster-cidr", "node-cidr", "nodeport-addresses", "masquerade-all", "ignore-external-ips",
		"no-masquerade-cidrs", "frontend-kinds", "ip-families",
	}
}

// listenerFlags returns the names of the flags of clients and their permissions.
func listenerFlags() (names []string) {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	remoteflags.DefineServer(fs)
	others := append(resolverFlags(), flagListen, flagVerbose, "metrics")
	fs.VisitAll(func(f *flag.Flag) {
		if !slices.Contains(others, f.Name) {
			names = append(names, f.Name)
		}
	})
	return names
}

// unused returns an error that lists the flags of the command line without an effect on p: a server
// with a list of clients, for example, never serves all clients.
func (p *plan) unused(env *Env, set *pflag.FlagSet) error {
	groups := []struct {
		needs string
		used  bool
		flags []string
	}{
		{"without a sink that serves", env.serves, listenerFlags()},
		{"without a source of the API server or --token-review", env.usesAPIServer, []string{"kubeconfig", "context"}},
		{"with a source of the state of one node", p.node == nil, resolverFlags()},
		{"with objects that servers have read", p.node == nil && !p.fromServers, []string{"copy-keys", "details"}},
	}
	conflicts := map[string]bool{}
	set.Visit(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Name, flagUpstream+"-") {
			conflicts["--"+f.Name+" without a source that connects to servers"] = !env.usesServers
		}
		for _, g := range groups {
			if slices.Contains(g.flags, f.Name) {
				conflicts["--"+f.Name+" "+g.needs] = !g.used
			}
		}
	})
	return command.Conflicts(conflicts)
}
