// Package kubeapi makes facts of Kubernetes API objects; it knows no client.
//
// It reads and does not interpret: what cannot be parsed is left out and listed in
// the fact's Problems, and everything else of the object is kept. Objects are never
// written to, nil pointers are read as the API server's defaults, and facts keep no
// memory of the objects alive but for their short strings.
//
// A [Filter] says which objects concern one proxy, to an API server in the form of
// selectors, and to whoever has unfiltered objects as predicates.
package kubeapi
