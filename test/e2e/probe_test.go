// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/kpng/test/cluster"
)

// A probe is one line of a case's table:
//
//	FROM[,FROM] [~|+][SERVICE/]KIND[FAMILY]:PORT[/PROTOCOL] = ANSWER... [src=self|node]
//
// FROM is a place. KIND is cluster, external, lb, nodeport (on the node's
// address), inner (the node port on another address of the node), loop (on its
// loopback address) or health (the health check node port, asked by HTTP). PORT
// is the port of the Service. Without FAMILY or PROTOCOL all are tried. ANSWER is
// refused, timeout, an HTTP status, or all the servers that must answer, and no
// others. "one" before several servers says that it is always the same of them.
//
// src says whose address the server sees: the client's own or the node's. With ~
// the probe speaks on the connection that the same probe opened in an earlier
// step. With + it sends a message larger than a packet, and expects it back.
type probe struct {
	line           string
	from           string
	keep, large    bool
	service, kind  string
	family, proto  string
	port           uint16
	want           []string
	one            bool
	source         string
	at             netip.AddrPort
	caseName, step string
	// difference is the id of the difference that changed what is wanted.
	difference string
}

// parseProbes expands a table into single probes.
func parseProbes(table, defaultService string) ([]probe, error) {
	var all []probe
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		left, right, ok := strings.Cut(line, " = ")
		words := strings.Fields(left)
		if !ok || len(words) != 2 {
			return nil, fmt.Errorf("probe %q", line)
		}
		p := probe{line: line, service: defaultService}
		var target string
		target, p.keep = strings.CutPrefix(words[1], "~")
		target, p.large = strings.CutPrefix(target, "+")
		if name, rest, ok := strings.Cut(target, "/"); ok && !strings.Contains(name, ":") {
			p.service, target = name, rest
		}
		kind, number, ok := strings.Cut(target, ":")
		number, proto, oneProto := strings.Cut(number, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if !ok || err != nil {
			return nil, fmt.Errorf("probe %q: target", line)
		}
		p.port = uint16(n)
		p.kind = strings.TrimRight(kind, "46")
		p.expect(strings.Fields(right))
		for _, from := range strings.Split(words[0], ",") {
			for _, f := range pick(strings.TrimPrefix(kind, p.kind), "4", "6") {
				for _, pr := range pick(map[bool]string{true: proto}[oneProto || p.kind == "health"], "tcp", "udp") {
					single := p
					single.from, single.family, single.proto = from, f, pr
					if p.kind == "health" {
						single.proto = "tcp"
					}
					all = append(all, single)
				}
			}
		}
		if p.kind == "health" {
			all = slices.CompactFunc(all, func(a, b probe) bool { return a.key() == b.key() })
		}
	}
	return all, nil
}

func pick(said string, all ...string) []string {
	if said != "" {
		return []string{said}
	}
	return all
}

func (p *probe) expect(words []string) {
	for _, word := range words {
		if source, ok := strings.CutPrefix(word, "src="); ok {
			p.source = source
			continue
		}
		if word == "one" {
			p.one = true
			continue
		}
		status := word[0] >= '0' && word[0] <= '9'
		if word != cluster.Refused && word != cluster.Timeout {
			if !status && !strings.Contains(word, ":") {
				word += fmt.Sprintf(":%d", cluster.ServerPort)
			}
		}
		p.want = append(p.want, word)
	}
	slices.Sort(p.want)
}

// title names a probe among all cases.
func (p probe) title() string { return p.caseName + ", step " + p.step + ": " + p.key() }

func (p probe) key() string {
	keep := ""
	switch {
	case p.keep:
		keep = "~"
	case p.large:
		keep = "+"
	}
	return fmt.Sprintf("%s %s%s/%s%s:%d/%s", p.from, keep, p.service, p.kind, p.family, p.port, p.proto)
}

// size is how much the probe says, in bytes.
func (p probe) size() int {
	if p.large {
		return 8000
	}
	return 0
}

// A result is what a probe saw.
type result struct {
	probe
	got  string
	fail bool
}

// A prober runs probes and keeps the connections that they keep.
type prober struct {
	*world
	mu   sync.Mutex
	kept map[string]*cluster.Conn
}

func (r *prober) close() {
	for _, c := range r.kept {
		c.Close()
	}
}

// run runs one probe until it has seen enough to judge.
func (r *prober) run(ctx context.Context, p probe) result {
	switch {
	case p.kind == "health":
		return r.health(ctx, p)
	case p.keep:
		return r.runKept(ctx, p)
	}
	got := r.runNew(ctx, p)
	// A datagram may by chance be sent from a port that an earlier one was sent from less
	// than minutes ago: then it is of that flow, which goes on where it was. Among hundreds
	// of flows and a thousand probes that happens; three times in a row it does not.
	for tries := 1; got.fail && p.proto == "udp" && tries < 3; tries++ {
		got = r.runNew(ctx, p)
	}
	return got
}

// runNew runs a probe with new connections.
func (r *prober) runNew(ctx context.Context, p probe) result {
	// Linux may act on the refusal of an IPv6 connection no sooner than its first
	// repetition, after a second.
	timeout := 4 * time.Second
	if slices.Equal(p.want, []string{cluster.Timeout}) {
		timeout = 400 * time.Millisecond
		if p.proto == "tcp" && p.family == "6" {
			timeout = 1300 * time.Millisecond
		}
	}
	// Servers are chosen at random: one that exists goes unseen by this many
	// attempts less than once in a million, and more attempts follow while one
	// that is wanted is missing.
	attempts, most := 2, 2
	if n := len(p.want); n > 1 {
		attempts, most = 8*n, 40*n
	}
	var seen, sources []string
	for i := 0; i < most && (i < attempts || !p.one && len(seen) < len(p.want)); i++ {
		a := r.Places[p.from].Send(ctx, p.proto, p.at, p.size(), timeout)
		seen = insert(seen, a.Server)
		if a.Source.IsValid() {
			sources = insert(sources, r.sourceOf(p, a.Source))
		}
		if a.Server == cluster.Timeout || a.Server == cluster.Refused {
			break
		}
	}
	return p.judge(seen, sources)
}

func insert(list []string, s string) []string {
	if i, found := slices.BinarySearch(list, s); !found {
		return slices.Insert(list, i, s)
	}
	return list
}

func (r *prober) sourceOf(p probe, source netip.Addr) string {
	switch {
	case r.Places[p.from].Has(source) && p.from == "node":
		return "node"
	case r.Places[p.from].Has(source):
		return "self"
	case r.Node.Has(source):
		return "node"
	}
	return source.String()
}

// keptLimit is how long after the rules a datagram flow may move.
const keptLimit = 10 * time.Second

// runKept speaks on a connection that lasts. Datagram flows move to another
// server shortly after the rules, and some of the words are lost on the way.
func (r *prober) runKept(ctx context.Context, p probe) result {
	key := p.caseName + " " + p.key()
	r.mu.Lock()
	conn := r.kept[key]
	r.mu.Unlock()
	if conn == nil {
		var err error
		if conn, err = r.Places[p.from].Dial(ctx, p.proto, p.at); err != nil {
			return p.judge([]string{err.Error()}, nil)
		}
		r.mu.Lock()
		r.kept[key] = conn
		r.mu.Unlock()
	}
	var last result
	for begin := time.Now(); time.Since(begin) < keptLimit; pause(20 * time.Millisecond) {
		a := conn.Ask(500 * time.Millisecond)
		if last = p.judge([]string{a.Server}, nil); !last.fail {
			break
		}
	}
	return last
}

// health asks a health check node port, whose listener follows the rules.
func (r *prober) health(ctx context.Context, p probe) (last result) {
	for range 20 {
		code, _, err := r.get(ctx, p.at.String(), "/")
		got := strconv.Itoa(code)
		switch {
		case err != nil && strings.Contains(err.Error(), "connection refused"):
			got = cluster.Refused
		case err != nil:
			got = err.Error()
		}
		if last = p.judge([]string{got}, nil); !last.fail {
			break
		}
		pause(100 * time.Millisecond)
	}
	return last
}

func (p probe) judge(seen, sources []string) result {
	r := result{probe: p, got: strings.Join(seen, " ")}
	if p.one {
		r.fail = len(seen) != 1 || !slices.Contains(p.want, seen[0])
		if !r.fail {
			r.got = "one of " + strings.Join(p.want, " ")
		}
	} else {
		r.fail = !slices.Equal(seen, p.want)
	}
	if len(sources) > 0 && p.source != "" {
		r.got += " src=" + strings.Join(sources, ",")
		r.fail = r.fail || !slices.Equal(sources, []string{p.source})
	}
	return r
}
