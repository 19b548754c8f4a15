// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
)

// statePages show what is wanted, what is applied, and what went wrong: as text, or as
// JSON with ?output=json.
type statePages struct {
	monitor *monitor
	faults  *faults
	explain func(localsink.ServiceName) (*nodelocal.Explanation, error)
}

// A nodeState is what there is to say of a node.
type nodeState struct {
	Node string       `json:"node,omitempty"`
	IPs  []netip.Addr `json:"ips,omitempty"`
	// LastError is why something newer is not applied.
	LastError string `json:"lastError,omitempty"`
	// Applied is false until the first state is in place.
	Applied  bool           `json:"applied"`
	Services []serviceState `json:"services"`
}

// A serviceState is what there is to say of one Service.
type serviceState struct {
	Service string `json:"service"`
	// Wanted says what should be applied, and which endpoints are not used and why; the
	// page of all Services leaves it out.
	Wanted  *nodelocal.Explanation `json:"wanted,omitempty"`
	Applied string                 `json:"applied,omitempty"`
	// Errors are what went wrong with this Service, also what is over.
	Errors []fault `json:"errors,omitempty"`
}

// all shows every Service that is applied, or with which something went wrong.
func (p *statePages) all(w http.ResponseWriter, r *http.Request) {
	var s nodeState
	u, err := p.monitor.state()
	if err != nil {
		s.LastError = err.Error()
	}
	for _, name := range p.faults.services() {
		if u == nil || u.All.Get(name) == nil {
			s.Services = append(s.Services, serviceState{Service: name.String(), Errors: p.faults.of(name)})
		}
	}
	if u != nil {
		s.Node, s.IPs, s.Applied = u.Node.Name, u.Node.IPs, true
		for svc := range u.All.All() {
			s.Services = append(s.Services, serviceState{Service: svc.Name.String(), Applied: svc.Text(), Errors: p.faults.of(svc.Name)})
		}
	}
	if r.FormValue("output") == "json" {
		writeJSON(w, s)
		return
	}
	if s.LastError != "" {
		fmt.Fprintf(w, "# the last attempt failed: %s\n", s.LastError)
	}
	if !s.Applied {
		fmt.Fprintln(w, "# nothing is applied yet")
	} else {
		fmt.Fprintf(w, "# node %s %v\n", s.Node, s.IPs)
	}
	for _, svc := range s.Services {
		if svc.Applied == "" {
			fmt.Fprintf(w, "%s\n  # is not applied\n", svc.Service)
		}
		_, _ = io.WriteString(w, svc.Applied)
		writeFaults(w, "  # ", svc.Errors)
	}
}

// one shows one Service.
func (p *statePages) one(w http.ResponseWriter, r *http.Request) {
	name := localsink.ServiceName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	wanted, err := p.explain(name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s := serviceState{Service: name.String(), Wanted: wanted, Errors: p.faults.of(name)}
	if u, _ := p.monitor.state(); u != nil {
		if svc := u.All.Get(name); svc != nil {
			s.Applied = svc.Text()
		}
	}
	switch {
	case s.Wanted == nil && s.Applied == "" && s.Errors == nil:
		http.Error(w, "no Service "+name.String(), http.StatusNotFound)
	case r.FormValue("output") == "json":
		writeJSON(w, s)
	default:
		if s.Wanted != nil {
			fmt.Fprintf(w, "# wanted\n%s", s.Wanted.Text())
		}
		fmt.Fprintf(w, "# applied\n%s", s.Applied)
		if len(s.Errors) > 0 {
			fmt.Fprintln(w, "# errors")
			writeFaults(w, "", s.Errors)
		}
	}
}

func writeFaults(w io.Writer, indent string, all []fault) {
	for _, f := range all {
		when := fmt.Sprintf("since %s, seen %s", f.Since.Format(time.RFC3339), f.Seen.Format(time.RFC3339))
		if f.Over {
			when += ", over since"
		}
		fmt.Fprintf(w, "%serror (%s): %s\n", indent, when, f.Error)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
