// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/kpng/test/soak/oracle"
)

// repairLimit is the maximum time from an external change of the rules until their proxy has repaired them. On an
// idle machine it takes 0.3 s.
const repairLimit = 20 * time.Second

// flushRuleset is the command that deletes all rules.
const flushRuleset = "flush ruleset"

// A faultPart returns the operations that begin or end a fault. It may return none, if an earlier
// fault excludes it.
type faultPart func() []operation

// A fault has a beginning and an end.
type fault struct{ begin, end faultPart }

func none() []operation { return nil }

// fault returns a random fault.
func (g *generator) fault() fault {
	switch n := g.rng.IntN(100); {
	case n < 25:
		return g.killing(choose(g, "server-a", "server-a", "relay", "proxy-1", "agent-2", "agent-4"))
	case n < 45:
		return g.stopping(choose(g, "server-a", "server-b", "relay", "proxy-1", "agent-2", "agent-3", "agent-4"))
	case n < 60:
		return g.changeRules(1+g.rng.IntN(nodes), flushRuleset, 0)
	case n < 80:
		return g.changeRules(1+g.rng.IntN(nodes), choose(g, ruleChanges()...), g.rng.IntN(1000))
	case n < 88:
		return fault{func() []operation {
			return []operation{{"compact etcd", func(ctx context.Context, f *fixture) error { return f.control.Compact(ctx) }}}
		}, none}
	case n < 98:
		return g.rotateCertificate()
	}
	// The API server that starts has no history in its cache, so watches that continue must list again.
	return fault{func() []operation {
		return []operation{{"restart kube-apiserver and compact etcd", func(ctx context.Context, f *fixture) error {
			return errors.Join(f.control.APIServer.Kill(), f.control.Compact(ctx), f.control.StartAPIServer(ctx))
		}}}
	}, none}
}

// rotateCertificate replaces the certificate of a server, that of a client of one, or, in steps, the
// authority of all.
func (g *generator) rotateCertificate() fault {
	const authority = "authority"
	var o operation
	switch name := choose(g, "server-a", "server-b", "relay", "client relay", "client node-2", "client node-3", "client node-4",
		authority, authority, authority); name {
	case authority:
		o = operation{"replace the authority, if the next step is due", func(_ context.Context, f *fixture) error { return f.rotateAuthority() }}
	case "server-a", "server-b", "relay":
		o = operation{"rotate certificate of " + name, func(_ context.Context, f *fixture) error { return f.process(name).writeCertificate(f) }}
	default:
		client := strings.TrimPrefix(name, "client ")
		o = operation{"rotate client certificate of " + client, func(_ context.Context, f *fixture) error { return f.writeClientCertificate(client) }}
	}
	return fault{func() []operation { return []operation{o} }, none}
}

// killing kills a process, and starts it again at the end.
func (g *generator) killing(name string) fault {
	begun := false
	return fault{
		begin: func() []operation {
			if g.down[name] {
				return nil
			}
			begun, g.down[name] = true, true
			return []operation{{"kill " + name, func(_ context.Context, f *fixture) error { return f.process(name).Kill() }}}
		},
		end: func() []operation {
			if !begun {
				return nil
			}
			delete(g.down, name)
			return []operation{{"start " + name, func(_ context.Context, f *fixture) error { return f.process(name).start(f) }}}
		},
	}
}

// stopping stops a process with SIGSTOP, and continues it after at most three seconds more.
func (g *generator) stopping(name string) fault {
	begun, longer := false, time.Duration(g.rng.IntN(3000))*time.Millisecond
	return fault{
		begin: func() []operation {
			if g.down[name] {
				return nil
			}
			begun, g.down[name] = true, true
			return []operation{{"stop " + name, func(_ context.Context, f *fixture) error {
				return syscall.Kill(f.process(name).PID(), syscall.SIGSTOP)
			}}}
		},
		end: func() []operation {
			if !begun {
				return nil
			}
			delete(g.down, name)
			return []operation{{fmt.Sprintf("continue %s after %v", name, longer), func(ctx context.Context, f *fixture) error {
				if err := pause(ctx, longer); err != nil {
					return err
				}
				return syscall.Kill(f.process(name).PID(), syscall.SIGCONT)
			}}}
		},
	}
}

// changeRules changes the rules of a node whose proxy runs, and waits until the proxy has repaired them.
func (g *generator) changeRules(number int, what string, which int) fault {
	name := proxyName(number)
	return fault{func() []operation {
		if g.down[name] {
			return nil
		}
		return []operation{{fmt.Sprintf("%s: %s (%d)", nodeName(number), what, which), func(ctx context.Context, f *fixture) error {
			return f.changeRules(ctx, number, what, which)
		}}}
	}, none}
}

// ruleChanges returns the kinds of external changes other than a flush.
func ruleChanges() []string {
	return []string{"delete table ip kpng", "delete table ip6 kpng", "flush chain ip kpng services", "delete element", "delete rule", "flush map ip kpng service-ips", "add rule"}
}

// changeRules changes rules, and returns after their repair.
func (f *fixture) changeRules(ctx context.Context, number int, what string, which int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	m, p := f.machines[number-1], f.process(proxyName(number))
	if err := poll(ctx, func() error { return p.healthy(ctx) }); err != nil {
		return fmt.Errorf("wait for the proxy before an external change: %w", err)
	}
	c, err := f.changeNow(ctx, m, what, which)
	if err != nil {
		return err
	}
	defer c.repaired()
	limit, cancel := context.WithTimeout(ctx, repairLimit)
	defer cancel()
	err = poll(limit, func() error { return f.repaired(limit, m, c.before, c.command) })
	f.repairs = append(f.repairs, time.Since(c.begin))
	if err != nil {
		return fmt.Errorf("nft %s: not repaired within %v: %w", c.command, repairLimit, err)
	}
	return nil
}

// A ruleChange is an external change of rules.
type ruleChange struct {
	before   []byte // listing from before it
	command  string // of nft
	begin    time.Time
	repaired func() // to call after the repair
}

// changeNow changes rules. The proxy may still apply earlier changes of objects, and so remove what the
// command names before it runs; then nothing has changed, and other rules are chosen.
func (f *fixture) changeNow(ctx context.Context, m *machine, what string, which int) (c ruleChange, err error) {
	for {
		if c.before, err = m.listing(ctx); err != nil {
			return c, err
		}
		if c.command, err = nftCommand(c.before, what, which); err != nil {
			return c, err
		}
		c.begin, c.repaired = time.Now(), f.traffic.drift(m.number)
		if _, err = m.Output(ctx, "nft", c.command); err == nil {
			return c, nil
		}
		c.repaired()
		if !strings.Contains(err.Error(), "No such file or directory") {
			return c, err
		}
	}
}

// repaired returns an error unless the proxy has replaced the tables that a command has changed, and
// the rules are as the proxy acknowledges. before is a listing from before the command.
func (f *fixture) repaired(ctx context.Context, m *machine, before []byte, command string) error {
	now, err := m.listing(ctx)
	if err != nil {
		return err
	}
	old, err := tableHandles(before)
	if err != nil {
		return err
	}
	present, err := tableHandles(now)
	if err != nil {
		return err
	}
	for _, family := range []string{"ip", "ip6"} {
		changed := command == flushRuleset || strings.Contains(command, " "+family+" kpng")
		if present[family] == 0 || changed && present[family] == old[family] {
			return fmt.Errorf("table %s kpng is not replaced", family)
		}
	}
	acknowledged, err := f.acknowledged(ctx, &oracle.Cluster{ServiceNetworks: serviceNetworks()}, m)
	if err != nil {
		return err
	}
	rules, err := oracle.ParseRuleset(now, "kpng")
	if err != nil {
		return err
	}
	differences, err := oracle.Compare(acknowledged, acknowledged, rules)
	if err == nil && len(differences) > 0 {
		err = fmt.Errorf("the rules are not as acknowledged: %s", differences[0])
	}
	return errors.Join(err, f.process(proxyName(m.number)).healthy(ctx))
}

// tableHandles returns the handles of the tables kpng by family.
func tableHandles(listing []byte) (map[string]int, error) {
	var all struct {
		NFTables []struct {
			Table *struct {
				Family, Name string
				Handle       int
			}
		}
	}
	if err := json.Unmarshal(listing, &all); err != nil {
		return nil, err
	}
	handles := map[string]int{}
	for _, o := range all.NFTables {
		if o.Table != nil && o.Table.Name == "kpng" {
			handles[o.Table.Family] = o.Table.Handle
		}
	}
	return handles, nil
}

// nftCommand returns the command for a kind of change of listed rules. which selects one of the objects.
func nftCommand(rules []byte, what string, which int) (string, error) {
	switch what {
	case "add rule":
		return "add rule ip kpng services counter drop", nil
	case "delete rule", "delete element":
	default:
		return what, nil
	}
	var listing struct {
		NFTables []struct {
			Rule *struct {
				Family string
				Chain  string
				Handle int
			}
			Map *struct {
				Family, Name string
				Elem         [][]any
			}
		}
	}
	if err := json.Unmarshal(rules, &listing); err != nil {
		return "", err
	}
	var commands []string
	for _, o := range listing.NFTables {
		switch {
		case o.Rule != nil && what == "delete rule":
			commands = append(commands, "delete rule "+o.Rule.Family+" kpng "+o.Rule.Chain+" handle "+strconv.Itoa(o.Rule.Handle))
		case o.Map != nil && o.Map.Name == "service-ips" && what == "delete element":
			for _, e := range o.Map.Elem {
				key, _ := e[0].(map[string]any)
				parts, _ := key["concat"].([]any)
				commands = append(commands, fmt.Sprintf("delete element %s kpng service-ips { %v . %v . %v }", o.Map.Family, parts[0], parts[1], parts[2]))
			}
		}
	}
	if len(commands) == 0 {
		return "", fmt.Errorf("no object for %s", what)
	}
	slices.Sort(commands)
	return commands[which%len(commands)], nil
}

// pause waits for a time, as a fault that lasts.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// poll calls a function until it returns nil or ctx is done: kernels and processes send no
// notification.
func poll(ctx context.Context, condition func() error) error {
	for {
		err := condition()
		if err == nil {
			return nil
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return err
		}
	}
}
