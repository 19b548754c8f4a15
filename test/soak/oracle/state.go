// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// A page is the part of /state that the oracle reads.
type page struct {
	IPs       []netip.Addr `json:"ips"`
	LastError string       `json:"lastError"`
	Applied   bool         `json:"applied"`
	Services  []struct {
		Service string `json:"service"`
		Applied string `json:"applied"`
	} `json:"services"`
}

// Patterns of the lines of an applied Service.
const (
	patternPort     = `^  port ".*" (TCP|UDP|SCTP)(?:, affinity (\S+))?$`
	patternFrontend = `^    (ClusterIP|NodePort|ExternalIP|LoadBalancer) (\S+?)(?: for \[(.*)\])?$`
	patternRoute    = `^      (LocalPods|ThisNode|Any) -> (.*)$`
)

// A stateParser parses the applied Services of /state.
type stateParser struct {
	*Model
	portLine, frontendLine, routeLine *regexp.Regexp

	protocol string
	affinity time.Duration
	current  *frontend
	// known has the kinds of clients that a route of the current frontend applies to.
	known map[*target]bool
}

// Acknowledged returns the state that a proxy has acknowledged, from its page /state in JSON.
func (c *Cluster) Acknowledged(node *Node, stateJSON []byte) (*Model, error) {
	var p page
	if err := json.Unmarshal(stateJSON, &p); err != nil {
		return nil, fmt.Errorf("/state: %w", err)
	}
	if !p.Applied || p.LastError != "" {
		return nil, fmt.Errorf("/state: applied is %v, the last error is %q", p.Applied, p.LastError)
	}
	s := stateParser{
		Model:    newModel(node, c.ServiceNetworks),
		portLine: regexp.MustCompile(patternPort), frontendLine: regexp.MustCompile(patternFrontend), routeLine: regexp.MustCompile(patternRoute),
	}
	seen := map[bool]bool{}
	for _, ip := range p.IPs {
		if !seen[ip.Is4()] {
			seen[ip.Is4()] = true
			s.nodePortAddrs = append(s.nodePortAddrs, ip)
		}
	}
	for _, svc := range p.Services {
		for line := range strings.Lines(svc.Applied) {
			if err := s.parse(strings.TrimSuffix(line, "\n")); err != nil {
				return nil, fmt.Errorf("/state: %s: %q: %w", svc.Service, line, err)
			}
		}
	}
	return s.Model, nil
}

// parse parses a line. Lines about other properties are skipped.
func (s *stateParser) parse(line string) (err error) {
	if m := s.portLine.FindStringSubmatch(line); m != nil {
		s.protocol, s.affinity = m[1], 0
		if m[2] != "" {
			s.affinity, err = time.ParseDuration(m[2])
		}
		return err
	}
	if m := s.frontendLine.FindStringSubmatch(line); m != nil {
		return s.parseFrontend(m[1], m[2], m[3], strings.Contains(line, " for ["))
	}
	if m := s.routeLine.FindStringSubmatch(line); m != nil {
		return s.parseRoute(m[1], m[2])
	}
	return nil
}

func (s *stateParser) parseFrontend(kind, addr, ranges string, restricted bool) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	s.current, s.known = &frontend{}, map[*target]bool{}
	if restricted {
		s.current.ranges = []netip.Prefix{}
	}
	for text := range strings.FieldsSeq(ranges) {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return err
		}
		s.current.ranges = append(s.current.ranges, p)
	}
	if kind == "ClusterIP" {
		s.clusterIPs[at.Addr()] = true
	}
	d := destination{at, s.protocol}
	if s.frontends[d] != nil {
		return fmt.Errorf("two frontends have %v", d)
	}
	s.frontends[d] = s.current
	return nil
}

func (s *stateParser) parseRoute(from, to string) error {
	t, err := s.parseTarget(to)
	if err != nil {
		return err
	}
	clients := map[string][]*target{
		"LocalPods": {&s.current.pod}, "ThisNode": {&s.current.node}, "Any": {&s.current.pod, &s.current.node, &s.current.other},
	}[from]
	for _, c := range clients {
		if !s.known[c] {
			*c, s.known[c] = t, true
		}
	}
	return nil
}

func (s *stateParser) parseTarget(text string) (t target, err error) {
	switch text {
	case "reject":
		return target{verdict: outcomeReject}, nil
	case "drop":
		return target{verdict: outcomeDrop}, nil
	}
	t.affinity = s.affinity
	for word := range strings.FieldsSeq(text) {
		if word == "masqueraded" {
			t.masquerade = true
			continue
		}
		addr, local := strings.CutSuffix(word, "(local)")
		at, err := netip.ParseAddrPort(addr)
		if err != nil {
			return t, err
		}
		t.endpoints = append(t.endpoints, at)
		if local {
			s.local[at.Addr()] = true
		}
	}
	return t, nil
}
