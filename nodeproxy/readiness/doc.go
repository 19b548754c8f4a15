// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package readiness marks nodes and pods as ready once the nodes have applied their Services. It
// watches neither Nodes nor Pods: it acts on the acknowledgements and the cluster state of a server
// for nodes.
//
// A [Controller] does two things, each optional:
//
//   - It removes a startup taint from a Node when that node has applied its first state, so that no
//     pod starts on a node without rules.
//   - It sets a condition of pods that list it as a readiness gate, when a share of the nodes has
//     applied the Services of the pod. A rollout so waits for nodes that lag.
//
// A [Taint] removes the taint of one node from the process that programs it, without a server.
//
// # States of a pod
//
//	waiting   an EndpointSlice lists the pod as not serving; nodes may lag behind it
//	queued    enough nodes have applied its Services; a worker reads and patches the pod, and tries
//	          again after an error
//	absent    no EndpointSlice lists the pod, or all that do list it as serving
//
// A pod that stays queued is read again every five minutes, in case it was replaced by one of the
// same name and address. The condition is never set to anything but True.
//
// # Files
//
//	config.go       Config and Server
//	controller.go   the loop: follows the server, decides what is due
//	pods.go         pods that are not serving, and what they wait for
//	nodes.go        nodes that have applied nothing
//	work.go         the workers with the queue of due patches
//	taint.go        removal of a taint, also for one node
//	condition.go    the condition of a pod
package readiness
