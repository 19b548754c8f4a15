// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A Verb is what somebody wants to do.
type Verb string

const (
	// VerbWatchNode is to watch what one node must do.
	VerbWatchNode Verb = "watch-node"
	// VerbWatchCluster is to watch the facts about the whole cluster.
	VerbWatchCluster Verb = "watch-global"
	// VerbInspect is to see how far the nodes have come.
	VerbInspect Verb = "inspect"
)

// An Access is what somebody wants to do, and to which node; Node is "" where that
// makes no sense.
type Access struct {
	Verb Verb
	Node string
}

// An Authorizer returns nil if an identity may have an access, and else an error for
// the peer, with a gRPC status: PermissionDenied, or Unavailable if it cannot say now.
type Authorizer func(ctx context.Context, who Identity, access Access) error

// Subjects are identities: by name, or by a group they are in.
type Subjects struct {
	Names, Groups []string
}

// Include reports whether an identity is among the subjects.
func (s Subjects) Include(i Identity) bool {
	return slices.Contains(s.Names, i.Name) || slices.ContainsFunc(s.Groups, i.In)
}

// Rules say who may do what; its Authorize is an [Authorizer]. What they do not allow
// is denied: the zero Rules allow a node to watch itself and nothing else.
type Rules struct {
	// OwnNode may watch the node that they are bound to, as the nodes themselves
	// (members of "system:nodes") always may: the service account of the agents, say.
	// Not every identity that is bound to a node may, for every pod is.
	OwnNode Subjects
	// Allow lists who may do something to any node.
	Allow map[Verb]Subjects
}

// Authorize implements [Authorizer].
func (r Rules) Authorize(_ context.Context, who Identity, access Access) error {
	if access.Verb == VerbWatchNode && access.Node == "" {
		return status.Error(codes.InvalidArgument, "no node is named")
	}
	agent := nodeOf(who.Name, who.Groups) != "" || r.OwnNode.Include(who)
	if access.Verb == VerbWatchNode && agent && who.Node == access.Node {
		return nil
	}
	if r.Allow[access.Verb].Include(who) {
		return nil
	}
	return denied(who, access)
}

func denied(who Identity, access Access) error {
	if access.Node == "" {
		return status.Errorf(codes.PermissionDenied, "%q may not %s", who.Name, access.Verb)
	}
	bound := "which is bound to no node"
	if who.Node != "" {
		bound = "which is bound to node " + who.Node
	}
	return status.Errorf(codes.PermissionDenied, "%q, %s, may not %s %q", who.Name, bound, access.Verb, access.Node)
}

func denyEverything(_ context.Context, who Identity, access Access) error { return denied(who, access) }
