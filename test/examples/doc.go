// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package examples contains only tests. They run state-server, relay, node-agent, kpngctl and
// the JavaScript client together, as processes.
package examples
