// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
)

// A configFile is a sink that writes one line per frontend and endpoint.
type configFile struct {
	path    string
	lines   *diffstore.Fill[string, string]
	written bool // by this process
}

func newConfigFile(path string) *configFile {
	return &configFile{path: path, lines: diffstore.NewFill(strings.Compare, (*diffstore.Hash).String)}
}

// Unsupported implements [localsink.FeatureReporter]: the library reports Services that
// need these features. This load balancer chooses an endpoint for each connection, by weight.
// The complement contains the features of later versions too.
func (f *configFile) Unsupported() localsink.Features {
	return ^(localsink.FeatureIPv4 | localsink.FeatureIPv6 | localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureSCTP |
		localsink.FeatureClusterIP | localsink.FeatureNodePort | localsink.FeatureExternalIP | localsink.FeatureLoadBalancer |
		localsink.FeatureSourceRanges | localsink.FeatureWeights)
}

// Sync renders the whole state, and replaces the file if a line differs from the last
// state that was written. An error leaves the old file in place and changes nothing else.
func (f *configFile) Sync(_ context.Context, u *localsink.Update) error {
	f.lines.Clear()
	for svc := range u.All.All() {
		for _, port := range svc.Ports {
			for _, frontend := range port.Frontends {
				f.render(svc, port, frontend)
			}
		}
	}
	differs := !f.written
	for change := range f.lines.Changes() {
		differs = true
		if change.Deleted {
			fmt.Println("-", change.Key)
		} else {
			fmt.Println("+", change.Key)
		}
	}
	if differs {
		if err := f.replace(); err != nil {
			return err
		}
	}
	f.written = true
	f.lines.Commit()
	return nil
}

// render adds the lines of a frontend. Its last route is that of all clients; a complete
// backend also serves the routes of local clients.
func (f *configFile) render(svc *localsink.Service, port localsink.Port, frontend localsink.Frontend) {
	route := frontend.Routes[len(frontend.Routes)-1]
	clients := "any" // or the only networks with access to the frontend
	if frontend.SourceRanges != nil {
		clients = fmt.Sprint(frontend.SourceRanges)
	}
	for _, endpoint := range port.Pools[route.Pool].Endpoints {
		line := fmt.Sprintf("%v %v from %s to %v", port.Protocol, frontend.Addr, clients, endpoint.Addr)
		if endpoint.Weight > 1 {
			line += fmt.Sprint(" weight ", endpoint.Weight)
		}
		f.lines.Set(line, svc.Name.String())
	}
}

// replace writes a new file and renames it: a reader sees the old file or the new one.
func (f *configFile) replace() error {
	var b bytes.Buffer
	for line, service := range f.lines.Desired().All() {
		fmt.Fprintf(&b, "%s # %s\n", line, service)
	}
	next := f.path + ".next"
	if err := os.WriteFile(next, b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(next, f.path)
}
