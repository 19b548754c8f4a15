// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

import (
	"encoding/binary"
	"errors"
	"syscall"
)

// A Chain is a chain as the kernel holds it.
type Chain struct {
	Name string
	// Base reports whether the chain has a hook.
	Base bool
}

// A Rule is the part of a rule that refers to chains.
type Rule struct {
	Chain  string
	Handle uint64
	// Targets lists the chains that the rule itself jumps or goes to. It excludes those of
	// verdict maps.
	Targets []string
}

// Chains returns the chains of a table; none if there is no such table.
func (c *Conn) Chains(family uint8, table string) (chains []Chain, err error) {
	err = c.dump(msgGetChain, MsgNewChain, family, table, func() { chains = nil }, func(attrs []byte) {
		if text(findAttr(attrs, ChainTable)) == table {
			chains = append(chains, Chain{Name: text(findAttr(attrs, ChainName)), Base: findAttr(attrs, ChainHook) != nil})
		}
	})
	return chains, err
}

// Rules returns the rules of a table, in their order within each chain; none if there is no
// such table.
func (c *Conn) Rules(family uint8, table string) (rules []Rule, err error) {
	err = c.dump(msgGetRule, MsgNewRule, family, table, func() { rules = nil }, func(attrs []byte) {
		handle := findAttr(attrs, RuleHandle)
		if text(findAttr(attrs, RuleTable)) != table || len(handle) != 8 {
			return
		}
		rule := Rule{Chain: text(findAttr(attrs, RuleChain)), Handle: binary.BigEndian.Uint64(handle)}
		eachAttr(findAttr(attrs, RuleExpressions), ListElem, func(expr []byte) {
			if text(findAttr(expr, ExprName)) != "immediate" {
				return
			}
			verdict := findAttr(findAttr(findAttr(expr, ExprData), ImmediateData), DataVerdict)
			if target := findAttr(verdict, VerdictChain); target != nil {
				rule.Targets = append(rule.Targets, text(target))
			}
		})
		rules = append(rules, rule)
	})
	return rules, err
}

// Table returns the state of a table. If there is no such table, the error is an *[Error] with
// ENOENT.
func (c *Conn) Table(family uint8, name string) (t Table, err error) {
	found := false
	_, err = c.request(msgGetTable, MsgNewTable, flagRequest|flagAck, family, name, func(attrs []byte) {
		found = true
		t = Table{Objects: int(number(findAttr(attrs, tableUse))), Flags: number(findAttr(attrs, tableFlags))}
	})
	if err == nil && !found {
		err = errors.New("nf_tables did not return the table")
	}
	return t, err
}

// Objects returns the chains, rules and sets of a table; none if there is no such table. Objects
// may be missing or be listed twice if exact is false: other transactions, perhaps of other tables,
// have interrupted every attempt to list them.
func (c *Conn) Objects(family uint8, table string) (all []Object, exact bool, err error) {
	exact = true
	for _, kind := range []objectKind{
		{msgGetChain, MsgNewChain, chainHandle, ChainName},
		{msgGetRule, MsgNewRule, RuleHandle, RuleChain},
		{msgGetSet, MsgNewSet, setHandle, SetName},
	} {
		before := len(all)
		interrupted := true
		for try := 0; interrupted && try < maxListings; try++ {
			all = all[:before]
			interrupted, err = c.request(kind.request, kind.reply, flagRequest|flagDump, family, table, func(attrs []byte) {
				if o, ok := kind.parse(attrs, table); ok {
					all = append(all, o)
				}
			})
			if err != nil && !errors.Is(err, syscall.ENOENT) {
				return nil, false, err
			}
		}
		exact = exact && !interrupted
	}
	return all, exact, nil
}

// An objectKind holds the numbers of messages and attributes about one kind of objects.
type objectKind struct{ request, reply, handle, name uint16 }

// parse returns an object of the table.
func (k objectKind) parse(attrs []byte, table string) (o Object, ok bool) {
	handle := findAttr(attrs, k.handle)
	if text(findAttr(attrs, TableName)) != table || len(handle) != 8 {
		return o, false
	}
	o = Object{Kind: k.reply, Handle: binary.BigEndian.Uint64(handle), Name: text(findAttr(attrs, k.name)), Elements: -1}
	switch k.reply {
	case MsgNewChain:
		policy := findAttr(attrs, chainPolicy)
		o.Drops = policy != nil && number(policy) != uint32(VerdictAccept)
	case MsgNewSet:
		if count := findAttr(attrs, setCount); count != nil {
			o.Elements = int(number(count))
		}
	}
	return o, true
}

// number returns the number in an attribute, zero if there is none.
func number(attr []byte) uint32 {
	if len(attr) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(attr)
}

// dump lists the objects of a table and calls each with the attributes of every one. When
// another program changes the ruleset meanwhile, it calls restart and lists them again.
func (c *Conn) dump(request, reply uint16, family uint8, table string, restart func(), each func(attrs []byte)) error {
	for try := 1; ; try++ {
		interrupted, err := c.request(request, reply, flagRequest|flagDump, family, table, each)
		switch {
		case errors.Is(err, syscall.ENOENT):
			return nil
		case err != nil:
			return err
		case !interrupted:
			return nil
		case try == maxListings:
			return errors.New("nf_tables changed during every attempt to list it")
		}
		restart()
	}
}

// request sends one request about a table and calls each with the attributes of every object in the
// reply. interrupted reports whether objects changed meanwhile.
func (c *Conn) request(request, reply, flags uint16, family uint8, table string, each func(attrs []byte)) (interrupted bool, err error) {
	var b Batch
	b.header(subsysNftables<<8|request, flags, family, 0)
	b.String(TableName, table) // the first attribute of each kind of object
	data, end := b.number(c.seq)
	seq := c.seq
	c.seq = end
	if err := c.sendto(data); err != nil {
		return false, err
	}
	done := false
	var failed error
	err = c.drain(func(datagram []byte) error {
		return eachMessage(datagram, func(h header, body []byte) {
			if h.seq != seq {
				return
			}
			interrupted = interrupted || h.flags&flagDumpInterrupted != 0
			switch {
			case h.kind == nlmsgDone:
				done = true
			case h.kind == nlmsgError && len(body) >= 4:
				done = true
				if errno := syscall.Errno(-int32(binary.NativeEndian.Uint32(body))); errno != 0 {
					failed = &Error{Errno: errno, Detail: errorDetail(h.flags, body), Message: 1}
				}
			case h.kind == subsysNftables<<8|reply && len(body) >= nfgenmsgLen:
				each(body[nfgenmsgLen:])
			}
		})
	})
	if err == nil {
		err = failed
	}
	if err == nil && !done {
		err = errors.New("nf_tables did not list all objects")
	}
	return interrupted, err
}
