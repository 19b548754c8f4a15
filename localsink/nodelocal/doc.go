// Package nodelocal computes what one node must do for its Services from the
// facts of a cluster: the only home of the meaning of Services. It knows no
// kernel, no Kubernetes client and no wire format.
//
// The pieces, each in a file of its own:
//
//	view.go       what this node is: addresses, zone, how to tell local pods
//	endpoints.go  slices -> the endpoints of one port, and which of them a node may use
//	service.go    one Service's facts -> one localsink.Service: frontends, pools, routes
//	claims.go     two Services want one address: who gets it
//	table.go      all Services of a node, kept up to date change by change
//	run.go        watcher -> table -> sink, with retries and pacing
//
// The result for a Service depends on its own facts, on its slices, on the node,
// and on who else claims its addresses: so one change costs one Service.
// [Run] joins everything; [Table] is for callers with a loop of their own.
package nodelocal
