// Package e2e tries the commands of the gRPC endpoints together, as processes; it has
// only tests.
package e2e
