// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package execsink sends the desired state of a node to a child process, as lines of JSON, so that
// a sink can be written in any language. docs/exec.md describes the lines for authors of such
// programs, and docs/exec-sink.schema.json is their schema.
//
// The process receives one line for each update:
//
//	{"revision":1,"full":true,"node":{...},"changed":[{...},...],"removed":[]}
//	{"revision":2,"full":false,"changed":[{...}],"removed":["default/web"]}
//
// and answers each with {"ok":REVISION} or {"error":"..."}. A full line is the complete state; any
// other one lists the differences from the last one that was acknowledged, as [localsink.Update]
// does. The Services and the node have the form of kpng state -o json.
//
// # States of the process
//
//	state     event                                        next state
//	absent    Sync, and the backoff is over                starting
//	starting  the complete state is acknowledged           running
//	          error answer                                 starting: the next line is complete too
//	running   ok or error answer                           running
//	starting, the process ends, an answer is not JSON or   absent, with a backoff of 100 ms to 30 s
//	running   late, or has another revision
//
// A process that ends between two updates requests a resync, so it is started again at once.
package execsink
