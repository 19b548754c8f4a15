// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package examples contains only tests. They run kpng as a state server, a relay, an agent and a client
// of the inspection service, and the JavaScript client, together, as processes.
package examples
