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

// A probe sends requests to one address of a Service. Tests write probes as text, one
// per line:
//
//		FROM[,FROM] [~|+][SERVICE/]KIND[FAMILY]:PORT[/PROTOCOL] = RESULT... [src=self|node]
//
//	  - FROM is a place of the cluster.
//	  - KIND is cluster, external, lb, nodeport (on the node's primary address), inner (the
//	    node port on another address of the node), loop (the node port on the loopback
//	    address) or health (the health check node port, by HTTP).
//	  - PORT is the port of the Service. Without FAMILY or PROTOCOL, the line is expanded to
//	    all of them.
//	  - RESULT is refused, timeout, too-large, closed, an HTTP status, or the exact set of servers that must
//	    answer. With "one" before several servers, always the same one of them must answer.
//	  - src is the source address that the server must see: the client's or the node's.
//	  - With ~ the probe reuses the connection of the same probe in an earlier step.
//	  - With + the probe sends a message larger than a packet and expects it back.
type probe struct {
	line           string
	from           string
	reuse, large   bool
	service, kind  string
	family, proto  string
	port           uint16
	want           []string
	one            bool
	source         string
	at             netip.AddrPort
	caseName, step string
	// difference is the ID of the difference that replaced want.
	difference string
}

// parseProbes parses probes and expands each line to single probes.
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
			return nil, fmt.Errorf("probe %q: want FROM TARGET = RESULT", line)
		}
		p := probe{line: line, service: defaultService}
		var target string
		target, p.reuse = strings.CutPrefix(words[1], "~")
		target, p.large = strings.CutPrefix(target, "+")
		if name, after, ok := strings.Cut(target, "/"); ok && !strings.Contains(name, ":") {
			p.service, target = name, after
		}
		kind, number, ok := strings.Cut(target, ":")
		number, proto, oneProto := strings.Cut(number, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if !ok || err != nil {
			return nil, fmt.Errorf("probe %q: invalid target", line)
		}
		p.port = uint16(n)
		p.kind = strings.TrimRight(kind, "46")
		p.expect(strings.Fields(right))
		for from := range strings.SplitSeq(words[0], ",") {
			for _, f := range oneOrAll(strings.TrimPrefix(kind, p.kind), "4", "6") {
				for _, pr := range oneOrAll(map[bool]string{true: proto}[oneProto || p.kind == "health"], "tcp", "udp") {
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

// oneOrAll returns only the chosen value, or all of them if none was chosen.
func oneOrAll(chosen string, all ...string) []string {
	if chosen != "" {
		return []string{chosen}
	}
	return all
}

// expect sets the expected result.
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
		if !slices.Contains([]string{cluster.Refused, cluster.Timeout, cluster.TooLarge, cluster.Closed}, word) {
			if !status && !strings.Contains(word, ":") {
				word += fmt.Sprintf(":%d", cluster.ServerPort)
			}
		}
		p.want = append(p.want, word)
	}
	slices.Sort(p.want)
}

// title identifies a probe among all cases.
func (p *probe) title() string { return p.caseName + ", step " + p.step + ": " + p.key() }

func (p *probe) key() string {
	flag := ""
	switch {
	case p.reuse:
		flag = "~"
	case p.large:
		flag = "+"
	}
	return fmt.Sprintf("%s %s%s/%s%s:%d/%s", p.from, flag, p.service, p.kind, p.family, p.port, p.proto)
}

// size returns the size of the probe's message in bytes, besides the header line.
func (p *probe) size() int {
	if p.large {
		return 8000
	}
	return 0
}

// A result is the outcome of a probe.
type result struct {
	probe
	got  string
	fail bool
}

// A prober runs probes and holds the connections that later steps reuse.
type prober struct {
	*fixture
	mu    sync.Mutex
	conns map[string]*cluster.Conn // by case and probe; guarded by mu
}

func (r *prober) close() {
	for _, c := range r.conns {
		c.Close()
	}
}

// run runs one probe.
func (r *prober) run(ctx context.Context, p probe) result {
	switch {
	case p.kind == "health":
		return r.health(ctx, p)
	case p.reuse:
		return r.runReused(ctx, p)
	}
	got := r.runNew(ctx, p)
	// A new UDP socket can get the source port of an earlier one whose conntrack entry still
	// exists; its datagrams then go to the endpoint of that flow. With a thousand probes
	// this happens now and then, but not three times in a row.
	for tries := 1; got.fail && p.proto == "udp" && tries < 3; tries++ {
		got = r.runNew(ctx, p)
	}
	return got
}

// runNew runs a probe with new connections.
func (r *prober) runNew(ctx context.Context, p probe) result {
	// Linux may report a rejected IPv6 connection only after the first retransmission of the
	// SYN, one second later.
	timeout := answerLimit()
	if slices.Equal(p.want, []string{cluster.Timeout}) {
		timeout = 400 * time.Millisecond
		if p.proto == "tcp" && p.family == "6" {
			timeout = 1300 * time.Millisecond
		}
	}
	// Endpoints are chosen at random. With this many attempts, the probability of missing
	// one is below one in a million. More attempts follow while an expected one is missing.
	attempts, maxAttempts := 2, 2
	if n := len(p.want); n > 1 {
		attempts, maxAttempts = 8*n, 40*n
	}
	var seen, sources []string
	for i := 0; i < maxAttempts && (i < attempts || !p.one && len(seen) < len(p.want)); i++ {
		a := r.Places[p.from].Send(ctx, p.proto, p.at, p.size(), timeout)
		seen = insert(seen, a.Server)
		if a.Source.IsValid() {
			sources = insert(sources, r.sourceOf(p, a.Source))
		}
		if a.Server == cluster.Timeout || a.Server == cluster.Refused || a.Server == cluster.TooLarge {
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

// reuseLimit is the maximum time from new rules until a UDP flow uses its new endpoint.
const reuseLimit = 10 * time.Second

// runReused runs a probe on the connection of an earlier step. A UDP flow moves to its new
// endpoint shortly after the rules change, and datagrams before that may be lost.
func (r *prober) runReused(ctx context.Context, p probe) result {
	key := p.caseName + " " + p.key()
	r.mu.Lock()
	conn := r.conns[key]
	r.mu.Unlock()
	if conn == nil {
		var err error
		if conn, err = r.Places[p.from].Dial(ctx, p.proto, p.at); err != nil {
			return p.judge([]string{cluster.Outcome(err)}, nil)
		}
		r.mu.Lock()
		r.conns[key] = conn
		r.mu.Unlock()
	}
	var last result
	for begin := time.Now(); time.Since(begin) < reuseLimit; pause(20 * time.Millisecond) {
		a := conn.Ask(500 * time.Millisecond)
		if last = p.judge([]string{a.Server}, nil); !last.fail {
			break
		}
	}
	return last
}

// health probes a health check node port. Its listener is updated after the rules.
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

// judge compares the servers and sources that a probe has seen with those it wants.
func (p *probe) judge(seen, sources []string) result {
	r := result{probe: *p, got: strings.Join(seen, " ")}
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
