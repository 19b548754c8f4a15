// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inspect asks the inspection service of a server about its nodes, and prints
// the answers as tables or JSON. It is the library of the
// commands nodes, state, watch, explain, progress and lag of kpng, without their flags.
//
//	command.go   the commands and their arguments
//	inspect.go   servers, and what each command requests
//	errors.go    gRPC errors in words for operators
//	tables.go    output as text
//	json.go      output as JSON
package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
)

// A Config configures the output.
type Config struct {
	// Out receives the answer.
	Out io.Writer
	// Warn receives messages without an effect on the answer; nil discards them.
	Warn func(message string)
	// JSON selects JSON instead of text.
	JSON bool
}

// Run asks the first server that can be reached. The error is for operators; it is
// [ErrNodesLagging] if only the answer is negative.
func (c *Command) Run(ctx context.Context, cfg Config, servers ...*grpc.ClientConn) error {
	if cfg.Warn == nil {
		cfg.Warn = func(string) {}
	}
	err := errors.New("no server")
	for i, server := range servers {
		q := &query{Command: c, Config: cfg, client: kpng.NewInspectServiceClient(server)}
		if err = c.run(q, ctx); !isUnavailable(err) || i == len(servers)-1 {
			break
		}
		cfg.Warn(fmt.Sprintf("%s: %v; trying the next server", server.Target(), describe(err)))
	}
	return describe(err)
}

// A query is a command to one server.
type query struct {
	*Command
	Config
	client kpng.InspectServiceClient
}

func (q *query) nodes(ctx context.Context) error {
	answer, err := q.client.ListNodes(ctx, &kpng.ListNodesRequest{Prefix: q.node})
	if err != nil {
		return err
	}
	if q.node != "" && len(answer.GetNodes()) == 0 {
		return fmt.Errorf("no node has a name with prefix %q", q.node)
	}
	if q.JSON {
		return q.printJSON(answer)
	}
	return q.printNodes(answer.GetNodes())
}

func (q *query) state(ctx context.Context) error {
	state, err := q.getState(ctx)
	switch {
	case err != nil:
		return err
	case q.svc.Name != "" && len(state.GetServices()) == 0:
		return errors.Join(q.unknownNode(state.GetNodeUnknown()),
			fmt.Errorf("node %s has no state for %s: not found", q.node, q.svc.Object()))
	case q.JSON:
		err = q.printJSON(state)
	default:
		q.printNode(state.GetNode())
		for _, svc := range state.GetServices() {
			fmt.Fprint(q.Out, svc.GetText())
		}
	}
	return errors.Join(err, q.unknownNode(state.GetNodeUnknown()))
}

// getState requests the state of one Service, or watches until the state of the node is
// complete: that may exceed the size of a message, and arrives in parts.
func (q *query) getState(ctx context.Context) (*kpng.GetNodeStateResponse, error) {
	if q.svc.Name != "" {
		return q.client.GetNodeState(ctx, &kpng.GetNodeStateRequest{
			NodeName: q.node, Namespace: q.svc.Namespace, Name: q.svc.Name, Origin: q.svc.Origin,
		})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := q.client.WatchNodeState(ctx, &kpng.WatchNodeStateRequest{NodeName: q.node})
	if err != nil {
		return nil, err
	}
	state := &kpng.GetNodeStateResponse{}
	for {
		part, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		if part.GetNode() != nil {
			state.Node, state.NodeUnknown = part.GetNode(), part.GetNodeUnknown()
		}
		state.Services, state.Revision = append(state.Services, part.GetChanged()...), part.GetRevision()
		if part.GetComplete() {
			return state, nil
		}
	}
}

func (q *query) watch(ctx context.Context) error {
	stream, err := q.client.WatchNodeState(ctx, &kpng.WatchNodeStateRequest{NodeName: q.node})
	if err != nil {
		return err
	}
	for {
		part, err := stream.Recv()
		switch {
		case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
			return nil // the user ends the command
		case err != nil:
			return err
		}
		if err := q.unknownNode(part.GetNodeUnknown()); err != nil { // it may be created later
			q.Warn(err.Error())
		}
		if !q.JSON {
			q.printChanges(part)
		} else if err := q.printLine(part); err != nil {
			return err
		}
	}
}

func (q *query) explain(ctx context.Context) error {
	answer, err := q.client.ExplainService(ctx, &kpng.ExplainServiceRequest{
		NodeName: q.node, Namespace: q.svc.Namespace, Name: q.svc.Name, Origin: q.svc.Origin,
	})
	switch {
	case err != nil:
		return err
	case q.JSON:
		err = q.printJSON(answer)
	default:
		_, err = io.WriteString(q.Out, answer.GetText())
	}
	return errors.Join(err, q.unknownNode(answer.GetNodeUnknown()))
}

func (q *query) progress(ctx context.Context) error {
	answer, err := q.client.GetServiceProgress(ctx, &kpng.GetServiceProgressRequest{
		Namespace: q.svc.Namespace, Name: q.svc.Name, Origin: q.svc.Origin,
	})
	if err != nil {
		return err
	}
	if q.JSON {
		err = q.printJSON(answer)
	} else {
		err = q.printProgress(answer)
	}
	// A node that is not connected here may be connected to another server.
	if err == nil && len(answer.GetLagging()) > 0 {
		err = ErrNodesLagging
	}
	return err
}

func (q *query) lag(ctx context.Context) error {
	answer, err := q.client.GetLag(ctx, &kpng.GetLagRequest{})
	switch {
	case err != nil:
		return err
	case q.JSON:
		return q.printJSON(answer)
	}
	return q.printLag(answer)
}

// unknownNode returns the error for an answer about a node without a Node object, which
// otherwise looks like that about any other node.
func (q *query) unknownNode(unknown bool) error {
	if !unknown {
		return nil
	}
	return fmt.Errorf("there is no Node %q in the cluster state; the output is the state that a node of that name would have", q.node)
}
