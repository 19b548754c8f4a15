// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodelocal computes what one node must do for its Services from the
// facts of a cluster: the only home of the meaning of Services. It knows no
// kernel, no Kubernetes client and no wire format.
//
// The pieces, each in a file of its own:
//
//	endpoints.go  slices -> the endpoints of one port, and which of them nodes may use
//	service.go    one Service's facts -> its frontends and routes
//	meaning.go    both together: what a Service means for nodes of a zone, and for one node
//	claims.go     two Services want one address: who gets it
//	meanings.go   all Services, kept up to date change by change
//	view.go       what one node is: addresses, zone, how to tell local pods
//	table.go      all that one node must do
//	fleet.go      all that every node must do, for servers of many nodes
//	run.go        watcher -> table -> sink
//
// The result for a Service depends on its own facts, on its slices, on the node,
// and on who else claims its addresses: so one change costs one Service.
// [Run] joins everything; [Resolver] is for callers with a loop of their own.
package nodelocal
