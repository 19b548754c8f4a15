// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hcn is the Host Networking Service of a Windows node for package
// sigs.k8s.io/kpng/backends/hns, through github.com/Microsoft/hcsshim. It has no logic beside the
// conversion of documents and errors.
//
// It is a module of its own: hcsshim requires a newer patch version of Go than the library, and
// modules that users of other backends do not need. It compiles on Windows only, and has not run
// there yet.
package hcn
