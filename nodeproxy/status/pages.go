// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package status serves the /state pages of a node proxy: desired state, applied state
// and failures, Service by Service. It is independent of the packet filter.
//
//	applied.go   the applied state: a sink around a sink
//	pages.go     the pages, as text or, with ?output=json, as JSON; connections.go: their
//	             numbers of new connections; details.go: what a backend adds
//	people.go    what the HTML page shows, which browsers get
package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/problems"
	"sigs.k8s.io/kpng/nodeproxy/statepage"
)

// A Config has the sources of the pages. Calls may overlap.
type Config struct {
	// Applied has the applied state. Required.
	Applied *AppliedSink
	// Problems has the failures of each Service. Required.
	Problems *problems.Tracker
	// Explain returns the desired state of a Service with its reasons, nil if there is no
	// such Service: nodelocal.Explain with a store's snapshot. A proxy without cluster
	// state has no Explain; its pages show the applied state only.
	Explain func(name localsink.ServiceName) (*nodelocal.Explanation, error)
	// Connections has the numbers of new connections, for the pages of single Services. It may
	// be nil.
	Connections localsink.ConnectionCounter
	// Details are parts that the backend adds to /state. It may be nil.
	Details Detailer
}

// Handler returns a handler of /state and /state/NAMESPACE/NAME.
func Handler(cfg Config) http.Handler {
	p := pages{cfg: cfg}
	p.events = statepage.NewEvents(p.view)
	mux := http.NewServeMux()
	mux.HandleFunc("/state", p.serveNode)
	mux.HandleFunc("/state/{namespace}/{name}", p.serveService)
	return statepage.OnlyLocalNamesAtLoopback(mux)
}

type pages struct {
	cfg    Config
	events *statepage.Events
}

// nodeState is the JSON of /state.
type nodeState struct {
	Node string       `json:"node,omitempty"`
	IPs  []netip.Addr `json:"ips,omitempty"`
	// LastError is why a newer state is not applied.
	LastError string `json:"lastError,omitempty"`
	// Applied is false until the first state is applied.
	Applied  bool           `json:"applied"`
	Services []serviceState `json:"services"`
	// Details are those of the backend, by name.
	Details map[string]any `json:"details,omitempty"`
}

// serviceState is the JSON of /state/NAMESPACE/NAME.
type serviceState struct {
	Service string `json:"service"`
	// Desired has the reasons too, endpoint by endpoint; /state leaves it out.
	Desired *nodelocal.Explanation `json:"desired,omitempty"`
	Applied string                 `json:"applied,omitempty"`
	// Connections are the numbers of new connections, if they are counted; /state leaves them
	// out.
	Connections *connectionState `json:"connections,omitempty"`
	// Errors are the failures of this Service, current and resolved.
	Errors []problems.Failure `json:"errors,omitempty"`
}

// node returns all Services that are applied or have failures.
func (p pages) node() (s nodeState) {
	u, err := p.cfg.Applied.Applied()
	if err != nil {
		s.LastError = err.Error()
	}
	for _, name := range p.cfg.Problems.Services() {
		if u == nil || u.All.Get(name) == nil {
			s.Services = append(s.Services, serviceState{Service: name.String(), Errors: p.cfg.Problems.Failures(name)})
		}
	}
	if u == nil {
		return s
	}
	s.Node, s.IPs, s.Applied = u.Node.Name, u.Node.IPs, true
	for svc := range u.All.All() {
		s.Services = append(s.Services, serviceState{Service: svc.Name.String(), Applied: svc.Text(), Errors: p.cfg.Problems.Failures(svc.Name)})
	}
	return s
}

func (p pages) serveNode(w http.ResponseWriter, r *http.Request) {
	format, err := statepage.FormatOf(r)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case format == statepage.FormatHTML:
		statepage.ServeDocument(w)
	case format == statepage.FormatEvents:
		p.events.ServeHTTP(w, r)
	case format == statepage.FormatJSON:
		s := p.node()
		s.Details = detailsByName(p.details(r.Context()))
		writeJSON(w, s)
	default:
		s := p.node()
		s.write(w)
		writeDetails(w, p.details(r.Context()))
	}
}

// write writes s as text.
func (s *nodeState) write(w io.Writer) {
	if s.LastError != "" {
		fmt.Fprintf(w, "# the last attempt failed: %s\n", s.LastError)
	}
	if !s.Applied {
		fmt.Fprintln(w, "# no state is applied yet")
	} else {
		fmt.Fprintf(w, "# node %s %v\n", s.Node, s.IPs)
	}
	for _, svc := range s.Services {
		if svc.Applied == "" {
			fmt.Fprintf(w, "%s\n  # is not applied\n", svc.Service)
		}
		_, _ = io.WriteString(w, svc.Applied)
		writeFailures(w, "  # ", svc.Errors)
	}
}

// details returns the parts that the backend adds.
func (p pages) details(ctx context.Context) []Detail {
	if p.cfg.Details == nil {
		return nil
	}
	return p.cfg.Details.StateDetails(ctx)
}

func (p pages) serveService(w http.ResponseWriter, r *http.Request) {
	format, err := statepage.FormatOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name := localsink.ServiceName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	s := serviceState{Service: name.String(), Errors: p.cfg.Problems.Failures(name)}
	if p.cfg.Explain != nil {
		if s.Desired, err = p.cfg.Explain(name); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	if u, _ := p.cfg.Applied.Applied(); u != nil {
		if svc := u.All.Get(name); svc != nil {
			s.Applied = svc.Text()
			s.Connections = readConnections(r.Context(), p.cfg.Connections, name)
		}
	}
	switch {
	case s.Desired == nil && s.Applied == "" && s.Errors == nil:
		http.Error(w, "no Service "+name.String(), http.StatusNotFound)
	case format == statepage.FormatHTML: // a link from elsewhere
		w.Header().Set("Location", "../../state#"+url.PathEscape(name.String())) // relative, for proxies that add a prefix
		w.WriteHeader(http.StatusFound)
	case format == statepage.FormatDetail:
		statepage.ServeDetail(w, s.detail())
	case format == statepage.FormatJSON:
		writeJSON(w, s)
	default:
		if s.Desired != nil {
			fmt.Fprintf(w, "# desired\n%s", s.Desired.Text())
		}
		fmt.Fprintf(w, "# applied\n%s", s.Applied)
		s.Connections.write(w)
		if len(s.Errors) > 0 {
			fmt.Fprintln(w, "# errors")
			writeFailures(w, "", s.Errors)
		}
	}
}

func writeFailures(w io.Writer, indent string, failures []problems.Failure) {
	for _, f := range failures {
		when := fmt.Sprintf("since %s, last seen %s", f.Since.Format(time.RFC3339), f.LastSeen.Format(time.RFC3339))
		if f.Resolved {
			when += ", resolved"
		}
		fmt.Fprintf(w, "%serror (%s): %s\n", indent, when, f.Error)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n'))
}
