// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/examples/internal/cli"
)

func (c *ctl) nodes(ctx context.Context, prefix string) error {
	answer, err := c.client.ListNodes(ctx, &kpng.ListNodesRequest{Prefix: prefix})
	if err != nil {
		return err
	}
	if prefix != "" && len(answer.GetNodes()) == 0 {
		return fmt.Errorf("no node that is known or connected has a name that begins with %q", prefix)
	}
	if c.json {
		return c.printJSON(answer)
	}
	return c.printNodes(answer.GetNodes())
}

// state asks for one Service, or watches until all is told: that comes in parts, and
// may be more than a message can have.
func (c *ctl) state(ctx context.Context, node, namespace, name string) error {
	ask := c.whole
	if name != "" {
		ask = func(ctx context.Context, node string) (*kpng.GetNodeStateResponse, error) {
			return c.client.GetNodeState(ctx, &kpng.GetNodeStateRequest{NodeName: node, Namespace: namespace, Name: name})
		}
	}
	state, err := ask(ctx, node)
	switch {
	case err != nil:
		return err
	case name != "" && len(state.GetServices()) == 0:
		return errors.Join(unknown(node, state.GetNodeUnknown()),
			fmt.Errorf("node %s does nothing for Service %s/%s; is there such a Service?", node, namespace, name))
	case c.json:
		err = c.printJSON(state)
	default:
		c.printNode(state.GetNode())
		for _, svc := range state.GetServices() {
			fmt.Fprint(c.out, svc.GetText())
		}
	}
	return errors.Join(err, unknown(node, state.GetNodeUnknown()))
}

// unknown returns what is to be said of an answer about a node that nobody has heard of: it
// looks like any other.
func unknown(node string, is bool) error {
	if !is {
		return nil
	}
	return fmt.Errorf("there is no Node %q among the facts; what is said of it is what a node of that name would do", node)
}

func (c *ctl) whole(ctx context.Context, node string) (*kpng.GetNodeStateResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.client.WatchNodeState(ctx, &kpng.WatchNodeStateRequest{NodeName: node})
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

func (c *ctl) watch(ctx context.Context, node string) error {
	stream, err := c.client.WatchNodeState(ctx, &kpng.WatchNodeStateRequest{NodeName: node})
	if err != nil {
		return err
	}
	for {
		part, err := stream.Recv()
		switch {
		case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
			return nil // the user has seen enough
		case err != nil:
			return err
		}
		// It may come yet.
		if err := unknown(node, part.GetNodeUnknown()); err != nil {
			fmt.Fprintln(c.errs, "kpngctl:", err)
		}
		if !c.json {
			c.printChanges(part)
		} else if err := c.printLine(part); err != nil {
			return err
		}
	}
}

func (c *ctl) explain(ctx context.Context, node, namespace, name string) error {
	answer, err := c.client.ExplainService(ctx, &kpng.ExplainServiceRequest{NodeName: node, Namespace: namespace, Name: name})
	switch {
	case err != nil:
		return err
	case c.json:
		err = c.printJSON(answer)
	default:
		_, err = io.WriteString(c.out, answer.GetText())
	}
	return errors.Join(err, unknown(node, answer.GetNodeUnknown()))
}

func (c *ctl) progress(ctx context.Context, namespace, name string) error {
	answer, err := c.client.GetServiceProgress(ctx, &kpng.GetServiceProgressRequest{Namespace: namespace, Name: name})
	if err != nil {
		return err
	}
	if c.json {
		err = c.printJSON(answer)
	} else {
		err = c.printProgress(answer)
	}
	// Nodes that are absent here may be connected to another server.
	if err == nil && len(answer.GetLagging()) > 0 {
		err = cli.ErrUnfinished
	}
	return err
}

func (c *ctl) lag(ctx context.Context) error {
	answer, err := c.client.GetLag(ctx, &kpng.GetLagRequest{})
	switch {
	case err != nil:
		return err
	case c.json:
		return c.printJSON(answer)
	}
	return c.printLag(answer)
}

// tell puts errors of gRPC in words for people.
func tell(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	switch s.Code() {
	case codes.Unavailable:
		return fmt.Errorf("the server cannot be reached or is not ready: %s%s", s.Message(), hint(s.Message()))
	case codes.Unauthenticated:
		return fmt.Errorf("the server does not know who is asking: %s", s.Message())
	case codes.PermissionDenied:
		return fmt.Errorf("not allowed: %s", s.Message())
	case codes.DeadlineExceeded:
		return errors.New("the server took too long to answer")
	case codes.Unimplemented:
		return fmt.Errorf("the server has no inspection service, or an older one: %s", s.Message())
	}
	return errors.New(s.Message())
}

// hint says what flags may be wrong when two ends do not agree on TLS.
func hint(message string) string {
	switch {
	case strings.Contains(message, "error reading server preface"):
		return " (is it a server with TLS? then give -ca)"
	case strings.Contains(message, "first record does not look like a TLS handshake"):
		return " (it is a server without TLS; -insecure asks for that)"
	}
	return ""
}

func unreachable(err error) bool { return status.Code(err) == codes.Unavailable }
