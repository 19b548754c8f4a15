// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package file brings facts from manifests on disk into a [watchers.Store]; it knows
// no API server and no policy.
//
// A manifest is what one would give to kubectl: YAML or JSON with any number of
// Services, EndpointSlices, Nodes and Lists of them; other kinds are passed over.
// The files are followed as they change, also on file systems that do not notify.
// They should be replaced by renaming, as editors and ConfigMap volumes do: a file
// that is written in place can be seen half written.
//
// A document that cannot be used is an [Error] and harms nothing else: what was last
// known of its object stays, also when it has moved to another file, and every other
// object follows its file. A field that is not known is an [Error] too, and a Problem of
// the object, of which all the rest counts.
package file
