// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reflectors writes resources of a Kubernetes API server into a store. It does not
// know which resources these are: a [Resource] converts its objects.
//
// Each resource has a reflector of client-go, without an informer and without a cache: a
// storeWriter converts each object when it arrives, and keeps none itself.
package reflectors
