// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
	"sigs.k8s.io/kpng/remote/internal/session"
)

// inspectService answers people's questions.
type inspectService struct {
	kpng.UnimplementedInspectServiceServer
	server *Server
}

// authorize says whether the peer may ask about a node, empty for all, and returns the
// present state.
func (i inspectService) authorize(ctx context.Context, node string) (*state, error) {
	if i.server.cfg.AuthorizeInspect != nil {
		if err := i.server.cfg.AuthorizeInspect(ctx, node); err != nil {
			return nil, err
		}
	}
	st := i.server.hub.State()
	if st.Revision == 0 {
		return nil, status.Error(codes.Unavailable, "the facts are not complete yet")
	}
	return st, nil
}

// ListNodes implements the service.
func (i inspectService) ListNodes(ctx context.Context, in *kpng.ListNodesRequest) (*kpng.ListNodesResponse, error) {
	st, err := i.authorize(ctx, "")
	if err != nil {
		return nil, err
	}
	out := &kpng.ListNodesResponse{Revision: st.Revision}
	for _, n := range i.server.nodes(st, time.Now()) {
		if in.GetLimit() > 0 && uint32(len(out.Nodes)) == in.GetLimit() {
			break
		}
		if strings.HasPrefix(n.GetName(), in.GetPrefix()) {
			out.Nodes = append(out.Nodes, n)
		}
	}
	return out, nil
}

// nodes returns how each node stands that there is or that is connected, by name.
func (s *Server) nodes(st *state, now time.Time) []*kpng.NodeStatus {
	s.mu.Lock()
	newest := make(map[string]*nodeStream, len(s.streams))
	for name, streams := range s.streams {
		for n := range streams {
			if o := newest[name]; o == nil || n.connected.After(o.connected) {
				newest[name] = n
			}
		}
	}
	s.mu.Unlock()
	all := make([]*kpng.NodeStatus, 0, len(newest))
	for node := range st.Extra.cluster.Nodes() {
		if newest[node.Name] == nil {
			all = append(all, &kpng.NodeStatus{Name: node.Name, Zone: node.Zone})
		}
	}
	for _, n := range newest {
		all = append(all, n.nodeStatus(st, now))
	}
	slices.SortFunc(all, func(a, b *kpng.NodeStatus) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all
}

func (n *nodeStream) nodeStatus(st *state, now time.Time) *kpng.NodeStatus {
	s := n.status()
	out := &kpng.NodeStatus{
		Name: n.name, Connected: true, Peer: n.peer, Client: protoconv.Text(n.client), ConnectedUnixNs: n.connected.UnixNano(),
		SentRevision: s.Sent, AppliedRevision: s.Applied, LastError: protoconv.Text(s.LastError),
		ApplyDurationNs: uint64(s.Took), Failures: s.Failures,
	}
	if node := st.Extra.cluster.Node(n.name); node != nil {
		out.Zone = node.Zone
	}
	if !s.Behind.IsZero() {
		out.LagNs = uint64(max(now.Sub(s.Behind), 1))
	}
	return out
}

// nodeState is what one node must do, put together.
type nodeState struct {
	node        *localsink.Node
	zone        string
	unsupported localsink.Features
	unknown     bool // there is no such Node
}

func (s *Server) nodeState(st *state, name string) nodeState {
	n := nodeState{unknown: st.Extra.cluster.Node(name) == nil}
	n.node, n.zone = s.resolver.Node(st.Extra.cluster, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream := range s.streams[name] {
		n.unsupported |= stream.unsupported
	}
	return n
}

func (n *nodeState) service(i *serviceItem) *kpng.ServiceState {
	svc := overlay.Assemble(i.service.Base(n.zone), i.service.Overlay(n.node.Name), n.node)
	return toServiceState(svc.WithUnsupported(n.unsupported))
}

// GetNodeState implements the service.
func (i inspectService) GetNodeState(ctx context.Context, in *kpng.GetNodeStateRequest) (*kpng.GetNodeStateResponse, error) {
	if in.GetNodeName() == "" {
		return nil, status.Error(codes.InvalidArgument, "node_name: required")
	}
	st, err := i.authorize(ctx, in.GetNodeName())
	if err != nil {
		return nil, err
	}
	n := i.server.nodeState(st, in.GetNodeName())
	out := &kpng.GetNodeStateResponse{Node: toNode(n.node), Revision: st.Revision, NodeUnknown: n.unknown}
	for name, it := range st.Items.All() {
		if in.GetNamespace() != "" && in.GetNamespace() != name.Namespace || in.GetName() != "" && in.GetName() != name.Name {
			continue
		}
		if it, ok := it.(*serviceItem); ok {
			out.Services = append(out.Services, n.service(it))
		}
	}
	return out, nil
}

// statesPerMessage is how many Services a message of a watch has.
const statesPerMessage = 200

// WatchNodeState implements the service.
func (i inspectService) WatchNodeState(in *kpng.WatchNodeStateRequest, stream kpng.InspectService_WatchNodeStateServer) error {
	ctx := stream.Context()
	if in.GetNodeName() == "" {
		return status.Error(codes.InvalidArgument, "node_name: required")
	}
	st, err := i.authorize(ctx, in.GetNodeName())
	if err != nil {
		return err
	}
	n := i.server.nodeState(st, in.GetNodeName())
	out := &kpng.WatchNodeStateResponse{Node: toNode(n.node), Revision: st.Revision, NodeUnknown: n.unknown}
	for _, it := range st.Items.All() {
		if len(out.Changed) == statesPerMessage {
			if err := stream.Send(out); err != nil {
				return err
			}
			out = &kpng.WatchNodeStateResponse{Revision: st.Revision}
		}
		if it, ok := it.(*serviceItem); ok {
			out.Changed = append(out.Changed, n.service(it))
		}
	}
	for {
		out.Complete = true
		if err := stream.Send(out); err != nil {
			return err
		}
		for out = nil; out == nil; {
			select {
			case <-ctx.Done():
				return session.StatusError(ctx.Err())
			case <-i.server.ended:
				return session.StatusError(context.Canceled)
			case <-st.Newer():
			}
			now := i.server.hub.State()
			out = i.server.nodeStateChanges(st, now, &n)
			st = now
		}
	}
}

// nodeStateChanges returns what a node must do that it did not before; nil for nothing.
func (s *Server) nodeStateChanges(old, new *state, n *nodeState) *kpng.WatchNodeStateResponse {
	was := *n
	*n = s.nodeState(new, n.node.Name)
	out := &kpng.WatchNodeStateResponse{Revision: new.Revision}
	if !was.node.Equal(n.node) || was.unknown != n.unknown {
		out.Node, out.NodeUnknown = toNode(n.node), n.unknown
	}
	everything := out.Node != nil || was.zone != n.zone || was.unsupported != n.unsupported
	see := func(name localsink.ServiceName, a, b *serviceItem) {
		switch {
		case b == nil:
			out.Removed = append(out.Removed, name.String())
		case a == nil:
			out.Changed = append(out.Changed, n.service(b))
		default:
			if before, now := was.service(a), n.service(b); before.GetText() != now.GetText() {
				out.Changed = append(out.Changed, now)
			}
		}
	}
	if everything {
		for name, i := range new.Items.All() {
			is, _ := i.(*serviceItem)
			before, _ := old.Items.Get(name)
			a, _ := before.(*serviceItem)
			see(name, a, is)
		}
	}
	for c := range new.Items.Diff(old.Items) {
		if everything && !c.Deleted {
			continue
		}
		before, _ := old.Items.Get(c.Key)
		a, _ := before.(*serviceItem)
		b, _ := c.Value.(*serviceItem)
		see(c.Key, a, b)
	}
	if out.Node == nil && len(out.Changed) == 0 && len(out.Removed) == 0 {
		return nil
	}
	return out
}

// ExplainService implements the service.
func (i inspectService) ExplainService(ctx context.Context, in *kpng.ExplainServiceRequest) (*kpng.ExplainServiceResponse, error) {
	if in.GetNodeName() == "" || in.GetNamespace() == "" || in.GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "node_name, namespace, name: required")
	}
	if _, err := i.authorize(ctx, in.GetNodeName()); err != nil {
		return nil, err
	}
	name := localsink.ServiceName{Namespace: in.GetNamespace(), Name: in.GetName()}
	x, err := i.server.resolver.Explain(i.server.store.Snapshot(), in.GetNodeName(), name)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if x == nil {
		return nil, status.Errorf(codes.NotFound, "there is no Service %s", name)
	}
	// What the node does: Explain alone hears of no other Service that claims an address.
	st := i.server.hub.State()
	n := i.server.nodeState(st, in.GetNodeName())
	out := &kpng.ExplainServiceResponse{Unmatched: x.Unmatched, NodeUnknown: n.unknown}
	found, _ := st.Items.Get(name)
	if it, ok := found.(*serviceItem); ok {
		state := n.service(it)
		x.Service, out.Problems = state.GetText(), state.GetProblems()
	}
	out.Text = protoconv.Text(x.Text())
	for _, e := range x.Endpoints {
		out.Endpoints = append(out.Endpoints, &kpng.EndpointExplanation{
			Port: e.Port, Address: e.Address.String(), Slice: e.Slice, Node: e.Node, ClusterTraffic: e.ClusterTraffic, LocalTraffic: e.LocalTraffic, Reasons: e.Reasons,
		})
	}
	return out, nil
}

// GetServiceProgress implements the service.
func (i inspectService) GetServiceProgress(ctx context.Context, in *kpng.GetServiceProgressRequest) (*kpng.GetServiceProgressResponse, error) {
	st, err := i.authorize(ctx, "")
	if err != nil {
		return nil, err
	}
	name := localsink.ServiceName{Namespace: in.GetNamespace(), Name: in.GetName()}
	found, _ := st.Items.Get(name)
	it, ok := found.(*serviceItem)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "there is no Service %s that nodes are told of", name)
	}
	out := &kpng.GetServiceProgressResponse{Revision: it.revision, ChangedUnixNs: it.observed.UnixNano()}
	for _, n := range i.server.nodes(st, time.Now()) {
		switch {
		case !n.GetConnected():
			out.Disconnected = append(out.Disconnected, n.GetName())
		case n.GetAppliedRevision() >= it.revision:
			out.Applied++
		default:
			out.Lagging = append(out.Lagging, n)
		}
	}
	return out, nil
}

// maxWorst is how many nodes GetLag names.
const maxWorst = 10

// GetLag implements the service.
func (i inspectService) GetLag(ctx context.Context, _ *kpng.GetLagRequest) (*kpng.GetLagResponse, error) {
	st, err := i.authorize(ctx, "")
	if err != nil {
		return nil, err
	}
	out := &kpng.GetLagResponse{Revision: st.Revision}
	var connected []*kpng.NodeStatus
	for _, n := range i.server.nodes(st, time.Now()) {
		if !n.GetConnected() {
			out.Disconnected++
			continue
		}
		connected = append(connected, n)
		if n.GetLastError() != "" {
			out.Failing++
		}
		if n.GetAppliedRevision() >= st.Revision {
			out.Current++
		}
	}
	out.Connected = uint32(len(connected))
	slices.SortStableFunc(connected, func(a, b *kpng.NodeStatus) int { return cmp.Compare(b.GetLagNs(), a.GetLagNs()) })
	if n := len(connected); n > 0 {
		out.MaxLagNs = connected[0].GetLagNs()
		out.P99LagNs = connected[n/100].GetLagNs()
		out.P50LagNs = connected[n/2].GetLagNs()
	}
	for _, n := range connected[:min(len(connected), maxWorst)] {
		if n.GetLagNs() > 0 || n.GetLastError() != "" {
			out.Worst = append(out.Worst, n)
		}
	}
	return out, nil
}

func toServiceState(svc *localsink.Service) *kpng.ServiceState {
	out := &kpng.ServiceState{
		Namespace: svc.Name.Namespace, Name: svc.Name.Name, Problems: protoconv.Problems(svc.Problems), Text: protoconv.Text(svc.Text()),
	}
	if svc.HealthCheck != nil {
		out.HealthCheckPort, out.LocalEndpoints = uint32(svc.HealthCheck.Port), uint32(svc.HealthCheck.LocalEndpoints)
	}
	for i := range svc.Ports {
		out.Ports = append(out.Ports, toPortState(&svc.Ports[i]))
	}
	return out
}

func toPortState(p *localsink.Port) *kpng.PortState {
	out := &kpng.PortState{Name: p.Name, Protocol: kpng.Protocol(p.Protocol), AffinityNs: uint64(p.Affinity)}
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		f := &kpng.FrontendState{
			Kind: toKind(fe.Kind), Address: fe.Addr.Addr().AsSlice(), Port: uint32(fe.Addr.Port()), SourceRanges: toNetworks(fe.SourceRanges),
		}
		for _, r := range fe.Routes {
			f.Routes = append(f.Routes, &kpng.RouteState{
				From: toFrom(r.From), Pool: uint32(r.Pool), Masquerade: r.Masquerade, EmptyVerdict: toVerdict(r.EmptyVerdict),
			})
		}
		out.Frontends = append(out.Frontends, f)
	}
	for _, pool := range p.Pools {
		ps := &kpng.PoolState{}
		for _, e := range pool.Endpoints {
			ps.Endpoints = append(ps.Endpoints, &kpng.EndpointState{
				Address: e.Addr.Addr().AsSlice(), Port: uint32(e.Addr.Port()), Local: e.Local,
			})
		}
		out.Pools = append(out.Pools, ps)
	}
	for _, a := range p.Draining {
		out.Draining = append(out.Draining, &kpng.Endpoint{Address: a.Addr().AsSlice(), Port: uint32(a.Port())})
	}
	return out
}
