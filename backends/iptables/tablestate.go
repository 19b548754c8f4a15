// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sigs.k8s.io/kpng/backends/internal/bisect"
	"sigs.k8s.io/kpng/localsink"
)

// A familyState is what the backend has programmed for one family. Sync owns it. The package comment
// has its states.
type familyState struct {
	family   *family
	cfg      *Config
	programs *programs

	known       bool
	renderer    renderer
	static      *static
	applied     map[localsink.ServiceName]*localsink.Service
	hairpins    hairpins
	problems    map[localsink.ServiceName]error // invalid parts of Services
	refused     map[localsink.ServiceName]error // Services that iptables-restore does not accept
	retried     time.Time                       // when refused Services were tried last
	triedLast   localsink.ServiceName           // the one of these that was tried last by itself
	setLoopback func() error                    // sets the kernel parameter for node ports on loopback addresses
	loopbackErr error                           // of its last call
	stats       FamilyStats
}

// refusedRetryInterval is the delay after which refused Services are retried.
const refusedRetryInterval = 30 * time.Second

// sync brings the tables to the state of u. Services that were refused, and have not changed, are
// tried afterwards: no other waits for them.
func (st *familyState) sync(ctx context.Context, u *localsink.Update, names []localsink.ServiceName) error {
	if u.NodeChanged || st.static == nil {
		st.setNode(u.Node)
	}
	if err := st.changeOrLoad(ctx, u, names); err != nil {
		return err
	}
	if accepted := st.acceptedAgain(ctx, u); len(accepted) > 0 {
		return st.changeOrLoad(ctx, u, accepted)
	}
	return nil
}

// changeOrLoad programs the difference to the state of u, which is that of the named Services, or
// else all rules.
func (st *familyState) changeOrLoad(ctx context.Context, u *localsink.Update, names []localsink.ServiceName) error {
	if st.known {
		err := st.change(ctx, u, names)
		if err == nil || !isRefusal(err) {
			return err
		}
		st.cfg.Logger.Warn("Change of rules was refused; loading all rules", "family", st.family.name, "err", err)
	}
	return st.load(ctx, u, names)
}

// acceptedAgain returns the refused Services that are accepted now, if it is time to try them. It
// tries all together, because they often have the same reason, such as a module of the kernel, and
// then one of them: with many Services each try takes seconds.
func (st *familyState) acceptedAgain(ctx context.Context, u *localsink.Update) []localsink.ServiceName {
	maps.DeleteFunc(st.refused, func(name localsink.ServiceName, _ error) bool { return u.All.Get(name) == nil })
	if len(st.refused) == 0 || time.Since(st.retried) < refusedRetryInterval {
		return nil
	}
	defer func() { st.retried = time.Now() }()
	names := slices.SortedFunc(maps.Keys(st.refused), localsink.ServiceName.Compare)
	services := make([]*localsink.Service, len(names))
	for i, name := range names {
		services[i] = u.All.Get(name)
	}
	err := st.probe(ctx, services)
	switch {
	case err == nil:
		return names
	case !isRefusal(err) || len(names) == 1:
		return nil
	}
	next, found := slices.BinarySearchFunc(names, st.triedLast, localsink.ServiceName.Compare)
	if found {
		next++
	}
	next %= len(names)
	st.triedLast = names[next]
	if err := st.probe(ctx, services[next:next+1]); err != nil {
		return nil
	}
	return names[next : next+1]
}

// setNode sets the properties of the node. If rules depend on those that have changed, the state
// becomes unknown.
func (st *familyState) setNode(n *localsink.Node) {
	before := st.static
	st.static = newStatic(st.family, n, st.cfg)
	matches := newNodeMatches(st.family, n, st.cfg)
	if before == nil || !before.equal(st.static) || !matches.equal(&st.renderer.matches) {
		st.known = false
	}
	st.renderer = renderer{family: st.family, matches: matches}
}

// change programs the difference between the last state and that of u.
func (st *familyState) change(ctx context.Context, u *localsink.Update, names []localsink.ServiceName) error {
	var c change
	for _, name := range names {
		s := u.All.Get(name)
		old, desired := st.renderer.render(st.applied[name]), st.renderer.render(s)
		c.add(old, desired)
		st.hairpins.replace(old.hairpins, desired.hairpins, &c)
		st.note(name, s, desired)
	}
	var in restoreInput
	c.write(&in, st.static)
	if in.Len() == 0 {
		return nil
	}
	st.stats.Changes++
	err := st.programs.apply(ctx, in.Bytes())
	if st.known = err == nil; !st.known {
		st.stats.ChangeFailures++
		return err
	}
	st.stats.changed(&in, c.emptied)
	return nil
}

// note notes that a Service has a rendering; s is nil if it is removed.
func (st *familyState) note(name localsink.ServiceName, s *localsink.Service, r *rendering) {
	delete(st.problems, name)
	delete(st.refused, name)
	if s == nil {
		delete(st.applied, name)
		return
	}
	st.applied[name] = s
	if err := errors.Join(r.problems...); err != nil {
		st.problems[name] = err
	}
}

// load replaces all rules. Services that are refused by themselves are left out; those that were
// refused before are not tried, except for the changed ones.
func (st *familyState) load(ctx context.Context, u *localsink.Update, changed []localsink.ServiceName) error {
	present, err := st.programs.read(ctx)
	if err != nil {
		return err
	}
	st.known = false
	for _, name := range changed {
		delete(st.refused, name)
	}
	err = st.tryLoad(ctx, u, present)
	for isRefusal(err) {
		refused, searchErr := st.findRefused(ctx, u)
		if searchErr != nil || len(refused) == 0 {
			return errors.Join(err, searchErr)
		}
		maps.Copy(st.refused, refused)
		st.retried = time.Now()
		err = st.tryLoad(ctx, u, present)
	}
	if err == nil && st.renderer.matches.loopback.IsValid() {
		st.allowLoopback()
	}
	st.known = err == nil
	return err
}

// allowLoopback sets the kernel parameter for node ports on loopback addresses. In a container that
// is not privileged it cannot: then all but these is programmed.
func (st *familyState) allowLoopback() {
	err := st.setLoopback()
	if err != nil && st.loopbackErr == nil {
		st.cfg.Logger.Error("Node ports do not answer on loopback addresses: set net.ipv4.conf.all.route_localnet=1 on the node", "err", err)
	}
	st.loopbackErr = err
}

// tryLoad replaces all rules by those of the Services that are not refused.
func (st *familyState) tryLoad(ctx context.Context, u *localsink.Update, present map[string]*savedTable) error {
	st.applied, st.problems = map[localsink.ServiceName]*localsink.Service{}, map[localsink.ServiceName]error{}
	st.hairpins = hairpins{}
	l := newLoad(st.static)
	for s := range u.All.All() {
		if err := st.refused[s.Name]; err != nil {
			continue
		}
		r := st.renderer.render(s)
		st.note(s.Name, s, r)
		st.hairpins.add(r.hairpins)
		l.add(r)
	}
	l.addHairpins(st.hairpins)
	var in restoreInput
	l.write(&in, present)
	st.stats.Loads++
	if err := st.programs.apply(ctx, in.Bytes()); err != nil {
		st.stats.LoadFailures++
		return err
	}
	st.stats.loaded(&in, st.static.jumps)
	return nil
}

// findRefused returns the Services, of those not refused yet, that are refused by themselves.
func (st *familyState) findRefused(ctx context.Context, u *localsink.Update) (map[localsink.ServiceName]error, error) {
	var candidates []*localsink.Service
	for s := range u.All.All() {
		if st.refused[s.Name] == nil {
			candidates = append(candidates, s)
		}
	}
	search := bisect.Search{
		Check:     func(services []*localsink.Service) error { return st.probe(ctx, services) },
		IsRefusal: isRefusal,
	}
	found, err := search.Find(candidates)
	if err != nil {
		return nil, fmt.Errorf("iptables: %s: %w", st.family.name, err)
	}
	return found, nil
}
