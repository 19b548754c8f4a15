// Package examples tests the commands of the gRPC endpoints together, as processes; it has
// only tests.
package examples
