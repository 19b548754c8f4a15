// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package file reads Kubernetes manifests from disk and writes their objects into a
// [watchers.Store]. It uses no API server and applies no Service semantics.
//
// A manifest is a file that kubectl would accept: YAML or JSON documents with Services,
// EndpointSlices, Nodes, ServiceCIDRs or Lists of them; other kinds are ignored. A
// [Watcher] follows changes of the files, by polling on file systems without
// notifications. Files should be replaced by rename, as editors and ConfigMap volumes do:
// a file that is written in place can be read half written.
//
// An invalid document gives an [Error] and affects no other object. If its object was
// valid before, the last valid version stays in the store, even if the object has moved
// to another file. An unknown or duplicate field gives an [Error] and a Problem of the
// object; the rest of that object is used.
//
// The pieces by file:
//
//   - watcher.go: Config and Watcher.
//   - notifier.go: notifications of changes in the directory.
//   - fileset.go: the last valid objects of each file.
//   - decode.go, document.go, defaults.go: from bytes to documents to objects.
//   - publisher.go: from the file set to the store and the reported errors.
package file
