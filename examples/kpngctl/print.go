// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/examples/internal/cli"
)

// A table prints rows whose columns are aligned.
func (c *ctl) table(header string, rows [][]string) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(header, " ", "\t"))
	for _, r := range rows {
		fmt.Fprintln(w, strings.TrimRight(strings.Join(r, "\t"), "\t"))
	}
	return w.Flush()
}

func (c *ctl) printNodes(nodes []*kpng.NodeStatus) error {
	rows := make([][]string, 0, len(nodes))
	for _, n := range nodes {
		if !n.GetConnected() {
			rows = append(rows, []string{n.GetName(), cmp.Or(n.GetZone(), "-"), "no", "-", "-", "-", "-", "-"})
			continue
		}
		rows = append(rows, []string{
			n.GetName(), cmp.Or(n.GetZone(), "-"), "yes", number(n.GetSentRevision()), number(n.GetAppliedRevision()),
			duration(n.GetLagNs()), cmp.Or(n.GetClient(), "-"), cmp.Or(strings.ReplaceAll(n.GetLastError(), "\n", " "), "-"),
		})
	}
	return c.table("NAME ZONE CONNECTED SENT APPLIED BEHIND CLIENT ERROR", rows)
}

func (c *ctl) printProgress(p *kpng.GetServiceProgressResponse) error {
	fmt.Fprintf(c.out, "revision %d of %s: applied by %d, behind %d, not connected %d\n", p.GetRevision(),
		time.Unix(0, p.GetChangedUnixNs()).UTC().Format(time.RFC3339Nano), p.GetApplied(), len(p.GetLagging()), len(p.GetDisconnected()))
	nodes := p.GetLagging()
	for _, name := range p.GetDisconnected() {
		nodes = append(nodes, &kpng.NodeStatus{Name: name})
	}
	if len(nodes) == 0 {
		return nil
	}
	return c.printNodes(nodes)
}

func (c *ctl) printLag(l *kpng.GetLagResponse) error {
	err := c.table("REVISION CONNECTED CURRENT FAILING ABSENT P50 P99 MAX", [][]string{{
		number(l.GetRevision()), number(uint64(l.GetConnected())), number(uint64(l.GetCurrent())),
		number(uint64(l.GetFailing())), number(uint64(l.GetDisconnected())),
		duration(l.GetP50LagNs()), duration(l.GetP99LagNs()), duration(l.GetMaxLagNs()),
	}})
	if err != nil || len(l.GetWorst()) == 0 {
		return err
	}
	fmt.Fprintln(c.out, "\nmost behind:")
	return c.printNodes(l.GetWorst())
}

func (c *ctl) printNode(n *kpng.Node) {
	ips := make([]netip.Addr, len(n.GetIps()))
	for i, raw := range n.GetIps() {
		ips[i], _ = netip.AddrFromSlice(raw)
	}
	fmt.Fprintln(c.out, cli.NodeText(n.GetName(), ips, n.GetDeleting()))
}

func (c *ctl) printChanges(part *kpng.WatchNodeStateResponse) {
	if part.GetNode() != nil {
		c.printNode(part.GetNode())
	}
	for _, svc := range part.GetChanged() {
		fmt.Fprint(c.out, "+ ", svc.GetText())
	}
	for _, name := range part.GetRemoved() {
		fmt.Fprintln(c.out, "-", name)
	}
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// duration is short: people compare it.
func duration(ns uint64) string {
	if ns == 0 {
		return "0"
	}
	d := time.Duration(ns)
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= 10*unit {
			return d.Round(unit).String()
		}
	}
	return d.String()
}
