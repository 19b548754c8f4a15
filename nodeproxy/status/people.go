// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/problems"
	"sigs.k8s.io/kpng/nodeproxy/statepage"
)

// view returns the page of the node: a row for each Service that is applied or has failures.
func (p pages) view(context.Context) statepage.View {
	u, err := p.cfg.Applied.Applied()
	v := statepage.View{Title: "Services of this node", Columns: []string{"Service", "Addresses", "Endpoints", "Problems"},
		Links: []statepage.Link{{Name: "Text", Path: "?output=text"}, {Name: "JSON", Path: "?output=json"}}}
	if err != nil {
		v.Properties = append(v.Properties, statepage.Property{Name: "Last attempt failed", Value: err.Error(), Level: statepage.LevelError})
	}
	for _, name := range p.cfg.Problems.Services() {
		if u == nil || u.All.Get(name) == nil {
			v.Rows = append(v.Rows, p.row(name, nil))
		}
	}
	if u == nil {
		v.Properties = append(v.Properties, statepage.Property{Name: "Applied", Value: "no state yet", Level: statepage.LevelWarning})
		return v
	}
	v.Title = "Services of node " + u.Node.Name
	v.Properties = append(v.Properties, statepage.Property{Name: "Addresses", Value: joinAddrs(u.Node.IPs)},
		statepage.Property{Name: "Services", Value: strconv.Itoa(u.All.Len())})
	for svc := range u.All.All() {
		v.Rows = append(v.Rows, p.row(svc.Name, svc))
	}
	return v
}

// row returns the row of a Service; svc is nil if it is not applied.
func (p pages) row(name localsink.ServiceName, svc *localsink.Service) statepage.Row {
	row := statepage.Row{Key: name.String(), Cells: []string{name.String(), "not applied", "", ""}}
	if name.Origin == "" { // pages of other objects have no address
		row.Detail = name.Namespace + "/" + name.Name
	}
	var texts []string
	if svc != nil {
		row.Cells[1], row.Cells[2] = frontendsOf(svc), strconv.Itoa(endpointsOf(svc))
		for _, problem := range svc.Problems {
			texts, row.Level = append(texts, problem.String()), statepage.LevelWarning
		}
	}
	for _, f := range p.cfg.Problems.Failures(name) {
		if !f.Resolved {
			texts, row.Level = append(texts, f.Error), statepage.LevelError
		}
	}
	row.Cells[3] = strings.Join(texts, "; ")
	return row
}

func joinAddrs(addrs []netip.Addr) string {
	var words []string
	for _, a := range addrs {
		words = append(words, a.String())
	}
	return strings.Join(words, ", ")
}

// frontendsOf returns the addresses of a Service.
func frontendsOf(svc *localsink.Service) string {
	var words []string
	for i := range svc.Ports {
		for _, f := range svc.Ports[i].Frontends {
			at := f.Addr.String()
			if f.Kind == localsink.KindNodePort {
				at = fmt.Sprint("node port ", f.Addr.Port())
			}
			words = append(words, at+"/"+svc.Ports[i].Protocol.String())
		}
	}
	return strings.Join(words, ", ")
}

// endpointsOf returns the number of different endpoints of a Service.
func endpointsOf(svc *localsink.Service) int {
	seen := map[netip.AddrPort]struct{}{}
	for i := range svc.Ports {
		for j := range svc.Ports[i].Pools {
			for _, e := range svc.Ports[i].Pools[j].Endpoints {
				seen[e.Addr] = struct{}{}
			}
		}
	}
	return len(seen)
}

// detail returns the details of a Service for the page.
func (s *serviceState) detail() statepage.Detail {
	var d statepage.Detail
	if len(s.Errors) > 0 {
		d.Sections = append(d.Sections, failuresSection(s.Errors))
	}
	title := "Applied"
	if s.Desired != nil {
		d.Sections = append(d.Sections, endpointsSection(s.Desired))
		if s.Desired.Service == s.Applied {
			title = "Desired and applied"
		} else {
			d.Sections = append(d.Sections, statepage.Section{Title: "Desired", Text: s.Desired.Service})
		}
	}
	d.Sections = append(d.Sections, statepage.Section{Title: title, Text: s.Applied})
	if s.Connections != nil {
		var b strings.Builder
		s.Connections.write(&b)
		d.Sections = append(d.Sections, statepage.Section{Title: "Connections", Text: b.String()})
	}
	return d
}

func failuresSection(failures []problems.Failure) statepage.Section {
	section := statepage.Section{Title: "Errors", Columns: []string{"Error", "Since", "Last seen", "Resolved"}}
	for _, f := range failures {
		row := statepage.Row{Cells: []string{f.Error, f.Since.Format(time.RFC3339), f.LastSeen.Format(time.RFC3339), "yes"}}
		if !f.Resolved {
			row.Level, row.Cells[3] = statepage.LevelError, "no"
		}
		section.Rows = append(section.Rows, row)
	}
	return section
}

// endpointsSection returns a table with the reason for each endpoint of a Service.
func endpointsSection(x *nodelocal.Explanation) statepage.Section {
	section := statepage.Section{
		Title: "Endpoints", Columns: []string{"Endpoint", "Use", "Reasons", "Port", "Node", "EndpointSlice"}, Text: strings.Join(x.Unmatched, "\n"),
	}
	for _, e := range x.Endpoints {
		row := statepage.Row{Cells: []string{e.Address.String(), e.Use(), strings.Join(e.Reasons, "; "), e.Port, e.Node, e.Slice}}
		if !e.ClusterTraffic && !e.LocalTraffic {
			row.Level = statepage.LevelWarning
		}
		section.Rows = append(section.Rows, row)
	}
	return section
}
