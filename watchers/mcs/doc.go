// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mcs watches the ServiceImports of the Multi-Cluster Services API (v1beta1) and their
// EndpointSlices, and writes them into a [watchers.Store]. It does not import or export
// Services: that is the task of an implementation of the API, which also assigns the
// ClusterSetIPs.
//
// A ServiceImport becomes a Service with the origin [Origin], whose cluster IPs are the
// ClusterSetIPs, so that it coexists with the Service of the same name in this cluster. An
// EndpointSlice belongs to it by the label [LabelServiceName]. Use [watchers.Join] to combine
// the watcher with that of package kube:
//
//	ServiceImport              Service with Origin ServiceImport
//	spec.ips, spec.ipFamilies  ClusterIPs, IPFamilies
//	spec.ports                 Ports; there are no node ports
//	spec.type Headless         not selected, unless Filter.Details has DetailHeadless
//	spec.sessionAffinity       Affinity
//	internalTrafficPolicy      InternalPolicy
//
// # Nodes of other clusters
//
// The node names in an EndpointSlice of another cluster refer to nodes of that cluster, which
// may have the names of nodes here. Such endpoints have no node: they are never local, and
// hints for nodes have no effect on them. Zones and hints for zones are kept, because clusters
// in the same region share their zones. The label [LabelSourceCluster] has the cluster; see
// Config.Cluster.
package mcs
