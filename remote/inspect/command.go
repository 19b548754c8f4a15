// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sigs.k8s.io/kpng/localsink"
)

// ErrNodesLagging is returned by the command progress, after its output, if a node that is
// connected to the server has not applied the last change of the Service.
var ErrNodesLagging = errors.New("nodes have not applied the last change")

// A Command is a question to the inspection service of a server.
type Command struct {
	name string
	node string                // or the prefix of names, for nodes
	svc  localsink.ServiceName // zero for all
	run  func(q *query, ctx context.Context) error
}

// A syntax has the arguments of a command.
type syntax struct {
	arguments   string
	least, most int // number of arguments
	run         func(q *query, ctx context.Context) error
}

func commands() map[string]syntax {
	return map[string]syntax{
		"nodes":    {"[PREFIX]", 0, 1, (*query).nodes},
		"state":    {"NODE [NAMESPACE/NAME]", 1, 2, (*query).state},
		"watch":    {"NODE", 1, 1, (*query).watch},
		"explain":  {"NODE NAMESPACE/NAME", 2, 2, (*query).explain},
		"progress": {"NAMESPACE/NAME", 1, 1, (*query).progress},
		"lag":      {"", 0, 0, (*query).lag},
	}
}

// Parse returns the command of a command line without flags. The error is the correct
// usage behind program, or names the invalid argument.
func Parse(program string, words []string) (*Command, error) {
	if len(words) == 0 {
		return nil, fmt.Errorf("%s COMMAND; %s -h lists the commands", program, program)
	}
	name, arguments := words[0], words[1:]
	s, ok := commands()[name]
	if !ok {
		return nil, fmt.Errorf("unknown command %q; %s -h lists the commands", name, program)
	}
	if len(arguments) < s.least || len(arguments) > s.most {
		return nil, errors.New(strings.TrimSpace(program + " " + name + " " + s.arguments))
	}
	c := &Command{name: name, run: s.run}
	service := ""
	if name == "progress" {
		service = arguments[0]
	} else if len(arguments) > 0 {
		c.node = arguments[0]
	}
	if len(arguments) == 2 {
		service = arguments[1]
	}
	if service != "" {
		if c.svc, ok = localsink.ParseServiceName(service); !ok {
			return nil, fmt.Errorf("%q is not NAMESPACE/NAME", service)
		}
	}
	return c, nil
}

// Endless reports whether the command runs until its context ends.
func (c *Command) Endless() bool { return c.name == "watch" }
