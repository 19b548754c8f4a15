// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package execsource reads the cluster state from a child process, as lines of JSON, so that a
// source can be written in any language. docs/exec.md describes the lines for authors of such
// programs, and docs/exec-source.schema.json is their schema.
//
// The process writes one line for each update:
//
//	{"revision":1,"full":true,"changed":[{"apiVersion":"v1","kind":"Service",...},...]}
//	{"revision":2,"changed":[...],"removed":[{"apiVersion":"v1","kind":"Service","metadata":{...}}]}
//
// and receives one line for each, {"ok":REVISION} or {"error":"..."}. The objects are manifests, as
// package watchers/file reads them. A full line replaces all objects. Invalid objects are left out
// and reported in the answer; the other objects of the line apply.
//
// # States of the process
//
//	state     event                                           next state
//	absent    the backoff is over                             starting
//	starting  a full line                                     running
//	          no full line within Config.Timeout              absent, with a backoff of 100 ms to 30 s
//	running   a line                                          running
//	starting, the process ends, a line is not an update, or   absent, with a backoff; the store keeps
//	running   an answer is not read within Config.Timeout     the objects
package execsource
