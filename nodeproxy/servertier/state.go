// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package servertier

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/statepage"
	"sigs.k8s.io/kpng/remote/node"
)

// slowAfter is the lag after which a node is marked.
const slowAfter = 10 * time.Second

// StateHandler returns a handler of /state, the nodes, and /state/services, the Services, for people
// and, with ?output=json, for programs. It authenticates no client, so serve it only where all of
// them may read the state of the cluster.
func (t *Tier) StateHandler() http.Handler {
	s := &statePages{inspect: t.nodes.LocalInspect(), services: t.nodes}
	mux := http.NewServeMux()
	mux.HandleFunc("/state", s.list(s.nodesView, s.nodesJSON))
	mux.HandleFunc("/state/services", s.list(s.servicesView, s.servicesJSON))
	mux.HandleFunc("/state/nodes/{node}", s.serveNode)
	mux.HandleFunc("/state/services/service/{namespace}/{name}", s.serveService)
	return statepage.OnlyLocalNames(mux)
}

// statePages has the pages of a server.
type statePages struct {
	inspect  kpng.InspectServiceServer
	services *node.Server
}

// list returns a handler of a page with a table.
func (s *statePages) list(view func(ctx context.Context) statepage.View, asJSON func(ctx context.Context) ([]byte, error)) http.HandlerFunc {
	events := statepage.NewEvents(view)
	return func(w http.ResponseWriter, r *http.Request) {
		format, err := statepage.FormatOf(r)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		case format == statepage.FormatHTML:
			statepage.ServeDocument(w)
		case format == statepage.FormatEvents:
			events.ServeHTTP(w, r)
		case format == statepage.FormatJSON:
			serveJSON(w, r, asJSON)
		default:
			w.Header().Set("Vary", "Accept")
			writeText(w, view(r.Context()))
		}
	}
}

func serveJSON(w http.ResponseWriter, r *http.Request, asJSON func(ctx context.Context) ([]byte, error)) {
	data, err := asJSON(r.Context())
	if err != nil {
		http.Error(w, status.Convert(err).Message(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n'))
}

// writeText writes a view as lines.
func writeText(w http.ResponseWriter, v statepage.View) {
	fmt.Fprintf(w, "# %s\n", v.Title)
	for _, f := range v.Properties {
		fmt.Fprintf(w, "# %s: %s\n", f.Name, f.Value)
	}
	for _, row := range v.Rows {
		fmt.Fprintln(w, strings.TrimSpace(strings.Join(row.Cells, "\t")))
	}
}

// nodes returns the nodes; an error while the cluster state is incomplete.
func (s *statePages) nodes(ctx context.Context) (*kpng.ListNodesResponse, error) {
	return s.inspect.ListNodes(ctx, &kpng.ListNodesRequest{})
}

func (s *statePages) nodesJSON(ctx context.Context) ([]byte, error) {
	all, err := s.nodes(ctx)
	if err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(all)
}

func (s *statePages) nodesView(ctx context.Context) statepage.View {
	v := statepage.View{
		Title: "Nodes of this server", Columns: []string{"Node", "Status", "Lag", "Applied", "Sent", "Zone", "Client", "Error"},
		Links: append([]statepage.Link{{Name: "Services", Path: "state/services"}}, otherFormats()...),
	}
	all, err := s.nodes(ctx)
	if err != nil {
		v.Properties = []statepage.Property{{Name: "Cluster state", Value: status.Convert(err).Message(), Level: statepage.LevelWarning}}
		return v
	}
	connected, current, failing := 0, 0, 0
	for _, n := range all.GetNodes() {
		if n.GetConnected() {
			connected++
		}
		if n.GetConnected() && n.GetAppliedRevision() >= all.GetRevision() {
			current++
		}
		if n.GetLastError() != "" {
			failing++
		}
		v.Rows = append(v.Rows, nodeRow(n))
	}
	v.Properties = []statepage.Property{
		{Name: "Revision", Value: strconv.FormatUint(all.GetRevision(), 10)},
		{Name: "Connected", Value: fmt.Sprintf("%d of %d", connected, len(all.GetNodes()))},
		{Name: "Current", Value: strconv.Itoa(current)},
	}
	if failing > 0 {
		v.Properties = append(v.Properties, statepage.Property{Name: "Failing", Value: strconv.Itoa(failing), Level: statepage.LevelError})
	}
	return v
}

// otherFormats returns links to what the page shows, in other formats.
func otherFormats() []statepage.Link {
	return []statepage.Link{{Name: "Text", Path: "?output=text"}, {Name: "JSON", Path: "?output=json"}}
}

// nodeRow returns the row of a node.
func nodeRow(n *kpng.NodeStatus) statepage.Row {
	row := statepage.Row{Key: n.GetName(), Detail: "nodes/" + n.GetName()}
	if !n.GetConnected() {
		row.Level, row.Cells = statepage.LevelWarning, []string{n.GetName(), "disconnected", "", "", "", n.GetZone(), "", ""}
		return row
	}
	lag, text := time.Duration(n.GetLagNs()), ""
	if lag > 0 { // whole seconds, so that a row changes once a second
		text = max(lag.Round(time.Second), time.Second).String()
	}
	switch {
	case n.GetLastError() != "":
		row.Level = statepage.LevelError
	case lag > slowAfter:
		row.Level = statepage.LevelWarning
	}
	row.Cells = []string{
		n.GetName(), "connected", text, strconv.FormatUint(n.GetAppliedRevision(), 10), strconv.FormatUint(n.GetSentRevision(), 10),
		n.GetZone(), n.GetClient(), n.GetLastError(),
	}
	return row
}

func (s *statePages) servicesView(context.Context) statepage.View {
	v := statepage.View{
		Title: "Services of this server", Columns: []string{"Service", "Revision", "Changed", "Problems"},
		Links: append([]statepage.Link{{Name: "Nodes", Path: "../state"}}, otherFormats()...),
	}
	problems := 0
	for svc := range s.services.Services() {
		row := statepage.Row{
			Key: svc.Name.String(), Cells: []string{svc.Name.String(), strconv.FormatUint(svc.Revision, 10), svc.Published.Format(time.RFC3339), textOf(svc.Problems)},
		}
		if svc.Name.Origin == "" {
			row.Detail = "service/" + svc.Name.Namespace + "/" + svc.Name.Name
		}
		if len(svc.Problems) > 0 {
			row.Level = statepage.LevelWarning
			problems++
		}
		v.Rows = append(v.Rows, row)
	}
	v.Properties = []statepage.Property{{Name: "Services", Value: strconv.Itoa(len(v.Rows))}, {Name: "With problems", Value: strconv.Itoa(problems)}}
	return v
}

func textOf(problems []localsink.Problem) string {
	var texts []string
	for _, p := range problems {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, "; ")
}

// serviceJSON is an element of the JSON of /state/services.
type serviceJSON struct {
	Service   string    `json:"service"`
	Revision  uint64    `json:"revision"`
	Published time.Time `json:"published"`
	Problems  []string  `json:"problems,omitempty"`
}

func (s *statePages) servicesJSON(context.Context) ([]byte, error) {
	all := []serviceJSON{}
	for svc := range s.services.Services() {
		out := serviceJSON{Service: svc.Name.String(), Revision: svc.Revision, Published: svc.Published}
		for _, p := range svc.Problems {
			out.Problems = append(out.Problems, p.String())
		}
		all = append(all, out)
	}
	return json.Marshal(all)
}

// serveNode serves the details of a node: what it is, and its Services with problems.
func (s *statePages) serveNode(w http.ResponseWriter, r *http.Request) {
	state, err := s.inspect.GetNodeState(r.Context(), &kpng.GetNodeStateRequest{NodeName: r.PathValue("node")})
	if err != nil {
		serveError(w, err)
		return
	}
	d := statepage.Detail{Sections: []statepage.Section{{Title: "Node", Text: protojson.Format(state.GetNode())}}}
	if state.GetNodeUnknown() {
		d.Sections[0].Text = "There is no Node object of this name. It would get:\n" + d.Sections[0].Text
	}
	section := statepage.Section{Title: "Services with problems on this node", Columns: []string{"Service", "Problems"}}
	for _, svc := range state.GetServices() {
		if len(svc.GetProblems()) > 0 {
			name := localsink.ServiceName{Namespace: svc.GetNamespace(), Name: svc.GetName(), Origin: svc.GetOrigin()}
			section.Rows = append(section.Rows, statepage.Row{Cells: []string{name.String(), joinProblems(svc.GetProblems())}, Level: statepage.LevelWarning})
		}
	}
	if len(section.Rows) > 0 {
		d.Sections = append(d.Sections, section)
	}
	serveDetail(w, r, d)
}

func joinProblems(problems []*kpng.Problem) string {
	var texts []string
	for _, p := range problems {
		texts = append(texts, localsink.Problem{Object: p.GetObject(), Field: p.GetField(), Message: p.GetMessage()}.String())
	}
	return strings.Join(texts, "; ")
}

// serveService serves the details of a Service: the nodes that have not applied its last change,
// and the reasons for its endpoints, once for each zone.
func (s *statePages) serveService(w http.ResponseWriter, r *http.Request) {
	namespace, name := r.PathValue("namespace"), r.PathValue("name")
	progress, err := s.inspect.GetServiceProgress(r.Context(), &kpng.GetServiceProgressRequest{Namespace: namespace, Name: name})
	if err != nil {
		serveError(w, err)
		return
	}
	d := statepage.Detail{Sections: []statepage.Section{progressSection(progress)}}
	all, err := s.nodes(r.Context())
	if err != nil {
		serveError(w, err)
		return
	}
	for _, n := range oneOfEachZone(all.GetNodes()) {
		x, err := s.inspect.ExplainService(r.Context(), &kpng.ExplainServiceRequest{NodeName: n.GetName(), Namespace: namespace, Name: name})
		if err != nil {
			serveError(w, err)
			return
		}
		section := statepage.Section{
			Title: fmt.Sprintf("Node %s, zone %q", n.GetName(), n.GetZone()), Text: x.GetText(),
			Columns: []string{"Endpoint", "Cluster traffic", "Local traffic", "Reasons", "Port", "Node", "EndpointSlice"},
		}
		for _, e := range x.GetEndpoints() {
			section.Rows = append(section.Rows, endpointRow(e))
		}
		d.Sections = append(d.Sections, section)
	}
	serveDetail(w, r, d)
}

func progressSection(p *kpng.GetServiceProgressResponse) statepage.Section {
	section := statepage.Section{
		Title: "Progress",
		Text: fmt.Sprintf("Revision %d, changed %s: applied by %d nodes, lagging %d, disconnected %d", p.GetRevision(),
			time.Unix(0, p.GetChangedUnixNs()).UTC().Format(time.RFC3339), p.GetApplied(), len(p.GetLagging()), len(p.GetDisconnected())),
	}
	if len(p.GetLagging()) > 0 {
		section.Columns = []string{"Lagging node", "Status", "Lag", "Applied", "Sent", "Zone", "Client", "Error"}
	}
	for _, n := range p.GetLagging() {
		section.Rows = append(section.Rows, nodeRow(n))
	}
	return section
}

func endpointRow(e *kpng.EndpointExplanation) statepage.Row {
	uses := map[bool]string{true: "used", false: "not used"}
	row := statepage.Row{Cells: []string{
		e.GetAddress(), uses[e.GetClusterTraffic()], uses[e.GetLocalTraffic()], strings.Join(e.GetReasons(), "; "), e.GetPort(), e.GetNode(), e.GetSlice(),
	}}
	if !e.GetClusterTraffic() && !e.GetLocalTraffic() {
		row.Level = statepage.LevelWarning
	}
	return row
}

// oneOfEachZone returns the first node of each zone, connected ones first, of at most ten zones.
func oneOfEachZone(nodes []*kpng.NodeStatus) []*kpng.NodeStatus {
	const maxZones = 10
	sorted := slices.Clone(nodes)
	slices.SortStableFunc(sorted, func(a, b *kpng.NodeStatus) int {
		connected := map[bool]int{true: 0, false: 1}
		return cmp.Or(strings.Compare(a.GetZone(), b.GetZone()), cmp.Compare(connected[a.GetConnected()], connected[b.GetConnected()]))
	})
	sorted = slices.CompactFunc(sorted, func(a, b *kpng.NodeStatus) bool { return a.GetZone() == b.GetZone() })
	return sorted[:min(len(sorted), maxZones)]
}

// serveDetail serves details in the format of the request.
func serveDetail(w http.ResponseWriter, r *http.Request, d statepage.Detail) {
	if format, err := statepage.FormatOf(r); err != nil || format == statepage.FormatEvents {
		http.Error(w, "output: want page or text", http.StatusBadRequest)
	} else if format == statepage.FormatDetail || format == statepage.FormatJSON {
		statepage.ServeDetail(w, d)
	} else {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		for _, section := range d.Sections {
			fmt.Fprintf(w, "# %s\n%s\n", section.Title, section.Text)
			for _, row := range section.Rows {
				fmt.Fprintln(w, strings.TrimSpace(strings.Join(row.Cells, "\t")))
			}
		}
	}
}

func serveError(w http.ResponseWriter, err error) {
	http.Error(w, status.Convert(err).Message(), http.StatusNotFound)
}
