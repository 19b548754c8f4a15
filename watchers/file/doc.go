// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package file reads Kubernetes manifests from disk and writes their objects into a
// [watchers.Store]. It uses no API server and applies no Service semantics.
//
// A manifest has YAML documents, JSON values or both, with Services, EndpointSlices,
// Nodes, ServiceCIDRs, Lists or arrays of them; other kinds are ignored. What kubectl reads
// is read in the same way. A [Watcher] follows changes of the files, by polling on file
// systems without notifications. Files should be replaced by rename, as editors and
// ConfigMap volumes do: a file that is written in place can be read half written.
//
// An invalid document gives an [Error] and affects no other object. If its object was
// valid before, the last valid version stays in the store, even if the object has moved
// to another file. If its object cannot be recognised, the objects that the file had at
// that place stay. An unknown or duplicate field gives an [Error] and a Problem of the
// object; of equal fields the last one counts.
//
// A directory that loses all its files at once, or is replaced by an empty one, keeps its
// objects, as a path does that cannot be read.
//
// The pieces by file:
//
//   - watcher.go: Config and Watcher.
//   - notifier.go: notifications of changes in the directory.
//   - fileset.go, open.go: which files are read, and when.
//   - filestate.go: the last valid objects of a file.
//   - text.go, document.go: from bytes to documents.
//   - decode.go, defaults.go: from documents to objects.
//   - nodes.go: positions of fields, duplicate keys.
//   - guess.go: what a document with a syntax error may contain.
//   - publisher.go: from the file set to the store and the reported errors.
package file
