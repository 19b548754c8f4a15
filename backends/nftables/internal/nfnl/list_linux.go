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

// Objects returns the number of chains, rules and sets of a table, and the largest of their
// handles. The kernel numbers the objects of a table in the order of their creation, so both
// are the same if none has been added, replaced or deleted since the creation of the table.
func (c *Conn) Objects(family uint8, table string) (count int, maxHandle uint64, err error) {
	for _, kind := range []struct{ request, reply, handle uint16 }{
		{msgGetChain, MsgNewChain, chainHandle}, {msgGetRule, MsgNewRule, RuleHandle}, {msgGetSet, MsgNewSet, setHandle},
	} {
		handles := map[uint64]bool{}
		err := c.dump(kind.request, kind.reply, family, table, func() { clear(handles) }, func(attrs []byte) {
			if handle := findAttr(attrs, kind.handle); text(findAttr(attrs, TableName)) == table && len(handle) == 8 {
				handles[binary.BigEndian.Uint64(handle)] = true
			}
		})
		if err != nil {
			return 0, 0, err
		}
		count += len(handles)
		for handle := range handles {
			maxHandle = max(maxHandle, handle)
		}
	}
	return count, maxHandle, nil
}

// dump lists the objects of a table and calls each with the attributes of every one. When
// another program changes the ruleset meanwhile, it calls restart and lists them again.
func (c *Conn) dump(request, reply uint16, family uint8, table string, restart func(), each func(attrs []byte)) error {
	for try := 1; ; try++ {
		interrupted, err := c.dumpOnce(request, reply, family, table, each)
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

func (c *Conn) dumpOnce(request, reply uint16, family uint8, table string, each func(attrs []byte)) (interrupted bool, err error) {
	var b Batch
	b.header(subsysNftables<<8|request, flagRequest|flagDump, family, 0)
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
				failed = &Error{Errno: syscall.Errno(-int32(binary.NativeEndian.Uint32(body))), Detail: errorDetail(h.flags, body), Message: 1}
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
