// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apidecode decodes Services, EndpointSlices and Nodes from the protobuf encoding of
// Kubernetes with a fraction of the allocations of the generated code.
//
// The result is the same object, without metadata.managedFields: they are half of a small
// object, and no watcher reads them. The strings and pointers in the endpoints of a slice share
// a few allocations, so that a consumer that keeps one of them must copy it.
//
// What this package does not expect, such as another kind, a field of an unknown type, or JSON,
// is left to the decoder of client-go, with its errors.
package apidecode
