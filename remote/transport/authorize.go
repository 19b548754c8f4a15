// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A Verb is an operation that needs a permission.
type Verb string

const (
	// VerbWatchNode watches the desired state of one node.
	VerbWatchNode Verb = "watch-node"
	// VerbWatchCluster watches the cluster state.
	VerbWatchCluster Verb = "watch-cluster"
	// VerbInspect reads progress and explanations of nodes.
	VerbInspect Verb = "inspect"
)

// An Access is an operation on a node. Node is "" for an operation on all nodes or on the
// cluster.
type Access struct {
	Verb Verb
	Node string
}

// An Authorizer returns nil when identity is permitted to do access. Otherwise it returns
// a gRPC status error, which the peer receives: PermissionDenied, or Unavailable when it
// cannot decide now. Calls may overlap.
type Authorizer func(ctx context.Context, identity Identity, access Access) error

// Subjects select identities by name or by group.
type Subjects struct {
	Names, Groups []string
}

// Include reports whether s selects i.
func (s Subjects) Include(i Identity) bool {
	return slices.Contains(s.Names, i.Name) || slices.ContainsFunc(s.Groups, i.In)
}

// Rules are permissions; [Rules.Authorize] is an [Authorizer]. Everything that they do not
// list is denied: the zero Rules permit a node identity to watch its own node.
type Rules struct {
	// OwnNode are permitted to watch the node that they are bound to, like members of
	// "system:nodes": for example the service account of node agents. Identities that are
	// bound to a node and not listed are denied, because every pod has a token that is
	// bound to its node.
	OwnNode Subjects
	// Allow lists the identities that may use a verb on every node.
	Allow map[Verb]Subjects
}

// Authorize implements [Authorizer].
func (r Rules) Authorize(_ context.Context, identity Identity, access Access) error {
	if access.Verb == VerbWatchNode && access.Node == "" {
		return status.Error(codes.InvalidArgument, "node name: required")
	}
	agent := nodeOf(identity.Name, identity.Groups) != "" || r.OwnNode.Include(identity)
	if access.Verb == VerbWatchNode && agent && identity.Node == access.Node {
		return nil
	}
	if r.Allow[access.Verb].Include(identity) {
		return nil
	}
	return denied(identity, access)
}

func denied(identity Identity, access Access) error {
	if access.Node == "" {
		return status.Errorf(codes.PermissionDenied, "%q is not permitted to %s", identity.Name, access.Verb)
	}
	binding := "bound to no node"
	if identity.Node != "" {
		binding = "bound to node " + identity.Node
	}
	return status.Errorf(codes.PermissionDenied, "%q (%s) is not permitted to %s %q", identity.Name, binding, access.Verb, access.Node)
}

func denyEverything(_ context.Context, identity Identity, access Access) error {
	return denied(identity, access)
}
