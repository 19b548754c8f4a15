// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dnssrv reads the endpoints of configured Services from SRV, A and AAAA records of DNS
// servers, and writes them into a [watchers.Store]: those of Consul, of Nomad behind Consul, and
// of any other registry with DNS. It has no notion of the registries and of Kubernetes.
//
// DNS has endpoints and no Services: a [Service] of the configuration has the addresses and
// ports at which a proxy serves, and the DNS name that each port gets its endpoints from. In the
// store it has the origin [Origin]. A Service without addresses is headless: no proxy serves it,
// and other consumers of the cluster state, such as an xDS server, see its endpoints.
//
//	SRV record   endpoints
//	target       its A and AAAA records, from the additional section or by a query of their own
//	port         the port of the endpoints
//	priority     only the lowest priority that has addresses is used, in each address family
//	weight       the share of the target, divided by the number of its addresses; 0 beside other
//	             weights is a hundredth of the weight 1, and weights that are all 0 are equal
//	target "."   no endpoints
//
// # When records are read
//
//	answer                            next query                          endpoints
//	records                           the lowest TTL, within Config's     those of the records
//	NXDOMAIN, no records of the type  the TTL of the SOA record, within   none
//	                                  Config's
//	SERVFAIL, REFUSED, no answer,     MinTTL, which doubles with each     the last known, with a Problem
//	malformed                         failure, to a minute
//
// Each delay is lengthened by up to a tenth at random, so that nodes that start together do not
// query together.
//
// The store is synced when each name has been answered, or has failed for Config.SyncTimeout:
// one name that is not answered does not withhold other Services for longer.
package dnssrv
