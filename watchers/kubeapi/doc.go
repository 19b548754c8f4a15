// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeapi converts Kubernetes API objects into the objects of package
// watchers. It uses no client: the caller lists, watches or decodes the API objects.
//
// [Service], [EndpointSlice], [Node] and [ServiceCIDR] convert one object each. They
// apply the defaults of the API and no policy: a value that cannot be parsed is
// dropped and listed in Problems, the rest of the object is converted. API objects are
// never modified, and the results hold no reference to them, so an API object can be
// freed once it is converted.
//
// A [Filter] selects the objects that one proxy needs. Its methods return label and
// field selectors, which an API server evaluates, and predicates with the same result
// for objects that no server has filtered. [Details] selects what other consumers of the
// cluster state need beside that.
//
// A [Converter] converts what its Filter selects, and attaches extensions: its [Extend]
// turns labels and annotations into properties that a backend reads. [CopyKeys] copies
// them by patterns.
package kubeapi
