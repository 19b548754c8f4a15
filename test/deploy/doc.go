// Package deploy tries the manifests of examples/deploy against a real API server; it
// has only tests.
package deploy
