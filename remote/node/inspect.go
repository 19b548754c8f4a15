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
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/remote/internal/nodestate"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
	"sigs.k8s.io/kpng/remote/internal/session"
)

// inspectService implements InspectService.
type inspectService struct {
	kpng.UnimplementedInspectServiceServer
	server  *Server
	trusted bool // calls come from this process
}

// LocalInspect returns InspectService for callers in this process. It authorizes nothing: its callers
// must restrict access to the state of the whole cluster.
func (s *Server) LocalInspect() kpng.InspectServiceServer {
	return inspectService{server: s, trusted: true}
}

// authorize checks that the peer may inspect a node, or all nodes if node is empty, and
// returns the current state.
func (s inspectService) authorize(ctx context.Context, node string) (*state, error) {
	if s.server.cfg.AuthorizeInspect != nil && !s.trusted {
		if err := s.server.cfg.AuthorizeInspect(ctx, node); err != nil {
			return nil, err
		}
	}
	st := s.server.hub.Snapshot()
	if st.Revision == 0 {
		return nil, status.Error(codes.Unavailable, "cluster state is not complete yet")
	}
	return st, nil
}

// ListNodes implements InspectService.
func (s inspectService) ListNodes(ctx context.Context, in *kpng.ListNodesRequest) (*kpng.ListNodesResponse, error) {
	st, err := s.authorize(ctx, "")
	if err != nil {
		return nil, err
	}
	out := &kpng.ListNodesResponse{Revision: st.Revision}
	for _, n := range s.server.nodes(st, time.Now()) {
		if in.GetLimit() > 0 && uint32(len(out.GetNodes())) == in.GetLimit() {
			break
		}
		if strings.HasPrefix(n.GetName(), in.GetPrefix()) {
			out.Nodes = append(out.Nodes, n)
		}
	}
	return out, nil
}

// nodes returns the status of each node that exists or is connected, ordered by name.
func (s *Server) nodes(st *state, now time.Time) []*kpng.NodeStatus {
	s.mu.Lock()
	newest := make(map[string]*nodeStream, len(s.streams))
	for name, streams := range s.streams {
		newest[name] = newestOf(streams)
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
		ApplyDurationNs: uint64(s.ApplyDuration), Failures: s.Failures,
	}
	if node := st.Extra.cluster.Node(n.name); node != nil {
		out.Zone = node.Zone
	}
	if !s.BehindSince.IsZero() {
		out.LagNs = uint64(max(now.Sub(s.BehindSince), 1))
	}
	return out
}

// nodeState holds what the desired state of one node depends on beside Services.
type nodeState struct {
	node        *localsink.Node
	zone        string
	unsupported localsink.Features
	unknown     bool // the Node object is missing
}

// toNode encodes the properties of the node with its zone.
func (n *nodeState) toNode() *kpng.Node {
	out := nodestate.Node(n.node)
	out.Zone = protoconv.Text(n.zone)
	return out
}

func (s *Server) nodeState(st *state, name string) nodeState {
	n := nodeState{unknown: st.Extra.cluster.Node(name) == nil}
	n.node, n.zone = s.resolver.Node(st.Extra.cluster, name, s.knownNode(name))
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream := range s.streams[name] {
		n.unsupported |= stream.unsupported
	}
	return n
}

// knownNode returns the KnownNode of the latest stream of a node; nil without a stream.
func (s *Server) knownNode(name string) *nodelocal.KnownNode {
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := newestOf(s.streams[name])
	if latest == nil {
		return nil
	}
	return &latest.known
}

func (n *nodeState) service(i *serviceItem) *kpng.ServiceState {
	svc := overlay.Assemble(i.service.Base(n.zone), i.service.Overlay(n.node.Name), n.node)
	return nodestate.Service(svc.WithUnsupported(n.unsupported, n.node))
}

// GetNodeState implements InspectService.
func (s inspectService) GetNodeState(ctx context.Context, in *kpng.GetNodeStateRequest) (*kpng.GetNodeStateResponse, error) {
	if in.GetNodeName() == "" {
		return nil, status.Error(codes.InvalidArgument, "node_name: required")
	}
	st, err := s.authorize(ctx, in.GetNodeName())
	if err != nil {
		return nil, err
	}
	n := s.server.nodeState(st, in.GetNodeName())
	out := &kpng.GetNodeStateResponse{Node: n.toNode(), Revision: st.Revision, NodeUnknown: n.unknown}
	for name, i := range st.Items.All() {
		if in.GetNamespace() != "" && in.GetNamespace() != name.Namespace || in.GetName() != "" && in.GetName() != name.Name ||
			(in.GetOrigin() != "" || in.GetName() != "") && in.GetOrigin() != name.Origin {
			continue
		}
		if item, ok := i.(*serviceItem); ok {
			out.Services = append(out.Services, n.service(item))
		}
	}
	return out, nil
}

// statesPerMessage and textPerMessage bound the Services and the sum of their texts, in bytes, in
// a message of WatchNodeState. A single Service may be larger.
const (
	statesPerMessage = 200
	textPerMessage   = 1 << 20
)

// WatchNodeState implements InspectService.
func (s inspectService) WatchNodeState(in *kpng.WatchNodeStateRequest, stream kpng.InspectService_WatchNodeStateServer) error {
	ctx := stream.Context()
	if in.GetNodeName() == "" {
		return status.Error(codes.InvalidArgument, "node_name: required")
	}
	st, err := s.authorize(ctx, in.GetNodeName())
	if err != nil {
		return err
	}
	n := s.server.nodeState(st, in.GetNodeName())
	out := &kpng.WatchNodeStateResponse{Node: n.toNode(), Revision: st.Revision, NodeUnknown: n.unknown}
	text := 0
	for _, i := range st.Items.All() {
		if len(out.GetChanged()) == statesPerMessage || text >= textPerMessage {
			if err := stream.Send(out); err != nil {
				return err
			}
			out, text = &kpng.WatchNodeStateResponse{Revision: st.Revision}, 0
		}
		if item, ok := i.(*serviceItem); ok {
			state := n.service(item)
			out.Changed, text = append(out.Changed, state), text+len(state.GetText())
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
			case <-s.server.ended:
				return session.StatusError(context.Canceled)
			case <-st.Newer():
			}
			now := s.server.hub.Snapshot()
			out = s.server.nodeStateChanges(st, now, &n)
			st = now
		}
	}
}

// nodeStateChanges returns the changes of the desired state of a node between two states;
// nil if there are none. It updates n to the new state.
func (s *Server) nodeStateChanges(old, new *state, n *nodeState) *kpng.WatchNodeStateResponse {
	before := *n
	*n = s.nodeState(new, n.node.Name)
	out := &kpng.WatchNodeStateResponse{Revision: new.Revision}
	if !before.node.Equal(n.node) || before.zone != n.zone || before.unknown != n.unknown {
		out.Node, out.NodeUnknown = n.toNode(), n.unknown
	}
	all := out.GetNode() != nil || before.unsupported != n.unsupported
	compare := func(name localsink.ServiceName, a, b *serviceItem) {
		switch {
		case b == nil:
			out.Removed = append(out.Removed, name.String())
		case a == nil:
			out.Changed = append(out.Changed, n.service(b))
		default:
			if old, new := before.service(a), n.service(b); !proto.Equal(old, new) {
				out.Changed = append(out.Changed, new)
			}
		}
	}
	if all {
		for name := range new.Items.All() {
			compare(name, serviceItemOf(old, name), serviceItemOf(new, name))
		}
	}
	for c := range new.Items.Diff(old.Items) {
		if all && !c.Deleted {
			continue
		}
		compare(c.Key, serviceItemOf(old, c.Key), serviceItemOf(new, c.Key))
	}
	if out.GetNode() == nil && len(out.GetChanged()) == 0 && len(out.GetRemoved()) == 0 {
		return nil
	}
	return out
}

// serviceItemOf returns the item of a Service in a state; nil if there is none.
func serviceItemOf(st *state, name localsink.ServiceName) *serviceItem {
	i, _ := st.Items.Get(name)
	item, _ := i.(*serviceItem)
	return item
}

// ExplainService implements InspectService.
func (s inspectService) ExplainService(ctx context.Context, in *kpng.ExplainServiceRequest) (*kpng.ExplainServiceResponse, error) {
	if in.GetNodeName() == "" || in.GetNamespace() == "" || in.GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "node_name, namespace and name: required")
	}
	if _, err := s.authorize(ctx, in.GetNodeName()); err != nil {
		return nil, err
	}
	name := localsink.ServiceName{Namespace: in.GetNamespace(), Name: in.GetName(), Origin: in.GetOrigin()}
	explanation, err := s.server.resolver.Explain(s.server.store.Snapshot(), in.GetNodeName(), s.server.knownNode(in.GetNodeName()), name)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if explanation == nil {
		return nil, status.Errorf(codes.NotFound, "%s: not found", name.Object())
	}
	// The text comes from the published state, because Explain does not consider other
	// Services that use the same address.
	st := s.server.hub.Snapshot()
	n := s.server.nodeState(st, in.GetNodeName())
	out := &kpng.ExplainServiceResponse{Unmatched: explanation.Unmatched, NodeUnknown: n.unknown}
	if item := serviceItemOf(st, name); item != nil {
		state := n.service(item)
		explanation.Service, out.Problems = state.GetText(), state.GetProblems()
	}
	out.Text = protoconv.Text(explanation.Text())
	for _, e := range explanation.Endpoints {
		out.Endpoints = append(out.Endpoints, &kpng.EndpointExplanation{
			Port: e.Port, Address: e.Address.String(), Slice: e.Slice, Node: e.Node, ClusterTraffic: e.ClusterTraffic, LocalTraffic: e.LocalTraffic, Reasons: e.Reasons,
		})
	}
	return out, nil
}

// GetServiceProgress implements InspectService.
func (s inspectService) GetServiceProgress(ctx context.Context, in *kpng.GetServiceProgressRequest) (*kpng.GetServiceProgressResponse, error) {
	st, err := s.authorize(ctx, "")
	if err != nil {
		return nil, err
	}
	name := localsink.ServiceName{Namespace: in.GetNamespace(), Name: in.GetName(), Origin: in.GetOrigin()}
	item := serviceItemOf(st, name)
	if item == nil {
		return nil, status.Errorf(codes.NotFound, "%s: not found or not programmed on any node", name.Object())
	}
	out := &kpng.GetServiceProgressResponse{Revision: item.revision, ChangedUnixNs: item.published.UnixNano()}
	for _, n := range s.server.nodes(st, time.Now()) {
		switch {
		case !n.GetConnected():
			out.Disconnected = append(out.Disconnected, n.GetName())
		case n.GetAppliedRevision() >= item.revision:
			out.Applied++
		default:
			out.Lagging = append(out.Lagging, n)
		}
	}
	return out, nil
}

// maxWorst bounds the nodes that GetLag returns.
const maxWorst = 10

// GetLag implements InspectService.
func (s inspectService) GetLag(ctx context.Context, _ *kpng.GetLagRequest) (*kpng.GetLagResponse, error) {
	st, err := s.authorize(ctx, "")
	if err != nil {
		return nil, err
	}
	out := &kpng.GetLagResponse{Revision: st.Revision}
	var connected []*kpng.NodeStatus
	for _, n := range s.server.nodes(st, time.Now()) {
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
