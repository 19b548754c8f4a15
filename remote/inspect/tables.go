// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
)

// printTable prints rows in aligned columns. header has no blanks within a name.
func (q *query) printTable(header string, rows [][]string) error {
	w := tabwriter.NewWriter(q.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(header, " ", "\t"))
	for _, r := range rows {
		fmt.Fprintln(w, strings.TrimRight(strings.Join(r, "\t"), "\t"))
	}
	return w.Flush()
}

func (q *query) printNodes(nodes []*kpng.NodeStatus) error {
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
	return q.printTable("NAME ZONE CONNECTED SENT APPLIED LAG CLIENT ERROR", rows)
}

func (q *query) printProgress(p *kpng.GetServiceProgressResponse) error {
	fmt.Fprintf(q.Out, "revision %d of %s: applied %d, lagging %d, disconnected %d\n", p.GetRevision(),
		time.Unix(0, p.GetChangedUnixNs()).UTC().Format(time.RFC3339Nano), p.GetApplied(), len(p.GetLagging()), len(p.GetDisconnected()))
	if len(p.GetLagging()) > 0 {
		if err := q.printNodes(p.GetLagging()); err != nil {
			return err
		}
	}
	if len(p.GetDisconnected()) > 0 { // the answer has only their names
		fmt.Fprintf(q.Out, "\ndisconnected:\n%s\n", strings.Join(p.GetDisconnected(), "\n"))
	}
	return nil
}

func (q *query) printLag(l *kpng.GetLagResponse) error {
	err := q.printTable("REVISION CONNECTED CURRENT FAILING DISCONNECTED P50 P99 MAX", [][]string{{
		number(l.GetRevision()), number(uint64(l.GetConnected())), number(uint64(l.GetCurrent())),
		number(uint64(l.GetFailing())), number(uint64(l.GetDisconnected())),
		duration(l.GetP50LagNs()), duration(l.GetP99LagNs()), duration(l.GetMaxLagNs()),
	}})
	if err != nil || len(l.GetWorst()) == 0 {
		return err
	}
	fmt.Fprintln(q.Out, "\nlargest lag:")
	return q.printNodes(l.GetWorst())
}

// printNode prints the line of a node, as nodeproxy/printer does.
func (q *query) printNode(n *kpng.Node) {
	ips := make([]netip.Addr, len(n.GetIps()))
	for i, raw := range n.GetIps() {
		ips[i], _ = netip.AddrFromSlice(raw)
	}
	text := fmt.Sprintf("# node %s %v", n.GetName(), ips)
	if n.GetDeleting() {
		text += " deleting"
	}
	fmt.Fprintln(q.Out, text)
}

func (q *query) printChanges(part *kpng.WatchNodeStateResponse) {
	if part.GetNode() != nil {
		q.printNode(part.GetNode())
	}
	for _, svc := range part.GetChanged() {
		fmt.Fprint(q.Out, "+ ", svc.GetText())
	}
	for _, name := range part.GetRemoved() {
		fmt.Fprintln(q.Out, "-", name)
	}
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// duration formats nanoseconds with two to four significant digits, for comparison.
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
