// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sigs.k8s.io/kpng/watchers"
)

// A querier asks DNS servers about one name and type. [client] is the only one outside of tests.
type querier interface {
	query(ctx context.Context, name string, t dnsmessage.Type) (*response, error)
}

// A host is a name in one address family.
type host struct {
	name   string
	family watchers.IPFamily
}

func (h host) recordType() dnsmessage.Type {
	if h.family == watchers.FamilyIPv6 {
		return dnsmessage.TypeAAAA
	}
	return dnsmessage.TypeA
}

// A lookup reads the records of one port, again and again. Its port's goroutine owns it.
type lookup struct {
	querier  querier
	port     *Port
	families []watchers.IPFamily // of the Service's addresses
	// known holds the last known addresses of the hosts of the last answer.
	known map[host][]netip.Addr
}

// An outcome is what a lookup has read.
type outcome struct {
	// answered reports whether there is an answer about the name of the port. If not, the
	// endpoints are unknown.
	answered  bool
	endpoints []endpoint
	// unknown are the families whose endpoints are unknown nevertheless.
	unknown []watchers.IPFamily
	// ttl is how long the answers are valid.
	ttl time.Duration
	// failures are queries without an answer, and invalid what is wrong with the records.
	failures, invalid []string
}

// resolve reads the records.
func (l *lookup) resolve(ctx context.Context) outcome {
	if l.port.TargetPort != 0 {
		return l.resolveHosts(ctx)
	}
	return l.resolveTargets(ctx)
}

// resolveHosts reads the A and AAAA records of the name.
func (l *lookup) resolveHosts(ctx context.Context) outcome {
	o := outcome{ttl: math.MaxInt64}
	addresses := l.addresses(ctx, []string{l.port.Records}, nil, &o)
	for _, family := range l.families {
		found, known := addresses[host{l.port.Records, family}]
		o.answered = o.answered || known
		if !known {
			o.unknown = append(o.unknown, family)
		}
		o.endpoints = append(o.endpoints, endpointsOf([]target{{port: l.port.TargetPort, addresses: found}})...)
	}
	return o
}

// resolveTargets reads the SRV records of the name, and the addresses of their targets.
func (l *lookup) resolveTargets(ctx context.Context) outcome {
	set, err := answersTo(ctx, l.querier, l.port.Records, dnsmessage.TypeSRV)
	if err != nil {
		return outcome{ttl: math.MaxInt64, failures: []string{fmt.Sprintf("SRV %s %v; the last known endpoints are kept", l.port.Records, err)}}
	}
	o := outcome{ttl: set.ttl}
	var valid []record
	names := map[string]bool{}
	for _, r := range set.records {
		name := strings.ToLower(r.srv.Target.String())
		switch {
		case name == ".": // RFC 2782: the Service is decidedly not available here
		case r.srv.Port == 0:
			o.invalid = append(o.invalid, fmt.Sprintf("SRV %s target %s port 0 is out of range 1-65535; ignored", l.port.Records, name))
		default:
			valid = append(valid, r)
			names[name] = true
		}
	}
	addresses := l.addresses(ctx, slices.Sorted(maps.Keys(names)), set.glue, &o)
	for _, family := range l.families {
		var targets []target
		unknown := false
		for _, r := range valid {
			name := strings.ToLower(r.srv.Target.String())
			found, known := addresses[host{name, family}]
			unknown = unknown || !known
			targets = append(targets, target{r.srv.Priority, r.srv.Weight, r.srv.Port, found})
		}
		endpoints := endpointsOf(targets)
		if unknown && len(endpoints) == 0 { // with some, these are better than those of earlier answers
			o.unknown = append(o.unknown, family)
			continue
		}
		o.answered, o.endpoints = true, append(o.endpoints, endpoints...)
	}
	slices.Sort(o.invalid)
	o.invalid = slices.Compact(o.invalid)
	return o
}

// addresses returns the addresses of names in all families: those in glue, or the answers to
// queries. After a failed query, the last known addresses are used.
func (l *lookup) addresses(ctx context.Context, names []string, glue []record, o *outcome) map[host][]netip.Addr {
	var mu sync.Mutex // guards o and known
	known := map[host][]netip.Addr{}
	var queries sync.WaitGroup
	for _, name := range names {
		for _, family := range l.families {
			h := host{name, family}
			if found, ttl := glueOf(glue, h); len(found) > 0 {
				known[h], o.ttl = found, min(o.ttl, ttl)
			}
		}
	}
	inGlue := maps.Clone(known)
	for _, name := range names {
		for _, family := range l.families {
			h := host{name, family}
			if inGlue[h] != nil {
				continue
			}
			queries.Go(func() {
				set, err := answersTo(ctx, l.querier, h.name, h.recordType())
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					o.failures = append(o.failures, fmt.Sprintf("%s %s %v; the last known addresses are kept", typeName(h.recordType()), h.name, err))
					if last, ok := l.known[h]; ok {
						known[h] = last
					}
					return
				}
				known[h], o.ttl = set.addrs(), min(o.ttl, set.ttl)
			})
		}
	}
	queries.Wait()
	slices.Sort(o.failures)
	l.known = known
	if l.port.TargetPort == 0 {
		o.invalid = append(o.invalid, l.withoutAddresses(names)...)
	}
	return known
}

// withoutAddresses returns a text for each target that certainly has no addresses.
func (l *lookup) withoutAddresses(names []string) (out []string) {
	for _, name := range names {
		if !slices.ContainsFunc(l.families, func(f watchers.IPFamily) bool {
			found, ok := l.known[host{name, f}]
			return !ok || len(found) > 0
		}) {
			var types []string
			for _, f := range l.families {
				types = append(types, typeName(host{name, f}.recordType()))
			}
			out = append(out, fmt.Sprintf("SRV %s target %s has no %s records; ignored", l.port.Records, name, strings.Join(types, " and ")))
		}
	}
	return out
}

// glueOf returns the addresses of a host in the additional section. A set of records there is
// complete (RFC 2181, section 5).
func glueOf(glue []record, h host) (found []netip.Addr, ttl time.Duration) {
	ttl = math.MaxInt64
	for _, r := range glue {
		if r.name == h.name && r.recordType == h.recordType() {
			found, ttl = append(found, r.addr), min(ttl, r.ttl)
		}
	}
	return found, ttl
}

func typeName(t dnsmessage.Type) string { return strings.TrimPrefix(t.String(), "Type") }

// An answerSet is the answer about one name and type, after all aliases.
type answerSet struct {
	records, glue []record // both empty if there are no records
	ttl           time.Duration
}

func (s answerSet) addrs() []netip.Addr {
	out := make([]netip.Addr, 0, len(s.records))
	for _, r := range s.records {
		out = append(out, r.addr)
	}
	return out
}

// answersTo returns the answer about a name. It asks again about an alias whose records the
// response does not have.
func answersTo(ctx context.Context, q querier, name string, t dnsmessage.Type) (answerSet, error) {
	ttl := time.Duration(math.MaxInt64)
	for range maxAliases {
		r, err := q.query(ctx, name, t)
		if err != nil {
			return answerSet{}, err
		}
		found, end, chainTTL := r.follow(name, t)
		ttl = min(ttl, chainTTL)
		switch {
		case len(found) > 0:
			return answerSet{found, r.glue, ttl}, nil
		case r.rcode == dnsmessage.RCodeNameError || r.negative >= 0 || end == name:
			return answerSet{ttl: min(ttl, max(r.negative, 0))}, nil
		}
		name = end
	}
	return answerSet{}, fmt.Errorf("has a chain of more than %d aliases", maxAliases)
}
