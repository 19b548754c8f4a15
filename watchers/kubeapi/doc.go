// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeapi makes facts of Kubernetes API objects; it knows no client.
//
// It fills in the defaults of the API and decides nothing else: what cannot be parsed is
// left out and listed in the fact's Problems, and everything else of the object is kept.
// Objects are never written to, and facts keep no memory of the objects alive but for
// their short strings.
//
// A [Filter] says which objects concern one proxy, to an API server in the form of
// selectors, and to whoever has unfiltered objects as predicates.
package kubeapi
